"""`kubectl ensemble status` on a build that runs: the percentage is in its container's log alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ensemble_cli.main import main
from tests.e2e import live

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

TOOLS = "localhost/ensembles/tools:dev"
OURS = {"app.kubernetes.io/managed-by": "ensemble-operator", "ensembles.dev/role": "build"}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def talking_build(ensemble: live.Ensemble) -> dict[str, Any]:
    """A Job like an engine's build, whose compile says what the compiler says: the real one needs a GPU."""
    metadata = ensemble.object()["metadata"]
    lines = [json.dumps({"progress": percent, "seconds": percent / 4}) for percent in (20, 40)]
    container = {"image": TOOLS, "imagePullPolicy": "Never", "securityContext": RESTRICTED}
    said = "\n".join(f"print({line!r}, flush=True)" for line in lines)
    program = f"import time\n{said}\nprint('[W] a line of TensorRT', flush=True)\ntime.sleep(600)"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "build-tensorrt-talks",
            "labels": OURS,
            "ownerReferences": [
                {
                    "apiVersion": "ensembles.dev/v1alpha1",
                    "kind": "InferenceEnsemble",
                    "name": ensemble.name,
                    "uid": metadata["uid"],
                }
            ],
        },
        "spec": {
            "template": {
                "metadata": {"labels": OURS},
                "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 1,
                    "initContainers": [
                        {"name": "compile", "command": ["python3", "-c", program], **container}
                    ],
                    "containers": [{"name": "upload", "command": ["true"], **container}],
                },
            }
        },
    }


def test_the_percentage_of_an_engine_is_read_from_its_builds_log(
    namespace: live.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [{"name": "net", "onnxruntime": {"source": {"uri": f"{namespace.store}/none.onnx"}}}]
    ensemble = namespace.apply("waits", models, suspend=True)
    live.eventually(lambda: ensemble.condition("Ready").get("reason") == "Suspended", what=ensemble.describe)
    namespace.kubectl("create", "-f", "-", text=json.dumps(talking_build(ensemble)))
    where = ["--kubeconfig", live.environment()["KUBECONFIG"], "-n", namespace.name]

    def jobs() -> list[dict[str, Any]]:
        main(["status", "waits", "-o", "json", *where])
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["jobs"]
        return found

    live.eventually(lambda: [job["percent"] for job in jobs()] == [40], what=namespace.name)
    main(["status", "waits", *where])
    assert ", 40 %" in capsys.readouterr().out
