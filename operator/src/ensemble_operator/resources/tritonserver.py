"""How tritonserver is started, asked for its health, and ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ensembles_api.names import GRPC_PORT, HTTP_PORT, METRICS_PORT

Json = dict[str, Any]

CONTAINER = "tritonserver"

FILES = "/models-volume"
"""Where the published revision lies in a server's pod."""

PORTS = {"http": HTTP_PORT, "grpc": GRPC_PORT, "metrics": METRICS_PORT}

HTTP_DIRECT = "http-direct"
HTTP_DIRECT_PORT = 8080
"""tritonserver's own HTTP port where the proxy has the one that clients and NetworkPolicies know."""

PROPAGATION_SECONDS = 15
"""From a pod's deletion until nothing sends to it: proxies have heard of it, and gRPC connections made just
before have come of age."""
UNLOAD_SECONDS = 10
"""For unloading the models and ending backend processes, after the last request."""
CONNECTION_AGE_MILLISECONDS = 10_000
"""A client stays with one connection, and so with one pod, until the server asks it to reconnect (gRPC varies
the age by 10 %; for HTTP the proxy asks). Servers before 25.05 end gRPC without draining: clients must be
gone by then."""
PROXY_MARGIN_SECONDS = 2
"""The HTTP proxy outlasts the drain by so much: its clock starts before that of tritonserver's hook."""
STARTUP_PERIOD_SECONDS = 2


@dataclass(frozen=True)
class Shutdown:
    """Ending without losing requests: first out of the endpoints, then the drain, then the models.

    tritonserver spends its one exit timeout first on open HTTP connections (idle ones, too), then on gRPC.
    """

    drain_seconds: int

    @property
    def grace_seconds(self) -> int:
        return PROPAGATION_SECONDS + self.drain_seconds + UNLOAD_SECONDS

    @property
    def proxy_hard_stop_seconds(self) -> int:
        """From the end of the propagation until the HTTP proxy gives up clients that are silent."""
        return self.drain_seconds + PROXY_MARGIN_SECONDS

    def lifecycle(self) -> Json:
        return {"preStop": {"sleep": {"seconds": PROPAGATION_SECONDS}}}


def arguments(
    *, drain_seconds: int, behind_proxy: bool, derived: Sequence[str], extra: Sequence[str]
) -> list[str]:
    """Options of tritonserver. The repository never changes under it, and a model that fails ends it.

    `derived` is what the published configs ask for, `extra` is the user's: an option given there replaces
    ours of the same name.
    """
    ours = [
        f"--model-repository={FILES}/models",
        "--model-control-mode=none",
        "--strict-readiness=true",
        "--exit-on-error=true",
        f"--exit-timeout-secs={drain_seconds}",
        f"--http-port={HTTP_DIRECT_PORT if behind_proxy else HTTP_PORT}",
        f"--grpc-port={GRPC_PORT}",
        f"--metrics-port={METRICS_PORT}",
        f"--grpc-max-connection-age={CONNECTION_AGE_MILLISECONDS}",
        # A server that cannot load leaves the end of its log as its message. With level info that end is
        # tables; without, it says which model failed and why.
        "--log-info=false",
    ]
    given = {option.partition("=")[0] for option in extra}
    return [*(option for option in ours if option.partition("=")[0] not in given), *derived, *extra]


def container_ports(*, behind_proxy: bool) -> list[Json]:
    own = {"http": HTTP_PORT} if not behind_proxy else {HTTP_DIRECT: HTTP_DIRECT_PORT}
    ports = {**own, "grpc": GRPC_PORT, "metrics": METRICS_PORT}
    return [{"name": name, "containerPort": port} for name, port in ports.items()]


def proxy_probes() -> Json:
    """The proxy's readiness is tritonserver's, which is not to be learned of late and not given up sooner."""
    return {"readinessProbe": _health("/v2/health/ready", "http", period=1, failures=15)}


def probes(*, startup_seconds: int, behind_proxy: bool) -> Json:
    """The port opens only after all models are loaded, so liveness waits for the startup probe."""
    port = HTTP_DIRECT if behind_proxy else "http"
    return {
        "startupProbe": _health(
            "/v2/health/ready",
            port,
            period=STARTUP_PERIOD_SECONDS,
            failures=-(-startup_seconds // STARTUP_PERIOD_SECONDS),
        ),
        "readinessProbe": _health("/v2/health/ready", port, period=5, failures=3),
        # Slow to condemn: a restart loses every request in flight.
        "livenessProbe": _health("/v2/health/live", port, period=10, failures=6, timeout=10),
    }


def _health(path: str, port: str, *, period: int, failures: int, timeout: int = 5) -> Json:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }
