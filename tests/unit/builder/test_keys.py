"""What changes an artifact's key, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from ensemble_builder.artifacts.keys import artifact_key
from ensemble_builder.artifacts.orders import order_of, orders
from ensemble_builder.artifacts.plugins import by_backend, published_plugins
from ensemble_builder.artifacts.sources import by_field, sources, versions
from ensemble_builder.faults import FaultError
from ensembles_api.contract import (
    BuildOrder,
    Location,
    LockedFile,
    LockedSource,
    Request,
    TargetRequest,
    Versions,
)
from ensembles_api.spec import Gpu, Model

REVISIONS = {"dali": 1, "tensorrt": 1, "export": 1, "environment": 1}
SAMPLES = [{"inputs": [{"name": "X", "source": {"inline": "jpeg"}}]}]
DALI: dict[str, Any] = {"source": {"uri": "s3://b/p.py"}, "threads": 4, "samples": SAMPLES}
TENSORRT: dict[str, Any] = {"source": {"uri": "s3://b/n.onnx"}}
L4 = TargetRequest(name="l4", gpu=Gpu(product="NVIDIA-L4"))


def request(kind: str, definition: dict[str, Any], **fields: Any) -> Request:
    model = Model.model_validate({"name": "m", kind: definition, **fields.pop("model", {})})
    return Request(
        **{
            "namespace": "n",
            "name": "e",
            "models": (model,),
            "targets": (L4,),
            "server_image": "server",
            "builder_image": "builder",
            "versions": Versions(dali="2.4.0", tensorrt="10.16.1"),
            **fields,
        }
    )


def lock(of: Request, **digests: str) -> dict[str, LockedSource]:
    """Locked sources: every file's digest is that of its field, unless given by path."""
    found = []
    for ref in sources(of):
        path = (ref.source.uri or "inline").rpartition("/")[2]
        digest = digests.get(path.replace(".", "_"), f"{abs(hash(ref.field)):064x}")
        place = Location(bucket="b", key=digests.get("key", path), etag=digests.get("etag", "e"))
        file = LockedFile(path=path, sha256=digest, size=1, location=place)
        found.append(LockedSource(field=ref.field, files=(file,)))
    return dict(by_field(tuple(found)))


def ordered(
    of: Request, *, revisions: dict[Any, int] | None = None, **digests: str
) -> tuple[BuildOrder, ...]:
    return orders(of, lock(of, **digests), external_data={}, revisions=revisions or REVISIONS)  # type: ignore[arg-type]


def key(*arguments: Any, **digests: Any) -> str:
    return ordered(*arguments, **digests)[0].key


BASE = request("dali", DALI)


@pytest.mark.parametrize(
    "changed",
    [
        request("dali", DALI | {"threads": 8}),
        request("dali", DALI | {"function": "pipe"}),
        request("dali", DALI | {"args": {"size": 224}}),
        request("dali", DALI | {"mode": "Autoserialize"}),
        request("dali", DALI | {"samples": []}),
        request("dali", DALI, model={"maxBatchSize": 8}),
        request("dali", DALI, model={"config": {"output": [{"name": "IMAGE"}]}}),
        request("dali", DALI, versions=Versions(dali="2.5.0")),
        request("dali", DALI, versions=Versions(), builder_image="builder"),
    ],
)
def test_what_can_change_a_pipeline_changes_its_key(changed: Request) -> None:
    assert key(changed) != key(BASE)


def test_the_bytes_of_inputs_change_the_key() -> None:
    assert key(BASE, p_py="0" * 64) != key(BASE)
    assert key(BASE, inline="0" * 64) != key(BASE)


def test_the_compilers_revision_changes_the_key() -> None:
    assert key(BASE, revisions=REVISIONS | {"dali": 2}) != key(BASE)


@pytest.mark.parametrize(
    "changed",
    [
        request("dali", DALI, name="other", namespace="other"),
        request("dali", DALI, model={"name": "renamed"}),
        request("dali", DALI, requested_at="now", uid="u"),
        request("dali", DALI, server_image="mirror/server", builder_image="mirror/builder"),
        request("dali", DALI, targets=(TargetRequest(name="cpu"),)),
        request("dali", DALI, model={"config": {"dynamic_batching": {}}}),
    ],
)
def test_what_cannot_change_a_pipeline_does_not_change_its_key(changed: Request) -> None:
    assert key(changed) == key(BASE)


def test_where_inputs_lie_does_not_change_the_key() -> None:
    assert key(BASE, key="elsewhere", etag="other") == key(BASE)


def test_without_known_versions_the_builder_image_decides() -> None:
    one, two = (request("dali", DALI, versions=Versions(), builder_image=image) for image in ("a", "b"))
    assert key(one) != key(two)


ENGINE = request("tensorrt", TENSORRT, model={"maxBatchSize": 8})


