"""Where a cluster lives: folders, ports and addresses.

The settings a cluster was started with are kept in its state folder, so that every later command needs
only ``--state``.
"""

import dataclasses
import hashlib
import json
import os
import random
import socket
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import ClusterError

NODE_NAME = "ensembles-node"
BRIDGE = "ensembles0"
# The node answers on the pods' bridge: its address then depends on nothing outside this machine.
NODE_ADDRESS = "10.200.0.1"
POD_RANGE = "10.200.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
DNS_DOMAIN = "cluster.local"

DEFAULT_PORT = 6443
PORTS_PER_CLUSTER = 5


def default_cache() -> Path:
    return Path(os.environ.get("ENSEMBLES_CACHE") or "~/.cache/ensembles-cluster").expanduser()


def default_state() -> Path:
    return Path(os.environ.get("ENSEMBLES_STATE") or "/var/lib/ensembles-cluster")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One cluster. ``port`` is the API server's; the components behind it take the next four."""

    state: Path
    cache: Path
    port: int = DEFAULT_PORT
    control_plane_only: bool = False

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def etcd_port(self) -> int:
        return self.port + 1

    @property
    def etcd_peer_port(self) -> int:
        return self.port + 2

    @property
    def controllers_port(self) -> int:
        return self.port + 3

    @property
    def scheduler_port(self) -> int:
        return self.port + 4

    @property
    def binaries(self) -> Path:
        """Folder of links to every built binary of the pinned versions."""
        return self.cache / "bin"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def cgroup(self) -> str:
        """Name of the cgroup that holds this cluster's pods and nobody else's."""
        return f"ensembles-{hashlib.sha256(str(self.state).encode()).hexdigest()[:8]}"

    @property
    def kubelet_root(self) -> Path:
        return self.state / "kubelet"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd" / "containerd.sock"

    def save(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        document = {
            "cache": str(self.cache),
            "port": self.port,
            "control_plane_only": self.control_plane_only,
        }
        _file(self.state).write_text(json.dumps(document, indent=2) + "\n")


def load(state: Path) -> Settings:
    """Settings of the cluster in ``state``.

    Raises:
        ClusterError: no cluster was ever started there.

    """
    try:
        document = json.loads(_file(state).read_text())
    except FileNotFoundError:
        raise ClusterError(f"no cluster in {state}: start one with `cluster.py up --state {state}`") from None
    return Settings(
        state=state,
        cache=Path(document["cache"]),
        port=document["port"],
        control_plane_only=document["control_plane_only"],
    )


def exists(state: Path) -> bool:
    return _file(state).is_file()


def with_free_port(settings: Settings) -> Settings:
    """Replace port 0 by the first of a run of free ports."""
    if settings.port:
        return settings
    # In random order: clusters that start at the same moment should not meet on one port.
    for port in random.sample(range(20000, 30000, 10), k=1000):
        if all(_is_free(port + offset) for offset in range(PORTS_PER_CLUSTER)):
            return dataclasses.replace(settings, port=port)
    raise ClusterError("no run of five free ports between 20000 and 30000; name one with --port")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _file(state: Path) -> Path:
    return state / "settings.json"
