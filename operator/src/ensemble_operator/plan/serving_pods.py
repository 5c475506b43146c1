"""What the server pods of a rollout say: ready, waiting for what, or unable to load."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ensemble_operator.plan import history
from ensemble_operator.plan.healing import deployments_of
from ensemble_operator.plan.jobs import creation_wait, parse_result, pod_wait
from ensemble_operator.plan.observation import ContainerSeen, DeploymentSeen, Observation, PodSeen
from ensemble_operator.plan.replicas import Replicas
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources import http_proxy, tritonserver
from ensembles_api.names import LABEL_TARGET
from ensembles_api.reasons import Nature, Reason

OPTION = re.compile(r"\s+--[a-z][a-z-]+\b")
LOGGED = re.compile(r"[EWI]\d{4} ")
CRASHES_BEFORE_FAILURE = 2
"""Restarts of tritonserver after which the revision counts as unable to load: one may be a node's hiccup."""
SIGNALS_BEFORE_FAILURE = 4
"""Of a server that no request reaches yet, and that a signal ended while it loaded. tritonserver itself says
what it cannot load, and ends with 1; a signal is a crash of a backend's code or process, which was seen to
pass: 139 from the Python backend under heavy load, twice in a row. The kubelet's waits before these restarts
grow (10, 20, 40 s), so a model that crashes at every load fails its rollout after four loads and a minute or
two.
"""
SIGNAL = 128
"""Exit codes above are those of signals, by their number."""
KUBELETS = frozenset({137, 143})
"""SIGKILL and SIGTERM: for want of memory, or by the startup probe, which has given it all its time."""


def ready_everywhere(observation: Observation, rollout: str, replicas: Replicas) -> bool:
    deployments = {d.labels.get(LABEL_TARGET): d for d in deployments_of(observation, rollout)}
    return all(
        (d := deployments.get(target)) is not None
        and d.observed
        and min(d.ready_replicas, d.updated_replicas) >= wanted
        for target, wanted in replicas.by_target.items()
    )


def pods_trouble(observation: Observation, rollout: str, *, loading: bool = False) -> Trouble | None:
    """The most pressing thing that keeps the rollout's pods from being ready. `loading`: no request reaches
    them yet, so that there is time for more tries.
    """
    seen = history.find(observation, rollout)
    options = tuple(seen.data.serving.extra_args) if seen else ()
    found = [
        trouble
        for deployment in deployments_of(observation, rollout)
        for trouble in _deployment_troubles(deployment, options, loading=loading)
    ]
    return max(found, key=lambda t: t.nature is Nature.USER, default=None)


def awaited(observation: Observation, rollout: str) -> str:
    """Servers that are not ready, as the end of a sentence: which, and since when; empty where all are."""
    late = [
        pod
        for deployment in deployments_of(observation, rollout)
        for pod in deployment.pods
        if not (pod.ready or pod.deleting or pod.ended)
    ]
    first = min(late, key=lambda pod: (str(pod.not_ready_since or pod.created), pod.name), default=None)
    if first is None:
        return ""
    since = first.not_ready_since or first.created
    more = f", nor are {len(late) - 1} more" if len(late) > 1 else ""
    return f"; pod {first.name} is not ready{f' since {since:%H:%M:%S}Z' if since else ''}{more}"


def _deployment_troubles(
    deployment: DeploymentSeen, options: tuple[str, ...], *, loading: bool
) -> Iterator[Trouble]:
    refused = _replica_failure(deployment.manifest)
    if refused:
        yield creation_wait(refused, of="serving", since=deployment.created)
    for pod in deployment.pods:
        if pod.ready or pod.deleting or pod.ended:
            continue
        trouble = crash(pod, options, loading=loading) or _fetch_fault(pod) or pod_wait(pod)
        if trouble:
            yield trouble


def _replica_failure(manifest: Mapping[str, Any]) -> str:
    conditions = manifest.get("status", {}).get("conditions", [])
    return next(
        (c.get("message", "") for c in conditions if c["type"] == "ReplicaFailure" and c["status"] == "True"),
        "",
    )


def signalled(observation: Observation, rollout: str) -> str:
    """A server that a signal has ended, and that is tried again, in words; empty where there is none."""
    for deployment in deployments_of(observation, rollout):
        for pod in deployment.pods:
            server = pod.container(tritonserver.CONTAINER)
            if server is None or pod.ready or pod.deleting or not _by_signal(server):
                continue
            return (
                f"tritonserver in pod {pod.name} ended with exit code {server.exit_code} and is tried again"
            )
    return ""