@pytest.mark.parametrize(
    "changed",
    [
        request("tensorrt", TENSORRT | {"precision": "fp16"}, model={"maxBatchSize": 8}),
        request("tensorrt", TENSORRT | {"optBatchSize": 4}, model={"maxBatchSize": 8}),
        request("tensorrt", TENSORRT, model={"maxBatchSize": 16}),
        request("tensorrt", TENSORRT, model={"maxBatchSize": 8}, versions=Versions(tensorrt="10.16.2")),
        request(
            "tensorrt",
            TENSORRT,
            model={"maxBatchSize": 8},
            targets=(TargetRequest(name="l4", gpu=Gpu(product="NVIDIA-H200")),),
        ),
        request(
            "tensorrt",
            TENSORRT,
            model={"maxBatchSize": 8},
            targets=(
                TargetRequest(name="l4", gpu=Gpu(product="NVIDIA-L4", resource_name="nvidia.com/mig-1g.6gb")),
            ),
        ),
        ENGINE.model_copy(update={"architecture": "arm64"}),
    ],
)
def test_what_can_change_an_engine_changes_its_key(changed: Request) -> None:
    assert key(changed) != key(ENGINE)


def test_time_slicing_and_the_number_of_gpus_do_not_change_an_engine() -> None:
    for resource in ("nvidia.com/gpu", "nvidia.com/gpu.shared"):
        gpu = Gpu(product="NVIDIA-L4-SHARED", count=2, resource_name=resource)
        shared = TargetRequest(name="x", gpu=gpu)
        assert key(ENGINE.model_copy(update={"targets": (shared,)})) == key(ENGINE)


def test_an_engine_for_the_usual_architecture_keeps_the_key_it_had() -> None:
    found = artifact_key("tensorrt", inputs=(), parameters={}, toolchain="8.6.0", gpu=L4.gpu)
    assert found == "32b903f4d068b4515cbc00805067ebb9729dfeb2b99003b08fb3d24c0240aee2"
    (order,) = ordered(ENGINE.model_copy(update={"architecture": "arm64"}))
    assert order.architecture == "arm64"


def test_every_target_finds_its_order() -> None:
    two = request("tensorrt", TENSORRT, targets=(L4, TargetRequest(name="b", gpu=Gpu(product="NVIDIA-H200"))))
    made = ordered(two)
    (version,) = versions(two)
    assert [order_of(made, version, target) for target in ("l4", "b")] == list(made)
    (pipeline,) = ordered(BASE)
    (version,) = versions(BASE)
    assert order_of((pipeline,), version, "l4") is pipeline


def test_an_order_holds_its_files_under_the_names_the_compiler_looks_for() -> None:
    (order,) = ordered(BASE)
    assert [file.path for file in order.inputs] == ["pipeline.py", "samples/0/0"]
    assert order.parameters["samples"] == [{"inputs": [{"name": "X", "file": "samples/0/0"}]}]
    (order,) = ordered(ENGINE)
    assert [file.path for file in order.inputs] == ["model.onnx"]


IMAGE = "exporter@sha256:" + "a" * 64
EXPORT: dict[str, Any] = {
    "image": IMAGE,
    "args": ["--size", "224"],
    "inputs": [{"name": "weights", "source": {"uri": "s3://b/w.pth"}}],
}


def exporting(**changes: Any) -> Request:
    fields = {name: changes.pop(name) for name in ("requested_at", "versions") if name in changes}
    return request("tensorrt", {"export": EXPORT | changes}, **fields)


@pytest.mark.parametrize(
    "changed",
    [
        exporting(image="exporter@sha256:" + "b" * 64),
        exporting(command=["python"]),
        exporting(args=["--size", "256"]),
        exporting(env=[{"name": "SEED", "value": "1"}]),
        exporting(inputs=[{"name": "other", "source": {"uri": "s3://b/w.pth"}}]),
        exporting(gpu=True),
        exporting(output="network.onnx"),
    ],
)
def test_what_can_change_an_export_changes_its_key(changed: Request) -> None:
    assert key(changed) != key(exporting())


def test_the_bytes_of_an_exports_inputs_change_its_key() -> None:
    assert key(exporting(), w_pth="0" * 64) != key(exporting())


@pytest.mark.parametrize(
    "changed",
    [
        exporting(resources={"limits": {"memory": "8Gi"}}),
        exporting(requested_at="now"),
        exporting(versions=Versions(dali="3.0", tensorrt="11.0")),
    ],
)
def test_what_cannot_change_an_export_does_not_change_its_key(changed: Request) -> None:
    assert key(changed) == key(exporting())


def test_an_image_that_is_no_digest_is_run_again_when_asked_for() -> None:
    keys = {key(exporting(image="exporter:dev", requested_at=at)) for at in ("", "today", "tomorrow")}
    assert len(keys) == 3


def test_an_engine_is_ordered_once_its_export_is_there() -> None:
    of = exporting()
    assert [order.kind for order in ordered(of)] == ["export"]
    field = "spec.models[0].tensorrt.export"
    files = tuple(LockedFile(path=path, sha256="c" * 64, size=1) for path in ("model.onnx", "weights.bin"))
    there = lock(of) | {field: LockedSource(field=field, files=files)}
    made = orders(of, there, external_data={field: {"weights.bin": 1}}, revisions=REVISIONS)  # type: ignore[arg-type]
    assert [order.kind for order in made] == ["export", "tensorrt"]
    assert [file.path for file in made[1].inputs] == ["model.onnx", "weights.bin"]


