"""`kubectl ensemble` against a real API server; statuses as the operator writes them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ensemble_cli.exits import Exit
from ensemble_cli.main import main

pytestmark = pytest.mark.apiserver

SPEC = {
    "storage": {"uri": "s3://m/store", "secretName": "keys"},
    "models": [{"name": "net", "onnxruntime": {"source": {"uri": "s3://m/net.onnx"}}}],
}
NOW = "2026-01-01T00:00:00Z"
Run = Callable[..., tuple[int, str, str]]


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message,
            "observedGeneration": 1, "lastTransitionTime": NOW}  # fmt: skip


READY = {
    "observedGeneration": 1,
    "stage": "Ready",
    "revision": "ab" * 32,
    "rollout": "r1",
    "url": "http://serves.ns.svc:8000",
    "entrypoint": "net",
    "replicas": "1/1",
    "models": [{"name": "net", "kind": "onnxruntime", "state": "Built"}],
    "targets": [{"name": "default", "deployment": "serves-r1-default", "readyReplicas": 1, "replicas": 1}],
    "conditions": [
        condition("Ready", "True", "Ready"),
        condition("Available", "True", "EndpointsReady"),
        condition("Verified", "True", "Ready", "the servers answered real inferences"),
    ],
    "history": [
        {"number": 2, "revision": "ab" * 32, "rollout": "r1", "outcome": "Promoted", "startedAt": NOW,
         "finishedAt": NOW},
        {"number": 1, "revision": "cd" * 32, "rollout": "r0", "outcome": "Failed", "startedAt": NOW,
         "message": "model 'net' cannot be loaded: " + "because " * 20},
    ],
}  # fmt: skip
STALLED = {
    **READY,
    "stage": "Stalled",
    "failingSince": NOW,
    "attempt": 3,
    "retryAt": NOW,
    "conditions": [
        condition("Ready", "False", "SourceMissing", "spec.models[0].onnxruntime.source.uri: not there"),
        condition("Stalled", "True", "SourceMissing", "spec.models[0].onnxruntime.source.uri: not there"),
        condition("Available", "True", "EndpointsReady"),
    ],
}


def document(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ensembles.dev/v1alpha1",
        "kind": "InferenceEnsemble",
        "metadata": {"name": name},
        "spec": {**SPEC, **spec},
    }


@pytest.fixture(scope="module")
def ensembles(api: Any) -> dict[str, Any]:
    """Ensembles in several states, by name."""
    created = {}
    for name, status in (("serves", READY), ("stalls", STALLED), ("unseen", {}), ("paused", {})):
        answer = api.create(document(name))
        assert answer.code == 201, answer.message
        created[name] = answer.body
        if status:
            assert api.merge(name, {"status": status}, status=True).code == 200
    return created


@pytest.fixture
def run(api: Any, kubeconfig: Path, ensembles: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> Run:
    def call(
        *arguments: str, config: Path = kubeconfig, namespace: str = api.namespace
    ) -> tuple[int, str, str]:
        assert ensembles
        status = main([*arguments, "--kubeconfig", str(config), "-n", namespace])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return status, shown.out, shown.err

    return call


def test_status_of_what_serves(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    status, shown, _ = run("status", "serves")
    assert status == Exit.DONE
    for part in ("serves  Ready  generation 1", "✔ Verified", "✔ net  onnxruntime  Built",
                 "serving revision abababababab  1/1 ready", "✔ default  1/1", "rollout 2 Promoted",
                 "Clients ask model 'net' at http://serves.ns.svc:8000."):  # fmt: skip
        assert part in shown
    assert "\x1b" not in shown


def test_status_as_data_names_the_jobs(run: Run, api: Any, ensembles: dict[str, Any]) -> None:
    labels = {"app.kubernetes.io/managed-by": "ensemble-operator"}
    owner = {"apiVersion": "ensembles.dev/v1alpha1", "kind": "InferenceEnsemble", "name": "stalls",
             "uid": ensembles["stalls"]["metadata"]["uid"]}  # fmt: skip
    pod_spec = {"restartPolicy": "Never", "containers": [{"name": "upload", "image": "none"}]}
    job = {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "build-dali-1", "ownerReferences": [owner],
                     "labels": {**labels, "ensembles.dev/role": "build", "ensembles.dev/key": "k" * 20}},
        "spec": {"suspend": True, "template": {"spec": pod_spec}},
    }  # fmt: skip
    pod = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "asm", "labels": {
            **labels, "ensembles.dev/role": "assemble", "ensembles.dev/ensemble": "stalls"}},
        "spec": {**pod_spec, "automountServiceAccountToken": False},
    }  # fmt: skip
    assert api.call("POST", f"/apis/batch/v1/namespaces/{api.namespace}/jobs", job).code == 201
    pods = f"/api/v1/namespaces/{api.namespace}/pods"
    answer = api.call("POST", pods, pod)
    if answer.code == 403:  # the namespace's default account is made by a controller that may not run
        accounts = f"/api/v1/namespaces/{api.namespace}/serviceaccounts"
        assert api.call("POST", accounts, {"metadata": {"name": "default"}}).code == 201
        answer = api.call("POST", pods, pod)
    assert answer.code == 201, answer.message
    result = json.dumps({"next": [{"kind": "dali", "key": "k" * 64, "model": "pre"}]})
    ended = {"name": "upload", "ready": False, "restartCount": 0, "image": "", "imageID": "",
             "state": {"terminated": {"exitCode": 0, "message": result}}}  # fmt: skip
    body = answer.body | {"status": {"phase": "Succeeded", "containerStatuses": [ended]}}
    assert api._call("PUT", f"{pods}/asm/status", body, "application/json", {}).code == 200
    status, shown, _ = run("status", "stalls", "-o", "json")
    assert status == Exit.NO
    data = json.loads(shown)
    assert [(job["role"], job["model"], job["state"]) for job in data["jobs"]] == [
        ("build", "pre", "Waiting")
    ]
    assert data["status"]["attempt"] == 3
    assert run("status", "serves", "-o", "yaml")[1].startswith("name: serves\n")


@pytest.mark.parametrize(
    ("name", "status", "parts"),
    [
        ("serves", Exit.DONE, ["'serves' serves generation 1.", "Clients ask model 'net'"]),
        ("stalls", Exit.NO, ["'stalls' is stalled for ",
                             "SourceMissing: spec.models[0].onnxruntime.source.uri",
                             "What to do: Upload it, or correct the uri.", "Tried 3 times; again at",
                             "Clients are served meanwhile, by revision abababababab."]),
        ("unseen", Exit.NO, ["the operator has not yet looked at generation 1 of 'unseen'"]),
    ],
)  # fmt: skip
def test_why(run: Run, name: str, status: Exit, parts: list[str]) -> None:
    found, shown, _ = run("why", name)
    assert found == status
    assert all(part in shown for part in parts), shown
    assert len(shown.splitlines()) == 1
    data = json.loads(run("why", name, "-o", "json")[1])
    assert (data["name"], data["ready"], data["text"]) == (name, status == Exit.DONE, shown.strip())


def test_history_fits_sixty_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _, shown, _ = run("history", "serves")
    assert re.search(r"^\* +2 +abababababab +Promoted +2026-01-01T00:00:00Z", shown, re.MULTILINE)
    _, data, _ = run("history", "serves", "-o", "json")
    assert [record["outcome"] for record in json.loads(data)] == ["Promoted", "Failed"]
    monkeypatch.setattr("ensemble_cli.printing.FILE_WIDTH", 60)
    for command in ("history", "status"):
        lines = run(command, "serves")[1].splitlines()
        assert lines
        assert max(map(len, lines)) <= 60
    shown = run("history", "serves")[1]
    assert "*  2  abababababab  Promoted  2026-01-01T00:00:00Z" in shown, "nothing is cut off"
    assert "\n   model 'net' cannot be loaded: because" in shown


def test_pause_and_resume(run: Run, api: Any) -> None:
    for arguments, paused, suspended in (
        (["pause"], True, False),
        (["pause", "--everything"], True, True),
        (["resume"], False, False),
    ):
        command, *options = arguments
        assert run(command, "paused", *options)[0] == Exit.DONE
        spec = api.get("paused")["spec"]
        assert (spec["rollout"]["paused"], spec["suspend"]) == (paused, suspended)
    assert run("resume", "paused")[1] == "paused is not paused\n"


def test_diff_says_what_applying_would_change(run: Run, tmp_path: Path, api: Any) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(yaml.safe_dump(document("serves")))
    assert run("diff", str(file))[:2] == (Exit.DONE, "")
    file.write_text(yaml.safe_dump(document("serves", serving={"replicas": 3})))
    status, shown, _ = run("diff", str(file))
    changed = [line for line in shown.splitlines() if re.match("[+-] ", line)]
    assert (status, changed) == (Exit.NO, ["-    replicas: 1", "+    replicas: 3"])
    assert api.get("serves")["spec"]["serving"]["replicas"] == 1
    file.write_text(yaml.safe_dump(document("new")))
    status, shown, _ = run("diff", str(file))
    assert status == Exit.NO
    assert "+    replicas: 1" in shown.splitlines(), "the API server's defaults are filled in"
    assert not re.search("^-[^-]", shown, re.MULTILINE)
    assert run("status", "new")[0] == Exit.ABSENT, "nothing is written"


@pytest.mark.parametrize("client_side", [True, False])
def test_diff_shows_what_a_file_no_longer_says(
    run: Run, tmp_path: Path, api: Any, *, client_side: bool
) -> None:
    stated = document(f"applied-{'client' if client_side else 'server'}", serving={"replicas": 3})
    if client_side:
        note = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(stated)}
        metadata = stated["metadata"] | {"annotations": note}
        assert api.create(stated | {"metadata": metadata}).code == 201
    else:
        assert api.apply(stated).code == 201
    file = tmp_path / "e.yaml"
    file.write_text(yaml.safe_dump(document(stated["metadata"]["name"])))

    status, shown, _ = run("diff", str(file))

    assert api.call("DELETE", api._path(stated["metadata"]["name"])).code == 200
    changed = [line for line in shown.splitlines() if re.match("[+-] ", line)]
    assert (status, changed) == (Exit.NO, ["-    replicas: 3", "+    replicas: 1"])


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["status", "nobody"], Exit.ABSENT, "no ensemble 'nobody' in namespace"),
        (["why", "nobody"], Exit.ABSENT, "there is: paused, serves, stalls, unseen"),
        (["logs", "serves"], Exit.ABSENT, "serves has no servers; kubectl ensemble why serves says why"),
        (["logs", "serves", "--model", "net"], Exit.ABSENT, "no build of model 'net' is kept"),
        (["infer", "serves", "--random"], Exit.ABSENT, "serves has no ready server"),
        (["status", "serves", "--watch", "-o", "json"], Exit.USAGE, "--watch writes for people"),
        (["rollback", "nobody"], Exit.ABSENT, "no ensemble 'nobody' in namespace"),
        (["rollback", "serves"], Exit.ABSENT, "no rollout before number 2 served with another revision"),
        (["rollback", "serves", "9"], Exit.ABSENT, "there is: 2 (abababababab), 1 (cdcdcdcdcdcd)"),
        (["rollback", "serves", "cdcd"], Exit.NO, "rollout 1 failed: model 'net' cannot be loaded"),
        (["rollback", "unseen"], Exit.ABSENT, "nothing serves unseen yet; kubectl ensemble why unseen"),
        (["infer", "--random"], Exit.USAGE, "say whom to ask; give the NAME of an ensemble, or --url"),
    ],
)
def test_what_is_not_there(run: Run, arguments: list[str], status: Exit, message: str) -> None:
    found, _, error = run(*arguments)
    assert found == status
    assert len(error.splitlines()) == 1
    assert message in error


def test_no_cluster(run: Run, kubeconfig: Path, tmp_path: Path) -> None:
    """No kubeconfig, a broken one, one without rights, a context that is not there, a server that is not."""
    good = yaml.safe_load(kubeconfig.read_text())
    nobody = {**good, "users": [{"name": user["name"], "user": {}} for user in good["users"]]}
    dead = json.loads(json.dumps(good))
    dead["clusters"][0]["cluster"] |= {"server": "https://127.0.0.1:1"}
    texts = {"broken": "a: [", "empty": "", "nobody": yaml.safe_dump(nobody), "dead": yaml.safe_dump(dead),
             "list": "- a"}  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    for name, message in (
        ("absent", "no cluster: "),
        ("broken", "the kubeconfig cannot be read"),
        ("empty", "no cluster: "),
        ("list", "the kubeconfig cannot be read"),
        ("nobody", "cannot get resource|does not know you"),
        ("dead", "the API server at https://127.0.0.1:1 does not answer"),
    ):
        status, _, error = run("why", "serves", config=tmp_path / name)
        assert (name, status, len(error.splitlines())) == (name, Exit.CLUSTER, 1), error
        assert re.search(message, error), (name, error)
        assert "; " in error
    assert run("why", "serves", "--context", "other")[0] == Exit.CLUSTER


def test_a_user_who_may_only_get_ensembles(run: Run, api: Any, kubeconfig: Path, tmp_path: Path) -> None:
    core, rbac = f"/api/v1/namespaces/{api.namespace}", "/apis/rbac.authorization.k8s.io/v1"
    ours = f"{rbac}/namespaces/{api.namespace}"
    rule = {"apiGroups": ["ensembles.dev"], "resources": ["inferenceensembles"], "verbs": ["get"]}
    assert api.call("POST", f"{core}/serviceaccounts", {"metadata": {"name": "reader"}}).code == 201
    role = {"metadata": {"name": "reader"}, "rules": [rule]}
    assert api.call("POST", f"{ours}/roles", role).code == 201
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": api.namespace}],
    }
    assert api.call("POST", f"{ours}/rolebindings", binding).code == 201
    token = api.call("POST", f"{core}/serviceaccounts/reader/token", {"spec": {}}).body["status"]["token"]
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    reader = tmp_path / "reader"
    reader.write_text(yaml.safe_dump(config))

    status, shown, error = run("status", "serves", config=reader)
    assert (status, error) == (Exit.DONE, "")
    assert "serving revision abababababab  1/1 ready" in shown
    status, _, error = run("why", "nobody", config=reader)
    assert status == Exit.ABSENT
    assert "no ensemble 'nobody' in namespace" in error
    for command in (["logs"], ["logs", "--model", "net"], ["infer", "--random"], ["graph"], ["pause"]):
        status, shown, error = run(command[0], "serves", *command[1:], config=reader)
        assert (status, shown, len(error.splitlines())) == (Exit.CLUSTER, "", 1), command
        assert "forbidden" in error
        assert error.endswith("; ask for the permission, or give another --namespace or --context\n")


def test_the_operator_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble_cli.cluster.reading.API_VERSION", "ensembles.dev/v0")
    status, _, error = run("status", "serves")
    assert status == Exit.ABSENT
    assert "the operator is not installed; install it: helm install" in error


def test_watching_ends_with_ctrl_c(api: Any, kubeconfig: Path, ensembles: dict[str, Any]) -> None:
    """On a terminal of 60 columns, and through a pipe."""
    assert ensembles
    command = [sys.executable, "-m", "ensemble_cli", "status", "stalls", "--watch"]
    command += ["--kubeconfig", str(kubeconfig), "-n", api.namespace]
    near, far = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=far, stderr=far, env=environment) as process:
        os.close(far)
        seen = _read_until(near, "SourceMissing")
        process.send_signal(signal.SIGINT)
        seen += _read_until(near, "")
    os.close(near)
    assert process.returncode == Exit.INTERRUPTED
    assert "Traceback" not in seen
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as piped:
        assert piped.stdout
        assert re.match(r"\d\d:\d\d:\d\d False SourceMissing: spec\.models", piped.stdout.readline())
        piped.send_signal(signal.SIGINT)
        rest, error = piped.communicate(timeout=20)
    assert (piped.returncode, rest, error.strip()) == (Exit.INTERRUPTED, "", "")


def _read_until(terminal: int, text: str) -> str:
    """What a terminal shows, up to a text; with an empty one, to the end."""
    seen = b""
    while not text or text.encode() not in seen:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other end is closed
            chunk = b""
        if not chunk:
            break
        seen += chunk
    return seen.decode()
