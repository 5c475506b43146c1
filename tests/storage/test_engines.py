"""Engines in storage: the proof beside the artifact, timing caches, and what a stopped build leaves."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import sha256
from ensemble_builder.commands import keep, timing_caches
from ensemble_builder.commands.locks import OrderedBuild
from ensemble_builder.compilers.work_folder import LOCK
from ensembles_api.contract import (
    BuildOrder,
    CompileResult,
    Fault,
    ModelIO,
    Proof,
    ProofRecord,
    Request,
    Result,
    StorageLocation,
    TargetRequest,
    Tensor,
    Versions,
)
from ensembles_api.reasons import Reason
from ensembles_api.spec import Gpu
from tests.storage.support.faultproxy import fault_proxy
from tests.storage.support.killing import kill_after
from tests.storage.support.s3server import Server
from tests.storage.support.workbench import Workbench, onnx_model

pytestmark = pytest.mark.s3
TARGETS = (TargetRequest(name="gpu", gpu=Gpu(product="NVIDIA-H200")),)
IO = ModelIO(
    batchable=True,
    inputs=(Tensor(name="x", data_type="TYPE_FP32", shape=(3,)),),
    outputs=(Tensor(name="y", data_type="TYPE_FP32", shape=(3,)),),
    max_batch_size=8,
)
PASSED = Proof(verdict="Passed", summary="verified: worst relative L2 0.004")
OPEN = Proof(verdict="Inconclusive", summary="inconclusive", notes=("the reference is zero everywhere",))
FOLDER = "timing-caches/any-image/NVIDIA-H200/"


def request(bench: Workbench, **verification: Any) -> Request:
    source = {"uri": bench.put("net.onnx", onnx_model())}
    tensorrt = {"source": source, **({"verification": verification} if verification else {})}
    return bench.request({"name": "net", "maxBatchSize": 8, "tensorrt": tensorrt}, targets=TARGETS)


class Build:
    """The first build that a round asked for."""

    def __init__(self, bench: Workbench, ordered: Result, name: str = "work") -> None:
        (build,) = ordered.next
        self.bench = bench
        self.work = bench.folder / name
        self.key, self.proof = build.key, build.proof
        of_order = ["--lock", ordered.lock, "--key", build.key, "--proof", build.proof]
        self.options = [*bench.storage, *of_order, "--work", str(self.work)]

    def fetch(self) -> BuildOrder:
        assert self.bench.run("fetch", "build", *self.options).fault is None
        return BuildOrder.model_validate_json((self.work / "order.json").read_bytes())

    def leave(self, plan: bytes | None, *, proof: Proof | None = PASSED, **fields: Any) -> None:
        """What compile would."""
        files: tuple[str, ...] = ()
        if plan is not None:
            (self.work / "out" / "model.plan").write_bytes(plan)
            files = ("model.plan",)
        result = CompileResult(**{"files": files, "io": IO, "proof": proof, **fields})
        (self.work / "out" / "result.json").write_bytes(result.canonical())

    def upload(self) -> Result:
        return self.bench.run("upload", *self.options)

    @property
    def caches(self) -> set[str]:
        root, prefix = self.bench.store.root, self.bench.store.key("timing-caches/")
        return {info.key.rpartition("/")[2] for info in root.list(prefix)}


def build(bench: Workbench, ordered: Result, plan: bytes, **fields: Any) -> Build:
    found = Build(bench, ordered)
    found.fetch()
    found.leave(plan, **fields)
    assert found.upload().fault is None
    return found


def test_an_engine_is_published_with_its_proof(bench: Workbench) -> None:
    wanted = request(bench)
    ordered = bench.assemble(wanted)
    done = build(bench, ordered, b"plan", proof=OPEN)

    published = bench.assemble(wanted, "--lock", ordered.lock, "--built", done.key)

    assert bench.published(published, "gpu")["models/net/1/model.plan"] == b"plan"
    assert published.warnings == ("spec.models[0].tensorrt: the reference is zero everywhere",)
    data = bench.store.root.get(bench.store.key(layout.proof(done.key, done.proof)))
    record = ProofRecord.model_validate_json(data or b"")
    assert (record.artifact, record.proof) == (sha256(b"plan"), OPEN)


def test_without_a_proof_nothing_is_stored(bench: Workbench) -> None:
    wanted = request(bench)
    unproven = Build(bench, bench.assemble(wanted))
    unproven.fetch()
    unproven.leave(b"plan", proof=None)
    assert unproven.upload().fault is not None
    assert bench.assemble(wanted).next, "what has no proof is not there"

    fault = Fault(code=Reason.ACCURACY_OUT_OF_TOLERANCE, field="f", message="'y': relative L2 0.3")
    unproven.leave(None, proof=None, fault=fault, io=None)
    assert unproven.upload().fault == fault


def test_changed_verification_proves_again_and_builds_nothing(bench: Workbench) -> None:
    first = build(bench, bench.assemble(request(bench)), b"plan")

    stricter = request(bench, relativeL2=0.001)
    ordered = bench.assemble(stricter)
    again = Build(bench, ordered, "again")
    order = again.fetch()
    assert again.key == first.key
    assert again.proof != first.proof
    assert order.proof is not None
    assert order.proof.settings["relative_l2"] == 0.001
    assert (again.work / "built/model.plan").read_bytes() == b"plan"
    again.leave(None)
    assert again.upload().fault is None

    done = bench.assemble(stricter, "--lock", ordered.lock, "--built", again.key)
    assert bench.published(done, "gpu")["models/net/1/model.plan"] == b"plan"
    assert bench.assemble(request(bench)).revision, "the first proof still holds"


def test_a_proof_of_bytes_that_are_not_stored_replaces_none(bench: Workbench) -> None:
    """Two namespaces build the same engine into one storage: the first stays, with the proof it has."""
    wanted = request(bench)
    ordered = bench.assemble(wanted)
    one, two = Build(bench, ordered, "one"), Build(bench, ordered, "two")
    for stage, plan in ((one, b"of one"), (two, b"of two")):
        stage.fetch()
        stage.leave(plan)
    for stage in (one, two):
        assert stage.upload().fault is None

    done = bench.assemble(wanted, "--lock", ordered.lock, "--built", one.key)
    assert bench.published(done, "gpu")["models/net/1/model.plan"] == b"of one"


def test_an_engine_that_was_replaced_while_another_was_proven_is_unproven(bench: Workbench) -> None:
    build(bench, bench.assemble(request(bench)), b"plan")
    stricter = request(bench, relativeL2=0.001)
    proving = Build(bench, bench.assemble(stricter), "proving")
    proving.fetch()
    proving.leave(None)
    root, key = bench.store.root, bench.store.key(layout.artifact("tensorrt", proving.key))
    root.put(bench.store.key(layout.blob(sha256(b"new!"))), b"new!")
    root.put(key, (root.get(key) or b"").replace(sha256(b"plan").encode(), sha256(b"new!").encode()))

    assert proving.upload().fault is None
    assert [order.key for order in bench.assemble(stricter).next] == [proving.key]


@pytest.mark.parametrize(
    ("names", "message"), [(["y", "z"], "no output 'z'"), (["y", "y"], "'y' stands here twice")]
)
def test_a_tolerance_must_be_of_an_output(bench: Workbench, names: list[str], message: str) -> None:
    """Else it would be of no use, and nobody would be told."""
    fault = bench.assemble(
        request(bench, outputs=[{"name": name, "relativeL2": 0.1} for name in names])
    ).fault

    assert fault is not None
    assert fault.code is Reason.INVALID_SPEC
    assert fault.field.startswith("spec.models[0].tensorrt.verification.outputs[")
    assert message in fault.message
    assert bench.assemble(request(bench, outputs=[{"name": "y", "relativeL2": 0.1}])).next


def test_samples_are_part_of_the_proof_and_not_of_the_key(bench: Workbench) -> None:
    sample = {"inputs": [{"name": "x", "source": {"uri": bench.put("x.npy", b"numbers")}}]}
    plain = Build(bench, bench.assemble(request(bench)))
    with_sample = Build(bench, bench.assemble(request(bench, samples=[sample])))
    bench.put("x.npy", b"others")
    with_other = Build(bench, bench.assemble(request(bench, samples=[sample])), "other")

    assert plain.key == with_sample.key == with_other.key
    assert len({plain.proof, with_sample.proof, with_other.proof}) == 3
    order = with_other.fetch()
    assert order.proof is not None
    entry = order.proof.settings["samples"][0]["inputs"][0]
    assert entry["name"] == "x"
    assert (with_other.work / "in" / entry["file"]).read_bytes() == b"others"


def test_profiles_that_cannot_fit_are_refused_before_a_gpu_is_asked_for(bench: Workbench) -> None:
    source = {"uri": bench.put("net.onnx", onnx_model())}
    profile = {"shapes": [{"name": "x", "min": [1, 3], "opt": [8, 3], "max": [4, 3]}]}
    model = {"name": "net", "maxBatchSize": 4, "tensorrt": {"source": source, "profiles": [profile]}}

    refused = bench.assemble(bench.request(model, targets=TARGETS))

    assert refused.next == ()
    assert refused.fault is not None
    assert refused.fault.code is Reason.INVALID_SPEC
    assert refused.fault.field == "spec.models[0].tensorrt.profiles[0].shapes[0].opt"


def test_a_proof_of_other_bytes_is_none(bench: Workbench) -> None:
    """A plan put under the right key by hand, or built again since, is not the one that was proven."""
    wanted = request(bench)
    done = build(bench, bench.assemble(wanted), b"plan")
    root, key = bench.store.root, bench.store.key(layout.artifact("tensorrt", done.key))
    record = root.get(key) or b""
    root.put(bench.store.key(layout.blob(sha256(b"hand"))), b"hand")
    root.put(key, record.replace(sha256(b"plan").encode(), sha256(b"hand").encode()))

    assert [order.key for order in bench.assemble(wanted).next] == [done.key]


@pytest.mark.parametrize(
    ("made", "by_hand"),
    [("10.16.1.11", "10.14.1.48"), ("NVIDIA-H200", "NVIDIA-L4"), ("10.16.1.11", "")],
    ids=["version", "gpu", "nobody says"],
)
def test_an_engine_of_another_tensorrt_or_gpu_under_the_key_is_built_again(
    bench: Workbench, made: str, by_hand: str
) -> None:
    """Even where whoever put it there wrote a proof that fits."""
    wanted = request(bench).model_copy(update={"versions": Versions(tensorrt="10.16.1")})
    provenance = {"tensorrt": "10.16.1.11", "gpu": {"product": "NVIDIA-H200"}}
    done = build(bench, bench.assemble(wanted), b"plan", provenance=provenance)
    assert bench.assemble(wanted).revision
    root, key = bench.store.root, bench.store.key(layout.artifact("tensorrt", done.key))
    record = root.get(key) or b""
    root.put(key, record.replace(made.encode(), by_hand.encode()))

    ordered = bench.assemble(wanted)
    assert [order.key for order in ordered.next] == [done.key]
    again = Build(bench, ordered, "again")
    again.fetch()
    assert not (again.work / "built").exists(), "it is not even proven"
    again.leave(b"plan", provenance=provenance)
    assert again.upload().fault is None
    assert root.get(key) == record


def test_a_plan_changed_under_its_digest_is_never_served(bench: Workbench, server: Server) -> None:
    wanted = request(bench)
    build(bench, bench.assemble(wanted), b"plan")
    server.object("models", bench.store.key(layout.blob(sha256(b"plan")))).write_bytes(b"evil")

    done = bench.assemble(wanted)
    to = ["--revision", done.revision, "--target", "gpu", "--to", str(bench.folder / "to")]
    fetched = bench.run("fetch", "revision", *bench.storage, *bench.ensemble, *to)

    assert fetched.fault is not None
    assert fetched.fault.code is Reason.STORAGE_CORRUPT
    assert not (bench.folder / "to/models/net/1/model.plan").exists()


def test_timing_caches_are_kept_merged_and_given_to_the_next_build(bench: Workbench) -> None:
    ordered = bench.assemble(request(bench))
    one, two = Build(bench, ordered, "one"), Build(bench, ordered, "two")
    for stage in (one, two):  # at once: neither knows of the other
        stage.fetch()
        assert not list((stage.work / "timing-caches").iterdir())
    for stage, data in ((one, b"of one"), (two, b"of two")):
        (stage.work / "out/timing.cache").write_bytes(data)
        stage.leave(data)
        assert stage.upload().fault is None
    assert one.caches == {sha256(b"of one"), sha256(b"of two")}

    other_model = request(bench).model_copy(update={"name": "other"})
    changed = other_model.models[0].model_copy(update={"max_batch_size": 4})
    three = Build(bench, bench.assemble(other_model.model_copy(update={"models": (changed,)})), "three")
    three.fetch()
    given = {path.name: path.read_bytes() for path in (three.work / "timing-caches").iterdir()}
    assert given == {sha256(b"of one"): b"of one", sha256(b"of two"): b"of two"}
    (three.work / "out/timing.cache").write_bytes(b"of all")
    three.leave(b"plan", merged_caches=(sha256(b"of one"), sha256(b"of two")))
    assert three.upload().fault is None
    assert three.caches == {sha256(b"of all")}


def test_a_fault_keeps_what_was_measured(bench: Workbench) -> None:
    stage = Build(bench, bench.assemble(request(bench)))
    stage.fetch()
    (stage.work / "out/timing.cache").write_bytes(b"measured")
    fault = Fault(code=Reason.ACCURACY_OUT_OF_TOLERANCE, message="too far off")
    stage.leave(None, proof=None, fault=fault, io=None)

    assert stage.upload().fault == fault
    assert stage.caches == {sha256(b"measured")}


def test_damaged_and_superfluous_caches(bench: Workbench, server: Server) -> None:
    stage = Build(bench, bench.assemble(request(bench)))
    stage.fetch()
    root = bench.store.root
    (stage.work / "out/timing.cache").write_bytes(b"0")
    timing_caches.keep(bench.store, FOLDER, out=stage.work / "out")
    for number in range(timing_caches.KEPT + 3):
        (stage.work / "out/timing.cache").write_bytes(b"cache %d" % number)
        timing_caches.keep(bench.store, FOLDER, out=stage.work / "out")
    there = [info.key for info in root.list(bench.store.key(FOLDER))]
    # Listings tell whole seconds: the one just written may not look like the newest.
    assert timing_caches.KEPT <= len(there) <= timing_caches.KEPT + 1
    for key in there[timing_caches.FETCHED - 1 :]:
        root.delete(key)
    server.object("models", there[0]).write_bytes(b"damaged")

    timing_caches.fetch(bench.store, FOLDER, to=bench.folder / "caches")

    names = {path.name for path in (bench.folder / "caches").iterdir()}
    assert names == {key.rpartition("/")[2] for key in there[1 : timing_caches.FETCHED - 1]}
    assert root.head(there[0]) is None


def uploading(bench: Workbench, location: StorageLocation, *, batch: int, name: str) -> list[str]:
    """The command that uploads a new engine, by way of another address of the storage."""
    stage = Build(bench, bench.assemble(batching(bench, batch)), f"{name}-{batch}")
    stage.fetch()
    (stage.work / "out/timing.cache").write_bytes(b"measured %d" % batch)
    stage.leave(b"plan %d" % batch)
    options = [location.model_dump_json() if option.startswith("{") else option for option in stage.options]
    program = [sys.executable, "-m", "ensemble_builder.cli", "upload"]
    return [*program, *options, "--result", str(bench.folder / "outcome")]


def batching(bench: Workbench, batch: int) -> Request:
    wanted = request(bench)
    model = wanted.models[0].model_copy(update={"max_batch_size": batch})
    return wanted.model_copy(update={"models": (model,)})


def test_an_upload_killed_at_any_point_is_done_by_the_next(bench: Workbench, server: Server) -> None:
    with fault_proxy(("127.0.0.1", server.port)) as proxy:
        location = bench.store.location.model_copy(update={"endpoint": proxy.endpoint})
        subprocess.run(uploading(bench, location, batch=1, name="whole"), check=True)
        total = proxy.seen
        assert bench.assemble(batching(bench, 1)).revision
        for allowed in {*range(1, total, 3), total - 1}:  # all of them take 40 s
            batch = 1 + allowed
            kill_after(proxy, uploading(bench, location, batch=batch, name="killed"), requests=allowed)
            ordered = bench.assemble(batching(bench, batch))
            if not ordered.revision:
                again = Build(bench, ordered, f"again-{batch}")
                again.fetch()
                again.leave(None if (again.work / "built").exists() else b"plan %d" % batch)
                assert again.upload().fault is None
                ordered = bench.assemble(batching(bench, batch))
            assert bench.published(ordered, "gpu")["models/net/1/model.plan"] == b"plan %d" % batch


def stopped(bench: Workbench, stage: Build, ordered: Result, *, grace: float) -> threading.Thread:
    """The sidecar after SIGTERM."""
    thread = threading.Thread(
        target=keep.run,
        args=(OrderedBuild(bench.store, ordered.lock, stage.key, stage.proof, stage.work),),
        kwargs={"wait": lambda: None, "grace": grace},
    )
    thread.start()
    return thread


def test_what_a_stopped_build_measured_is_saved(bench: Workbench) -> None:
    ordered = bench.assemble(request(bench))
    stage = Build(bench, ordered)
    stage.fetch()
    with (stage.work / LOCK).open("wb") as lock:  # compile is at work
        fcntl.flock(lock, fcntl.LOCK_EX)
        sidecar = stopped(bench, stage, ordered, grace=60)
        sidecar.join(0.5)
        assert sidecar.is_alive(), "it waits for compile"
        (stage.work / "out/timing.cache").write_bytes(b"measured")
    sidecar.join(20)
    assert not sidecar.is_alive()
    assert stage.caches == {sha256(b"measured")}
    assert bench.assemble(request(bench)).next, "no half artifact"

    again = Build(bench, ordered, "again")
    again.fetch()
    assert [path.read_bytes() for path in (again.work / "timing-caches").iterdir()] == [b"measured"]


def test_a_build_that_ended_by_itself_has_nothing_left_to_save(bench: Workbench) -> None:
    ordered = bench.assemble(request(bench))
    stage = Build(bench, ordered)
    stage.fetch()
    (stage.work / "out/timing.cache").write_bytes(b"measured")
    stage.leave(b"plan")
    assert stage.upload().fault is None
    stopped(bench, stage, ordered, grace=60).join(20)
    assert stage.caches == {sha256(b"measured")}


def test_the_sidecar_gives_up_before_it_is_killed(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "MARGIN", 0.5)
    ordered = bench.assemble(request(bench))
    stage = Build(bench, ordered)
    stage.fetch()
    with (stage.work / LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sidecar = stopped(bench, stage, ordered, grace=1)
        sidecar.join(20)
    assert not sidecar.is_alive()
    assert stage.caches == set()


def test_a_missing_cache_folder_costs_nothing(bench: Workbench, tmp_path: Path) -> None:
    timing_caches.fetch(bench.store, "timing-caches/none/none/", to=tmp_path / "caches")
    timing_caches.keep(bench.store, "timing-caches/none/none/", out=tmp_path)
    assert list((tmp_path / "caches").iterdir()) == []
