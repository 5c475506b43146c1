"""`kubectl ensemble` in a pod: with the service account of the pod, asking by the name of the Service."""

from __future__ import annotations

import json
import sysconfig

import pytest

from tests.e2e import live, localnode
from tests.e2e.models import affine_onnx

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
SOURCES = ("cli", "crds", "builder-image", "operator")
PACKAGES = "/packages"


def _pod(command: str) -> dict[str, object]:
    """This checkout and its packages, lent by the node, which is this machine, to a plain Python."""
    folders = {f"/sources/{name}": str(live.ROOT / name / "src") for name in SOURCES}
    folders[PACKAGES] = sysconfig.get_path("purelib")
    volumes = [
        {"name": f"v{index}", "hostPath": {"path": path}} for index, path in enumerate(folders.values())
    ]
    mounts = [
        {"name": f"v{index}", "mountPath": place, "readOnly": True} for index, place in enumerate(folders)
    ]
    container = {
        "name": "desk",
        "image": "localhost/ensembles/tools:dev",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-euc", command],
        "env": [
            {"name": "PYTHONPATH", "value": ":".join(folders)},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        ],
        "volumeMounts": mounts,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "desk"},
        "spec": {
            "serviceAccountName": "reader",
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": volumes,
        },
    }


def test_from_a_pod(namespace: live.Namespace) -> None:
    localnode.require()  # whose files the pod mounts
    uri = namespace.put("double.onnx", affine_onnx(scale=2))
    ensemble = namespace.apply("double", [{"name": "double", "onnxruntime": {"source": {"uri": uri}}}])
    ensemble.wait()
    for arguments in (
        (
            "label",
            "namespace",
            namespace.name,
            "pod-security.kubernetes.io/enforce=privileged",
            "--overwrite",
        ),
        ("create", "serviceaccount", "reader"),
        (
            "create",
            "rolebinding",
            "reader",
            "--clusterrole=view",
            f"--serviceaccount={namespace.name}:reader",
        ),
    ):
        namespace.kubectl(*arguments)
    program = "python3 -m ensemble_cli"
    asked = [f"{program} infer double --random --top 0{protocol}" for protocol in ("", " --grpc")]
    read = [f"{program} status double", f"{program} logs double --tail 1"]
    namespace.kubectl("apply", "-f", "-", text=json.dumps(_pod("; ".join([*asked, *read]))))

    def ended() -> str:
        phase = str(namespace.get("pod", "desk")["status"]["phase"])
        return phase if phase in {"Succeeded", "Failed"} else ""

    assert live.eventually(ended, seconds=120) == "Succeeded", namespace.kubectl("logs", "desk")
    said = namespace.kubectl("logs", "desk")
    assert said.count("Y: FP32 [1, 4]") == 2
    assert "double  Ready" in said
    assert "tritonserver | " in said
