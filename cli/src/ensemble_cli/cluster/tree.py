"""The tree that `status` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from ensemble_cli.cluster.connection import Json
from ensemble_cli.cluster.explaining import ago, explain, short, spell
from ensemble_cli.cluster.reading import Found, Job
from ensembles_api.reasons import Condition

STEPS = (Condition.ASSEMBLED, Condition.BUILT, Condition.PUBLISHED, Condition.VERIFIED, Condition.READY)
MOST_JOBS = 8
_COLOURS = {"ok": "green", "bad": "red", "on": "yellow", "idle": "dim"}


@dataclass(frozen=True)
class Signs:
    """Marks before each line, by state."""

    ok: str = "✔"
    bad: str = "✗"
    on: str = "◌"
    idle: str = "·"


PLAIN = Signs("+", "x", "o", "-")
"""Where the terminal's encoding lacks the others."""


def status_tree(found: Found, jobs: Sequence[Job], *, now: datetime, signs: Signs) -> Tree:
    """Everything a person wants to see at a glance; the last line says what it waits for."""
    status = found.status
    stage = status.get("stage") or ("Pending" if not found.seen else "")
    age = ago(found.document["metadata"]["creationTimestamp"], now)
    head = f"[bold]{escape(found.name)}[/bold]  {stage}  generation {found.generation}  {age}"
    tree = Tree(head)
    steps = tree.add("steps")
    for kind in STEPS:
        steps.add(_step(found, kind, signs))
    if status.get("models"):
        models = tree.add(f"models{_totals(status['models'])}")
        percents = {job.model: job.percent for job in jobs if job.percent is not None}
        for model in status["models"]:
            models.add(_model(model, percents.get(model["name"]), now, signs))
    if jobs:
        branch = tree.add(f"jobs ({len(jobs)})")
        for job in jobs[:MOST_JOBS]:
            branch.add(_job(job, now, signs))
    if status.get("revision"):
        tree.add(_servers(found, now, signs))
    if status.get("progress"):
        tree.add(_taking_over(status["progress"], now, signs))
    if status.get("verification"):
        tree.add(_verification(status["verification"], signs))
    for warning in status.get("warnings", []):
        tree.add(f"[yellow]warning:[/yellow] {escape(warning)}")
    tree.add(escape(explain(found, now=now)))
    return tree


def _mark(state: str, signs: Signs) -> str:
    return f"[{_COLOURS[state]}]{getattr(signs, state)}[/{_COLOURS[state]}]"


def _step(found: Found, kind: Condition, signs: Signs) -> str:
    condition = found.condition(kind.value)
    done = condition.get("status") == "True"
    stalled = found.condition(Condition.STALLED.value).get("status") == "True"
    if done:
        state = "ok"
    elif kind is Condition.READY and stalled:
        state = "bad"
    else:
        state = "on" if condition else "idle"
    text = condition.get("reason", "") if kind is Condition.READY else condition.get("message", "")
    return f"{_mark(state, signs)} {kind.value}  [dim]{escape(text)}[/dim]".rstrip()


def _totals(models: Sequence[Json]) -> str:
    """What was built and found, in words; empty where nothing was to be built."""
    built = [model for model in models if model["state"] == "Built" and model.get("key")]
    found = [model for model in models if model["state"] == "Cached"]
    seconds = sum(model.get("seconds", 0) for model in built)
    parts = [f"{len(built)} built in {spell(seconds)}"] if built else []
    parts += [f"{len(found)} found in storage"] if found else []
    return f"  [dim]{', '.join(parts)}[/dim]" if parts else ""


def _model(model: Json, percent: int | None, now: datetime, signs: Signs) -> str:
    state = {"Built": "ok", "Cached": "ok", "Building": "on", "Waiting": "on", "Failed": "bad"}
    words = f"{escape(model['name'])}  {model['kind']}  {model['state']}"
    if model.get("seconds"):
        words += (
            f" (once in {spell(model['seconds'])})"
            if model["state"] == "Cached"
            else f" in {spell(model['seconds'])}"
        )
    if model.get("since"):
        words += f" for {ago(model['since'], now)}"
    words += f", {percent} %" if percent is not None else ""
    key = f"  [dim]{model['key']}[/dim]" if model.get("key") else ""
    return f"{_mark(state.get(model['state'], 'idle'), signs)} {words}{key}"


def _job(job: Job, now: datetime, signs: Signs) -> str:
    state = {"Succeeded": "ok", "Failed": "bad", "Running": "on"}.get(job.state, "idle")
    model = f" of {escape(job.model)}" if job.model else ""
    percent = f", {job.percent} %" if job.percent is not None else ""
    return (
        f"{_mark(state, signs)} {job.role}{model}  {job.state}, {ago(job.since, now)}{percent}"
        f"  [dim]{job.name}[/dim]"
    )


def _verification(found: Mapping[str, Any], signs: Signs) -> Tree:
    failed = found.get("failed", 0)
    counts = [f"{found.get('passed', 0)} passed", f"{failed} failed"]
    if found.get("unproven"):
        counts.append(f"{found['unproven']} unproven")
    mark = _mark("bad" if failed else "ok", signs)
    of = f"of revision {short(found['revision'])} by {found.get('servers', 0)} servers"
    branch = Tree(
        f"{mark} verification {of}: {', '.join(counts)}  [dim]{escape(found.get('report', ''))}[/dim]"
    )
    for each in found.get("failures", []):
        what = f"case {each['case']}" if each.get("case") else "smoke test"
        branch.add(escape(f"{what} of {each['model']} on {each['server']}: {each['message']}"))
    return branch


def _taking_over(progress: Mapping[str, Any], now: datetime, signs: Signs) -> str:
    """New servers beside those that serve: how many, and which share of the requests they get."""
    told = f"{progress['strategy']}  {progress['servers']} ready"
    if progress.get("step") and progress.get("steps"):
        told += f"  step {min(progress['step'], progress['steps'])} of {progress['steps']}"
    if progress.get("weight") is not None:
        told += f", {progress['weight']} %"
    if progress.get("since"):
        told += f" for {ago(progress['since'], now)}"
    return f"{_mark('on', signs)} revision {short(progress['revision'])} takes over  {told}"


def _scaling(target: Mapping[str, Any]) -> str:
    """What a target's autoscaler says, where it has one."""
    if target.get("autoscaler"):
        return f"  cannot be scaled: {escape(str(target['autoscaler']))}"
    desired = target.get("desiredReplicas")
    return f"  autoscaler wants {desired}" if desired is not None else ""


def _servers(found: Found, now: datetime, signs: Signs) -> Tree:
    status = found.status
    branch = Tree(f"serving revision {short(status.get('revision'))}  {status.get('replicas', '')} ready")
    if status.get("url"):
        branch.add(f"{escape(str(status['url']))}  model {escape(str(status.get('entrypoint', '')))}")
    for target in status.get("targets", []):
        ready, wanted = target.get("readyReplicas", 0), target.get("replicas", 0)
        state = "ok" if ready >= wanted else "on"
        branch.add(
            f"{_mark(state, signs)} {target['name']}  {ready}/{wanted}{_scaling(target)}"
            f"  [dim]{target['deployment']}[/dim]"
        )
    if status.get("history"):
        newest = status["history"][0]
        at = newest.get("finishedAt") or newest.get("startedAt")
        when = f" {ago(at, now)} ago" if at else ""
        branch.add(f"rollout {newest['number']} {newest['outcome']}{when}")
    return branch