def _by_signal(server: ContainerSeen) -> bool:
    code = server.exit_code or 0
    return code > SIGNAL and code not in KUBELETS and server.terminated_reason != "OOMKilled"


def crash(pod: PodSeen, options: tuple[str, ...], *, loading: bool = False) -> Trouble | None:
    """What a server or its HTTP proxy died of that starts again and again; None where neither does.

    Args:
        pod: the server's.
        options: the user's.
        loading: no request reaches it yet.
    """
    return _server_crash(pod, options, loading=loading) or _proxy_crash(pod)


def unready_container(pod: PodSeen) -> ContainerSeen | None:
    """Which container keeps a pod from being ready: the proxy is ready only where tritonserver answers it."""
    server, proxy = pod.container(tritonserver.CONTAINER), pod.container(http_proxy.CONTAINER)
    return proxy if proxy and not proxy.ready and server and server.ready else server


def _proxy_crash(pod: PodSeen) -> Trouble | None:
    proxy = pod.container(http_proxy.CONTAINER)
    if proxy is None or proxy.ready or proxy.exit_code is None or proxy.restarts < CRASHES_BEFORE_FAILURE:
        return None
    if proxy.terminated_reason == "OOMKilled":
        return Trouble(
            Reason.LOAD_FAILED,
            f"the HTTP proxy of pod {pod.name} needed more memory than its limit; raise it",
            field="spec.serving.httpProxy.resources.limits.memory",
        )
    return Trouble(
        Reason.LOAD_FAILED,
        f"the HTTP proxy of pod {pod.name} (container {proxy.name}, of the tools image) ended with exit code "
        f"{proxy.exit_code}: {_errors(proxy.termination_message)}",
        field="spec.serving.httpProxy",
    )


def _server_crash(pod: PodSeen, options: tuple[str, ...], *, loading: bool) -> Trouble | None:
    server = pod.container(tritonserver.CONTAINER)
    if server is None or server.exit_code is None:
        return None
    patience = SIGNALS_BEFORE_FAILURE if loading and _by_signal(server) else CRASHES_BEFORE_FAILURE
    if server.restarts < patience:
        return None
    if server.terminated_reason == "OOMKilled":
        return Trouble(
            Reason.LOAD_FAILED,
            f"tritonserver in pod {pod.name} needed more memory than its limit; raise it",
            field="spec.serving.resources.limits.memory",
        )
    if options and _is_usage(server.termination_message):
        return Trouble(
            Reason.LOAD_FAILED,
            f"tritonserver refuses an option or its value, one of {' '.join(options)}",
            field="spec.serving.extraArgs",
        )
    return Trouble(
        Reason.LOAD_FAILED,
        f"tritonserver in pod {pod.name} ended with exit code {server.exit_code}: "
        f"{_errors(server.termination_message)}",
    )


def _is_usage(log: str) -> bool:
    """Whether a server ended over its options, before it logged anything."""
    lines = log.splitlines()
    said = any(OPTION.match(line) or line.startswith("Invalid option") for line in lines)
    return said and not any(LOGGED.match(line) for line in lines)


def _errors(log: str) -> str:
    """The lines of tritonserver's log that name a model that failed, else errors, else its last lines."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    models = [_text(line) for line in lines if "failed to load '" in line]
    errors = [line for line in lines if line.startswith("E") or "error" in line.lower()]
    return " | ".join(models[:3] or (errors or lines)[-3:])[:1200] or "it printed nothing"


def _text(line: str) -> str:
    """A line of tritonserver's log without time, place and quotes."""
    return line.partition("] ")[2].strip('"').replace("\\n", " ") or line


def _fetch_fault(pod: PodSeen) -> Trouble | None:
    fetch = pod.container("fetch")
    if fetch is None or fetch.exit_code in {0, None}:
        return None
    result = parse_result(fetch.termination_message)
    fault = result.fault if result is not None else None
    code = fault.code if fault else Reason.STORAGE_UNAVAILABLE
    message = fault.message if fault else f"fetching the revision ended with exit code {fetch.exit_code}"
    return Trouble(
        code,
        f"pod {pod.name}: {message} (attempt {fetch.restarts + 1})",
        field=fault.field if fault else "",
        since=pod.created,
        attempt=fetch.restarts + 1,
    )
