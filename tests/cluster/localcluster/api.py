"""Questions to the API server: readiness over HTTPS, everything else through kubectl."""

import http.client
import json
import socket
import ssl
import struct
import subprocess
from contextlib import closing
from typing import Any

from localcluster.components import program
from localcluster.errors import ClusterError
from localcluster.settings import DNS_ADDRESS, DNS_DOMAIN, NODE_NAME, Settings


def is_ready(settings: Settings) -> bool:
    """Ask the API server's /readyz."""
    try:
        context = ssl.create_default_context(cafile=str(settings.pki / "ca.crt"))
        context.load_cert_chain(settings.pki / "admin.crt", settings.pki / "admin.key")
        connection = http.client.HTTPSConnection("127.0.0.1", settings.port, context=context, timeout=5)
        with closing(connection):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


def kubectl(settings: Settings, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as the administrator and return what it prints.

    Raises:
        ClusterError: with kubectl's own message.

    """
    command = [str(program(settings, "kubectl")), f"--kubeconfig={settings.kubeconfig}", *arguments]
    result = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin)
    if result.returncode:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def node(settings: Settings) -> dict[str, Any] | None:
    """Return the node's object; None while it has not registered."""
    try:
        document: dict[str, Any] = json.loads(kubectl(settings, "get", "node", NODE_NAME, "-o", "json"))
    except ClusterError:
        return None
    return document


def node_is_ready(settings: Settings) -> bool:
    found = node(settings)
    conditions = found["status"].get("conditions", []) if found else []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def dns_answers() -> bool:
    """Ask the cluster's name server, through its Service, for the API server's address."""
    labels = f"kubernetes.default.svc.{DNS_DOMAIN}".split(".")
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    query = struct.pack(">HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        try:
            client.sendto(query, (DNS_ADDRESS, 53))
            answer = client.recv(512)
        except OSError:
            return False
    identity: int
    flags: int
    answers: int
    identity, flags, _, answers = struct.unpack(">HHHH", answer[:8])
    return identity == 0x1234 and flags & 0x000F == 0 and answers > 0
