"""A port of a pod on this machine, through the API server; gone with this process."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward

from ensemble_cli.cluster.connection import Cluster
from ensemble_cli.exits import CommandError, Exit

CHUNK = 1 << 16
LOCAL = "127.0.0.1"


@contextmanager
def forwarded(cluster: Cluster, pod: str, port: int) -> Iterator[int]:
    """A local port whose connections end at a pod's port; closed on leaving.

    Raises:
        CommandError: the API server refuses to forward.
    """
    _connect(cluster, pod, port).close()  # what is not allowed is said now, not as a broken connection
    with socket.create_server((LOCAL, 0)) as listener:
        open_sockets: list[socket.socket] = []
        threading.Thread(
            target=_accept, args=(listener, cluster, pod, port, open_sockets), daemon=True
        ).start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for each in open_sockets:
                _end(each)


def _accept(
    listener: socket.socket, cluster: Cluster, pod: str, port: int, open_sockets: list[socket.socket]
) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        try:
            far = _connect(cluster, pod, port)
        except CommandError:
            near.close()
            continue
        open_sockets += [near, far]
        for source, to in ((near, far), (far, near)):
            threading.Thread(target=_copy, args=(source, to), daemon=True).start()


def _connect(cluster: Cluster, pod: str, port: int) -> socket.socket:
    from kubernetes.client import CoreV1Api  # noqa: PLC0415 - a second of imports, which --url does not need

    # A client of its own: kubernetes.stream replaces its methods while it connects.
    api = CoreV1Api(ApiClient(cluster.api.configuration))
    try:
        forward = portforward(
            api.connect_get_namespaced_pod_portforward, pod, cluster.namespace, ports=str(port)
        )
    except ApiException as error:
        reason = " ".join(str(error.reason).split())
        raise CommandError(
            f"port {port} of pod {pod} cannot be forwarded: {reason}",
            cure="you need the permission to create pods/portforward",
            status=Exit.CLUSTER,
        ) from error
    found: socket.socket = forward.socket(port)
    return found


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            to.sendall(data)
    for each in (source, to):
        _end(each)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
