"""What a node needs of its machine, with a note of every change so that it can be taken back."""

import json
import os
import socket
import stat
import subprocess
from pathlib import Path

from localcluster import cgroups, toolchain
from localcluster.errors import ClusterError
from localcluster.settings import BRIDGE, NODE_ADDRESS, POD_RANGE, SERVICE_RANGE, Settings

SYSCTLS = (
    Path("/proc/sys/net/ipv4/ip_forward"),
    Path("/proc/sys/net/bridge/bridge-nf-call-iptables"),
)
KERNEL_MESSAGES = Path("/dev/kmsg")


def prepare(settings: Settings) -> None:
    """Create the pods' bridge and let the kernel forward between it and the outside.

    Raises:
        ClusterError: not root.

    """
    if os.geteuid() != 0:
        raise ClusterError("a node needs root; without it use `up --control-plane-only`")
    toolchain.install_packages(with_node=True)
    cgroups.create(settings.cgroup)
    note = _read_note(settings)
    if not KERNEL_MESSAGES.exists():  # the kubelet reads out-of-memory kills there
        os.mknod(KERNEL_MESSAGES, 0o600 | stat.S_IFCHR, os.makedev(1, 11))
        note["made_kmsg"] = "yes"
    for path in SYSCTLS:
        if path.exists():
            note.setdefault(str(path), path.read_text().strip())
    _note_file(settings).write_text(json.dumps(note, indent=2) + "\n")
    for path in SYSCTLS:
        if path.exists() and path.read_text().strip() != "1":
            path.write_text("1")
    if not has_link(BRIDGE):
        ip("link", "add", BRIDGE, "type", "bridge")
    length = POD_RANGE.partition("/")[2]
    ip("address", "replace", f"{NODE_ADDRESS}/{length}", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    # Services can then be reached from the node itself even where there is no default route.
    ip("route", "replace", SERVICE_RANGE, "dev", BRIDGE, "src", NODE_ADDRESS)


def restore(settings: Settings) -> None:
    """Take back what ``prepare`` changed."""
    if has_link(BRIDGE):
        ip("link", "delete", BRIDGE)
    note = _read_note(settings)
    if note.pop("made_kmsg", ""):
        KERNEL_MESSAGES.unlink(missing_ok=True)
    for path, value in note.items():
        if Path(path).exists():
            Path(path).write_text(value)


def has_link(name: str) -> bool:
    """Tell whether this network namespace has a link of that name; /sys may show another namespace's."""
    return name in {interface for _, interface in socket.if_nameindex()}


def ip(*arguments: str) -> None:
    """Run iproute2's ip.

    Raises:
        ClusterError: with its message.

    """
    tool = toolchain.find("ip") or "ip"
    result = subprocess.run([tool, *arguments], check=False, capture_output=True, text=True)
    if result.returncode:
        raise ClusterError(f"ip {' '.join(arguments)}: {result.stderr.strip()}")


def _read_note(settings: Settings) -> dict[str, str]:
    try:
        note: dict[str, str] = json.loads(_note_file(settings).read_text())
    except FileNotFoundError:
        return {}
    return note


def _note_file(settings: Settings) -> Path:
    return settings.state / "machine-before.json"
