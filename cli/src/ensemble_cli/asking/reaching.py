"""From what the user named to a server that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from ensemble_cli.asking.servers import GrpcServer, HttpServer, Server
from ensemble_cli.cluster.connection import Cluster, Json
from ensemble_cli.cluster.forwarding import LOCAL, forwarded
from ensemble_cli.cluster.reading import find, servers
from ensemble_cli.exits import CommandError, Exit
from ensembles_api.names import GRPC_PORT, HTTP_PORT, LABEL_ROLLOUT


@dataclass(frozen=True)
class Address:
    """A port that speaks HTTP or gRPC, and the model that clients ask there."""

    host: str
    port: int
    entrypoint: str

    def known_entrypoint(self) -> str:
        """The model to ask where the user names none.

        Raises:
            CommandError: it is not known.
        """
        if not self.entrypoint:
            raise CommandError(
                "it is not known which model to ask", cure="name it: --model", status=Exit.USAGE
            )
        return self.entrypoint


@contextmanager
def reached(connect: Callable[[], Cluster], name: str, url: str, *, grpc: bool) -> Iterator[Address]:
    """The address that a command's NAME, or --url in its place, stands for.

    Raises:
        CommandError: neither or both are given, or nothing serves.
    """
    if bool(name) == bool(url):
        raise CommandError(
            "say whom to ask", cure="give the NAME of an ensemble, or --url", status=Exit.USAGE
        )
    if url:
        yield address_at(url, grpc=grpc)
        return
    with address_of(connect(), name, grpc=grpc) as address:
        yield address


@contextmanager
def address_of(cluster: Cluster, name: str, *, grpc: bool) -> Iterator[Address]:
    """Where an ensemble answers: its Service from inside the cluster, a server's forwarded port from outside.

    Raises:
        CommandError: nothing serves.
    """
    found = find(cluster, name)
    port = GRPC_PORT if grpc else HTTP_PORT
    entrypoint = str(found.status.get("entrypoint", ""))
    if cluster.from_inside and found.status.get("url"):
        yield Address(str(urlsplit(found.status["url"]).hostname), port, entrypoint)
        return
    rollout = found.status.get("rollout")
    ready = [
        pod
        for pod in servers(cluster, name)
        if _is_ready(pod) and pod["metadata"]["labels"].get(LABEL_ROLLOUT) == rollout
    ]
    if not ready:
        raise CommandError(
            f"{name} has no ready server", cure=f"kubectl ensemble why {name} says why", status=Exit.ABSENT
        )
    with forwarded(cluster, ready[0]["metadata"]["name"], port) as local:
        yield Address(LOCAL, local, entrypoint)


def address_at(url: str, *, grpc: bool) -> Address:
    """A server by URL, such as the one of `serve`: its HTTP port, or with `grpc` its gRPC port.

    Raises:
        CommandError: it is no URL.
    """
    parts = urlsplit(url if "//" in url else f"//{url}")
    try:
        port = parts.port or (GRPC_PORT if grpc else HTTP_PORT)
    except ValueError:  # no number, or none of a port
        port = 0
    if not parts.hostname or parts.scheme not in {"", "http", "grpc"} or not port:
        raise CommandError(f"{url!r} is no server", cure="write --url http://HOST:PORT", status=Exit.USAGE)
    return Address(parts.hostname, port, "")


def client(address: Address, *, grpc: bool) -> Server:
    kind = GrpcServer if grpc else HttpServer
    return kind(address.host, address.port)


@contextmanager
def opened(address: Address, *, grpc: bool) -> Iterator[Server]:
    """A client of the server, closed on leaving."""
    with closing(client(address, grpc=grpc)) as server:
        yield server


def _is_ready(pod: Json) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
