"""The test server in a restricted pod, started as NVIDIA's image is, on a repository from a ConfigMap."""

import base64
import io
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc
import tritonclient.http
from PIL import Image
from tritonclient.utils import InferenceServerException

pytest.importorskip("nvidia.dali", reason="the dependency group `runtimes` is not installed")

from localcluster import settings
from nvidia.dali import fn, pipeline_def, types

pytestmark = pytest.mark.cluster

CONFIGS = {
    "preprocess": """
        backend: "dali"
        max_batch_size: 8
        input [{ name: "ENCODED" data_type: TYPE_UINT8 dims: [-1] allow_ragged_batch: true }]
        output [
          { name: "IMAGE" data_type: TYPE_FP32 dims: [3, 24, 32] },
          { name: "SHAPE" data_type: TYPE_INT64 dims: [3] }
        ]
        dynamic_batching { max_queue_delay_microseconds: 20000 }
        parameters { key: "num_threads" value { string_value: "2" } }
    """,
    "identity": """
        backend: "onnxruntime"
        max_batch_size: 8
        default_model_filename: "identity.onnx"
        input [{ name: "x" data_type: TYPE_FP32 dims: [3, 24, 32] }]
        output [{ name: "y" data_type: TYPE_FP32 dims: [3, 24, 32] }]
        dynamic_batching {}
    """,
    "whole": """
        platform: "ensemble"
        max_batch_size: 8
        input [{ name: "INPUT" data_type: TYPE_UINT8 dims: [-1] }]
        output [
          { name: "OUTPUT" data_type: TYPE_FP32 dims: [3, 24, 32] },
          { name: "SHAPE" data_type: TYPE_INT64 dims: [3] }
        ]
        ensemble_scheduling { step [
          { model_name: "preprocess" model_version: -1
            input_map { key: "ENCODED" value: "INPUT" }
            output_map { key: "IMAGE" value: "image" }
            output_map { key: "SHAPE" value: "SHAPE" } },
          { model_name: "identity" model_version: -1
            input_map { key: "x" value: "image" } output_map { key: "y" value: "OUTPUT" } }
        ] }
    """,
    "serialised_at_load": 'backend: "dali"',
}

DALI_PY = """
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.triton import autoserialize


@autoserialize
@pipeline_def(batch_size=16, num_threads=1, device_id=0, output_dtype=[types.UINT8], output_ndim=[3])
def decode():
    encoded = fn.external_source(name="ENCODED", ndim=1, dtype=types.UINT8)
    return fn.resize(fn.decoders.image(encoded, device="mixed"), size=(8, 8), name="SMALL")
"""


@pipeline_def(batch_size=8, num_threads=1, device_id=None)  # type: ignore[untyped-decorator]
def preprocess(device: str) -> Any:
    encoded = fn.external_source(name="ENCODED", ndim=1, dtype=types.UINT8)
    image = fn.decoders.image(encoded, device="mixed" if device == "gpu" else "cpu")
    resized = fn.resize(image, resize_x=32, resize_y=24, device=device)
    normalised = fn.crop_mirror_normalize(
        resized, device=device, dtype=types.FLOAT, output_layout="CHW", mean=[127.0] * 3, std=[128.0] * 3
    )
    return normalised, image.shape(dtype=types.INT64)


def identity() -> bytes:
    shape = ["n", 3, 24, 32]
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
    opsets = [onnx.helper.make_opsetid("", 13)]
    return bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def png(seed: int, *, height: int = 40, width: int = 50) -> np.ndarray[Any, Any]:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return np.frombuffer(buffer.getvalue(), np.uint8)[None]


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    tool = shutil.which("kubectl") or str(settings.default_cache() / "bin" / "kubectl")
    environment = dict(os.environ)
    environment.setdefault("KUBECONFIG", str(settings.default_state() / "kubeconfig"))
    result = subprocess.run(
        [tool, *arguments], check=False, capture_output=True, text=True, input=stdin, env=environment
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@dataclass(frozen=True)
class Server:
    """Address of the pod, which this machine reaches since the node is this machine."""

    address: str

    def http(self) -> Any:
        return tritonclient.http.InferenceServerClient(f"{self.address}:8000")

    def grpc(self) -> Any:
        return tritonclient.grpc.InferenceServerClient(f"{self.address}:8001")


def manifests(namespace: str) -> list[dict[str, Any]]:
    files = {f"{name}/config.pbtxt": text.replace("\n", " ").encode() for name, text in CONFIGS.items()} | {
        "preprocess/1/model.dali": preprocess(device="gpu").serialize(),
        "identity/1/identity.onnx": identity(),
        "whole/1/keep": b"",
        "serialised_at_load/1/dali.py": DALI_PY.encode(),
    }
    keys = {path: path.replace("/", "--") for path in files}
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    data = {keys[path]: base64.b64encode(content).decode() for path, content in files.items()}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": restricted}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "models", "namespace": namespace},
            "binaryData": data,
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "server", "namespace": namespace},
            "spec": pod_spec([{"key": key, "path": path} for path, key in keys.items()]),
        },
    ]


def pod_spec(items: list[dict[str, str]]) -> dict[str, Any]:
    server = container("tritonserver", ["tritonserver", "--model-repository=/models"], {"models": "/models"})
    server["readinessProbe"] = {"httpGet": {"path": "/v2/health/ready", "port": 8000}, "periodSeconds": 1}
    # The kubelet puts folders of its own into a mounted ConfigMap, and the server takes each for a model.
    copy = ["sh", "-c", "cp -rL /given/* /models/"]
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 3,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [container("copy", copy, {"given": "/given", "models": "/models"})],
        "containers": [server],
        "volumes": [
            {"name": "given", "configMap": {"name": "models", "items": items}},
            {"name": "models", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def container(name: str, command: list[str], mounts: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "image": "localhost/ensembles/tritonserver-cpu:dev",
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": volume, "mountPath": path}
            for volume, path in {**mounts, "tmp": "/tmp"}.items()  # noqa: S108 - in the pod
        ],
    }


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    namespace = f"tritonserver-cpu-{uuid.uuid4().hex[:5]}"
    namespace_manifest, *rest = manifests(namespace)
    kubectl("apply", "-f", "-", stdin=json.dumps(namespace_manifest))
    try:
        wait_for_account(namespace)
        for manifest in rest:
            kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        try:
            kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/server", "--timeout=300s")
        except AssertionError as error:
            pytest.fail(f"{error}\n{kubectl('-n', namespace, 'logs', 'server', '--tail=60')}", pytrace=False)
        yield Server(kubectl("-n", namespace, "get", "pod", "server", "-o", "jsonpath={.status.podIP}"))
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


def wait_for_account(namespace: str) -> None:
    deadline = time.monotonic() + 20
    while not kubectl("-n", namespace, "get", "serviceaccount", "default", "--ignore-not-found"):
        assert time.monotonic() < deadline, "the namespace has no default service account"
        time.sleep(0.1)


def infer(kind: Any, client: Any, model: str, name: str, data: np.ndarray[Any, Any], *outputs: str) -> Any:
    tensor = kind.InferInput(name, list(data.shape), "UINT8")
    tensor.set_data_from_numpy(data)
    return client.infer(model, [tensor], outputs=[kind.InferRequestedOutput(output) for output in outputs])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_ensemble_turns_an_image_into_the_tensor_that_dali_computes(server: Server, protocol: str) -> None:
    kind, client = getattr(tritonclient, protocol), getattr(server, protocol)()
    image = png(1)
    answer = infer(kind, client, "whole", "INPUT", image, "OUTPUT", "SHAPE")

    reference = preprocess(device="cpu", batch_size=1)
    reference.feed_input("ENCODED", [image[0]])
    expected, shape = reference.run()
    assert np.array_equal(answer.as_numpy("OUTPUT"), expected.as_array())
    assert np.array_equal(answer.as_numpy("SHAPE"), shape.as_array())
    client.close()


def test_images_of_different_length_share_a_batch(server: Server) -> None:
    client = server.grpc()
    images = [png(seed, height=30 + seed) for seed in range(8)]
    alone = [infer(tritonclient.grpc, client, "whole", "INPUT", image).as_numpy("OUTPUT") for image in images]
    before = statistics(client)
    answers: list[Any] = [None] * len(images)

    def keep(index: int) -> Any:
        return lambda result, error: answers.__setitem__(index, error or result)

    for index, image in enumerate(images):
        tensor = tritonclient.grpc.InferInput("INPUT", list(image.shape), "UINT8")
        tensor.set_data_from_numpy(image)
        client.async_infer("whole", [tensor], keep(index))
    deadline = time.monotonic() + 30
    while any(answer is None for answer in answers) and time.monotonic() < deadline:
        time.sleep(0.02)
    for answer, expected in zip(answers, alone, strict=True):
        assert np.array_equal(answer.as_numpy("OUTPUT"), expected)
    inferences, executions = (now - was for now, was in zip(statistics(client), before, strict=True))
    assert inferences == len(images)
    assert executions < len(images)
    client.close()


def test_a_request_for_fewer_outputs_than_the_pipeline_has_is_refused(server: Server) -> None:
    client = server.grpc()
    with pytest.raises(
        tritonclient.utils.InferenceServerException, match=r"Number of outputs expected .*\(1\)"
    ):
        infer(tritonclient.grpc, client, "preprocess", "ENCODED", png(1), "IMAGE")
    client.close()


def test_a_broken_image_fails_its_request_and_no_other(server: Server) -> None:
    client = server.grpc()
    with pytest.raises(InferenceServerException, match="DALI error"):
        infer(tritonclient.grpc, client, "whole", "INPUT", np.zeros((1, 10), np.uint8))
    assert infer(tritonclient.grpc, client, "whole", "INPUT", png(2)).as_numpy("OUTPUT").shape == (
        1,
        3,
        24,
        32,
    )
    client.close()


def test_a_python_pipeline_is_serialised_and_its_configuration_completed(server: Server) -> None:
    client = server.grpc()
    configuration = client.get_model_config("serialised_at_load", as_json=True)["config"]
    assert configuration["max_batch_size"] == 16
    assert [entry["name"] for entry in configuration["input"]] == ["ENCODED"]
    assert configuration["input"][0]["allow_ragged_batch"] is True
    answer = infer(tritonclient.grpc, client, "serialised_at_load", "ENCODED", png(3)).as_numpy("SMALL")
    assert answer.shape == (1, 8, 8, 3)
    assert answer.dtype == np.uint8
    client.close()


def statistics(client: Any) -> tuple[int, int]:
    """Inferences and executions of the DALI model so far."""
    found = client.get_inference_statistics("preprocess", as_json=True)["model_stats"][0]
    return int(found["inference_count"]), int(found["execution_count"])
