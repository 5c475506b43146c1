"""`kubectl ensemble rollback`, `unpin` and what `history` shows, against a real API server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble_cli.cluster.candidates import complete_rollouts
from ensemble_cli.commands.rollback import rollback
from ensemble_cli.exits import Exit
from ensemble_cli.main import main

pytestmark = pytest.mark.apiserver

Run = Callable[..., tuple[int, str, str]]
A, B, C, B2 = "aa" * 32, "bb" * 32, "cc" * 32, "bbcc" * 16
AT = "2026-01-01T00:0{}:00Z"


def record(number: int, revision: str, outcome: str, **more: Any) -> dict[str, Any]:
    at = AT.format(number)
    return {"number": number, "revision": revision, "rollout": f"r{number}", "outcome": outcome,
            "startedAt": at, "finishedAt": at, "promotedAt": at, **more}  # fmt: skip


HISTORY = [
    record(6, C, "Promoted", startedBy="argocd-controller", cause="ticket 7", changes="changed net"),
    record(5, "dd" * 32, "Failed", message="logits hold NaN"),
    record(4, B, "Superseded"),
    record(3, B, "Superseded"),
    record(2, B2, "RolledBack"),
    record(1, A, "Superseded"),
]


def status(
    *, serves: str = C, rollout: str = "r6", generation: int = 1, ready: str = "True"
) -> dict[str, Any]:
    ready_condition = {"type": "Ready", "status": ready, "reason": "Ready", "message": "",
                       "observedGeneration": generation, "lastTransitionTime": AT.format(9)}  # fmt: skip
    return {"observedGeneration": generation, "revision": serves, "rollout": rollout, "history": HISTORY,
            "conditions": [ready_condition]}  # fmt: skip


@pytest.fixture
def ensemble(api: Any) -> Any:
    """An ensemble with a history; its name."""
    name = "returns"
    spec = {"storage": {"uri": "s3://m/store", "secretName": "keys"},
            "models": [{"name": "net", "onnxruntime": {"source": {"uri": "s3://m/net.onnx"}}}]}  # fmt: skip
    kind = {"apiVersion": "ensembles.dev/v1alpha1", "kind": "InferenceEnsemble"}
    assert api.create({**kind, "metadata": {"name": name}, "spec": spec}).code == 201
    assert api.merge(name, {"status": status()}, status=True).code == 200
    yield name
    assert api.call("DELETE", api._path(name)).code == 200


@pytest.fixture
def run(api: Any, kubeconfig: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        found = main([*arguments, "--kubeconfig", str(kubeconfig), "-n", api.namespace])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return found, shown.out, shown.err

    return call


def pinned(api: Any, name: str) -> str | None:
    found: str | None = api.get(name)["spec"]["rollout"].get("pinRevision")
    return found


@pytest.mark.parametrize(
    ("wanted", "revision"),
    [("", B), ("4", B), ("#1", A), ("1", A), ("aaaa", A), ("bbbb", B), ("r2", None), (B2, B2), ("bbcc", B2)],
)
def test_numbers_and_beginnings_become_a_digest(
    run: Run, api: Any, ensemble: str, wanted: str, revision: str | None
) -> None:
    code, shown, _ = run("rollback", ensemble, *([wanted] if wanted else []))
    if revision is None:
        assert code == Exit.ABSENT
        return
    assert code == Exit.DONE
    assert pinned(api, ensemble) == revision
    assert shown.startswith(f"returns goes back to revision {revision[:12]} (rollout ")


@pytest.mark.parametrize(
    ("wanted", "answer"),
    [
        ("5", (Exit.NO, "rollout 5 failed: logits hold NaN; choose one that served")),
        ("3", (Exit.NO, "rollouts 3 and 4 of returns serve the same revision")),
        (
            "eeee",
            (Exit.ABSENT, "no rollout 'eeee' in the history of returns; there is: 6 (cccccccccccc), 5 ("),
        ),
        ("a", (Exit.ABSENT, "no rollout 'a' in the history")),
    ],
)
def test_what_cannot_be_pinned(
    run: Run, api: Any, ensemble: str, wanted: str, answer: tuple[Exit, str]
) -> None:
    found, _, error = run("rollback", ensemble, wanted)
    assert found == answer[0]
    assert answer[1] in error
    assert len(error.splitlines()) == 1
    assert pinned(api, ensemble) is None


def test_a_cause_stands_in_the_history(run: Run, api: Any, ensemble: str) -> None:
    code, shown, _ = run("rollback", ensemble, "--cause", "wrong labels", "-o", "json")
    assert code == Exit.DONE
    assert json.loads(shown) == {"name": ensemble, "namespace": api.namespace, "number": 4, "revision": B,
                                 "rollout": "r4", "changed": True}  # fmt: skip
    assert api.get(ensemble)["metadata"]["annotations"] == {"kubernetes.io/change-cause": "wrong labels"}
    code, shown, _ = run("rollback", ensemble, "4")
    assert shown.startswith("returns stays at revision bbbbbbbbbbbb")


def test_unpin(run: Run, api: Any, ensemble: str) -> None:
    assert run("unpin", ensemble)[:2] == (Exit.DONE, "returns is not pinned\n")
    run("rollback", ensemble, "1")
    assert run("unpin", ensemble)[0] == Exit.DONE
    assert pinned(api, ensemble) is None


def test_who_applies_it_is_told_what_to_write(run: Run, api: Any, ensemble: str) -> None:
    document = {"apiVersion": "ensembles.dev/v1alpha1", "kind": "InferenceEnsemble",
                "metadata": {"name": ensemble}, "spec": api.get(ensemble)["spec"]}  # fmt: skip
    assert api.apply(document, manager="argocd-controller").code == 200
    _, _, said = run("rollback", ensemble, "1")
    assert said == (
        "argocd-controller applies returns, and may take this back: put into its files "
        f"spec.rollout.pinRevision: {A}\n"
    )


def test_waiting(run: Run, api: Any, ensemble: str) -> None:
    code, _, error = run("rollback", ensemble, "1", "--wait", "1")
    assert (code, error) == (
        Exit.NO, "error: returns is not ready after 1 s: Ready; kubectl ensemble why returns\n",
    )  # fmt: skip
    generation = api.get(ensemble)["metadata"]["generation"]
    served = status(serves=A, rollout="r1", generation=generation)
    assert api.merge(ensemble, {"status": served}, status=True).code == 200
    code, shown, _ = run("rollback", ensemble, "1", "--wait")
    assert code == Exit.DONE
    assert "returns serves revision aaaaaaaaaaaa after 0." in shown


@pytest.mark.parametrize(
    ("options", "value"), [([], "r7/2"), (["--full"], "r7/full")],
)  # fmt: skip
def test_a_step_is_approved(run: Run, api: Any, ensemble: str, options: list[str], value: str) -> None:
    code, _, error = run("promote", ensemble)
    assert (code, error) == (
        Exit.ABSENT,
        "error: no canary of returns is at a step; kubectl ensemble status returns shows where it stands\n",
    )
    progress = {"rollout": "r7", "revision": A, "strategy": "Canary", "servers": "1/1", "step": 2, "steps": 3,
                "weight": 25}  # fmt: skip
    assert api.merge(ensemble, {"status": {"progress": progress}}, status=True).code == 200
    _, shown, _ = run("status", ensemble)
    assert "revision aaaaaaaaaaaa takes over  Canary  1/1 ready  step 2 of 3, 25 %" in shown
    assert run("promote", ensemble, *options)[0] == Exit.DONE
    written = api.get(ensemble)["metadata"]["annotations"]["ensembles.dev/promote"]
    assert written.startswith(f"{value}@2")


def test_history_tells_who_what_and_why(run: Run, ensemble: str) -> None:
    _, shown, _ = run("history", ensemble)
    line = next(line for line in shown.splitlines() if line.startswith("*"))
    assert line.split()[:4] == ["*", "6", "cccccccccccc", "Promoted"]
    assert 'argocd-controller  changed net; "ticket 7"' in line
    assert "logits hold NaN" in shown


def test_a_shell_offers_what_served(kubeconfig: Path, api: Any, ensemble: str) -> None:
    context = rollback.make_context("rollback", [ensemble], resilient_parsing=True)
    context.params |= {"name": ensemble, "kubeconfig": str(kubeconfig), "namespace": api.namespace}
    parameter = next(each for each in rollback.params if each.name == "revision")
    assert [item.value for item in complete_rollouts(context, parameter, "")] == ["6", "4", "3", "2", "1"]
    context.params["namespace"] = "nowhere"
    assert complete_rollouts(context, parameter, "") == []
