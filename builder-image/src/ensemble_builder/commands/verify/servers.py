"""Finds the servers of a rollout and waits until they are ready."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from ensemble_builder.commands.log import say
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason

PAUSE = 0.25
CALL_SECONDS = 10.0


@dataclass(frozen=True)
class Deadline:
    """A point in time; `left` in seconds, never below 0."""

    at: float
    clock: Callable[[], float] = time.monotonic

    @property
    def left(self) -> float:
        return max(0.0, self.at - self.clock())


def failed(message: str) -> FaultError:
    return FaultError(Fault(code=Reason.VERIFICATION_FAILED, message=message))


def not_ready(message: str) -> FaultError:
    """Not the models' fault: asking again may go well."""
    return FaultError(Fault(code=Reason.SERVERS_NOT_READY, message=message))


def addresses(host: str, port: int) -> tuple[str, ...]:
    """host:port of every address the name resolves to, sorted; none while it resolves to nothing."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return ()
    names = {str(entry[4][0]) for entry in found}
    return tuple(sorted(f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in names))


def wait_for_servers(host: str, port: int, *, replicas: int, deadline: Deadline) -> tuple[str, ...]:
    """Addresses of at least `replicas` servers, all ready.

    Raises:
        FaultError: ServersNotReady, saying how many were there and what the others said.
    """
    said = ""
    while True:
        found = addresses(host, port)
        silent = {address: why for address in found if (why := _unready(address))}
        if len(found) >= replicas and not silent:
            say(f"{len(found)} servers are ready: {', '.join(found)}")
            return found
        state = f"{len(found) - len(silent)} of {replicas} servers of {host} are ready"
        state += "".join(f"; {address}: {why}" for address, why in silent.items())
        if state != said:
            say(state)
            said = state
        if not deadline.left:
            raise not_ready(f"{state}: see the servers' logs")
        time.sleep(min(PAUSE, deadline.left))


def _unready(address: str) -> str:
    """Why a server is not ready; empty where it is."""
    try:
        with InferenceServerClient(address) as client:
            return "" if client.is_server_ready(client_timeout=CALL_SECONDS) else "not ready"
    except InferenceServerException as error:
        return reason(error)


def reason(error: InferenceServerException) -> str:
    return " ".join(str(error.message() or error).split())[:400]


def is_lost(error: InferenceServerException) -> bool:
    """The server is gone, or the way to it."""
    return "UNAVAILABLE" in str(error.status())