def test_settings_left_alone_stand_in_no_key() -> None:
    """What the API gains later changes no key of those who do not use it."""
    stated = TENSORRT | {
        "profiles": [{"shapes": [{"name": "x", "min": [1], "opt": [1], "max": [4]}]}],
        "keepFp32": {},
        "builder": {"versionCompatible": False, "hardwareCompatibility": "None", "flags": []},
        "io": [],
    }
    (order,) = ordered(request("tensorrt", stated))

    assert order.parameters == {
        "precision": "tf32",
        "max_batch_size": None,
        "opt_batch_size": None,
        "profiles": [{"shapes": [{"name": "x", "min": [1], "opt": [1], "max": [4]}]}],
        "tensorrt_version": "10.16.1",
        "revision": 1,
    }
    assert order.gpu_product == "NVIDIA-L4"


@pytest.mark.parametrize(
    "setting",
    [
        {"precision": "fp16", "keepFp32": {"ops": ["Softmax"]}},
        {"io": [{"name": "x", "dataType": "fp16"}]},
        {"profiles": [{"values": [{"name": "x", "min": [1], "opt": [1], "max": [4]}]}]},
        {"builder": {"optimizationLevel": 5}},
        {"builder": {"workspace": "4Gi"}},
        {"builder": {"versionCompatible": True}},
        {"builder": {"hardwareCompatibility": "AmperePlus"}},
        {"builder": {"tacticSources": ["CUDNN"]}},
        {"builder": {"flags": ["SPARSE_WEIGHTS"]}},
    ],
)
def test_every_setting_of_an_engine_changes_its_key(setting: dict[str, Any]) -> None:
    assert key(request("tensorrt", TENSORRT | setting)) != key(request("tensorrt", TENSORRT))


PLUGIN = {"plugins": [{"uri": "s3://b/plugins/mine.so"}]}


@pytest.mark.parametrize(("kind", "definition"), [("dali", DALI), ("tensorrt", TENSORRT)])
def test_plugins_are_inputs_of_their_models_artifact(kind: str, definition: dict[str, Any]) -> None:
    with_plugin = request(kind, definition | PLUGIN)
    (order,) = ordered(with_plugin)
    assert order.inputs[-1].path == "plugins/mine.so"
    assert order.parameters["plugins"] == ["plugins/mine.so"]
    assert key(with_plugin) != key(request(kind, definition))
    assert key(with_plugin, mine_so="0" * 64) != key(with_plugin)
    assert "plugins" not in ordered(request(kind, definition))[0].parameters, "old keys stay"


def published(*models: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    of = BASE.model_copy(update={"models": tuple(Model.model_validate(model) for model in models)})
    return dict(by_backend(published_plugins(of, lock(of, a_so="1" * 64, b_so="2" * 64))))


def with_plugins(name: str, kind: str, *uris: str) -> dict[str, Any]:
    source = {"uri": "s3://b/file"}
    return {"name": name, kind: {"source": source, "plugins": [{"uri": uri} for uri in uris]}}


def test_a_server_loads_each_plugin_once_in_order() -> None:
    one = with_plugins("one", "dali", "s3://b/b.so", "s3://b/a.so")
    two = with_plugins("two", "dali", "s3://other/a.so")
    three = with_plugins("three", "tensorrt", "s3://b/a.so")
    assert published(one, two, three) == {
        "dali": ("plugins/b.so", "plugins/a.so"),
        "tensorrt": ("plugins/a.so",),
    }


def test_two_plugins_of_one_name_are_refused() -> None:
    of = request("dali", DALI | {"plugins": [{"uri": "s3://b/x/a.so"}, {"uri": "s3://b/y/a.so"}]})
    with pytest.raises(FaultError, match="another file of the same name"):
        published_plugins(of, lock(of))


def test_a_plugins_name_must_fit_a_list_of_paths() -> None:
    of = request("dali", DALI | {"plugins": [{"uri": "s3://b/a;b.so"}]})
    with pytest.raises(FaultError, match=r"spec\.models\[0\]\.dali\.plugins\[0\]"):
        ordered(of)


def test_requirements_and_the_builder_image_make_an_environment() -> None:
    def needing(*requirements: str, **fields: Any) -> Request:
        environment = {"requirements": list(requirements)}
        return request("python", {"source": {"uri": "s3://b/m.py"}, "environment": environment}, **fields)

    (order,) = ordered(needing("six==1.17.0"))
    assert (order.kind, order.field) == ("environment", "spec.models[0].python.environment")
    others = [needing("six==1.16.0"), needing("six==1.17.0", builder_image="another")]
    assert len({order.key, *map(key, others)}) == 3
    assert key(needing("six==1.17.0", name="other", model={"name": "renamed"})) == order.key
