"""Takes a cluster down without a trace: processes, mounts, links, packet filter, cgroups, files."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from localcluster import cgroups, components, host, processes, toolchain
from localcluster.errors import ClusterError
from localcluster.settings import Settings

_OUR_CHAIN = re.compile(r"^(KUBE-|CNI-)")
_TABLES = ("filter", "nat", "mangle", "raw")


def down(settings: Settings) -> None:
    """Stop and remove everything; only the build cache stays.

    Works with components already dead, since it trusts the kernel's lists and not containerd's.
    """
    # The kubelet and containerd first: neither may start again what is taken away below.
    for name in ("kubelet", "proxy", "containerd", "scheduler", "controllers", "apiserver", "etcd"):
        if name in components.names(settings):
            components.stop(settings, name)
    if not settings.control_plane_only:
        end_containers(settings)
        unmount(settings.state)
        host.restore(settings)
        remove_packet_rules()
        cgroups.remove(settings.cgroup)
    remove_state(settings)


def end_containers(settings: Settings) -> None:
    """Kill the containers and their shims, which outlive containerd."""
    shims = shim_pids(settings)
    for shim in shims:
        for pid in _descendants(shim):
            processes.kill(pid)
    for shim in shims:
        processes.end(shim, processes.born_at(shim), seconds=0.5)


def shim_pids(settings: Settings) -> list[int]:
    """Pids of the shims that serve this cluster's containerd."""
    socket = str(settings.containerd_socket)
    return [
        pid
        for pid in processes.all_pids()
        if "containerd-shim" in (line := processes.command_line(pid) or ("",))[0] and socket in line
    ]


def mounts_under(folder: Path) -> list[str]:
    """Mount points at or below a folder, innermost first."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = [line.split()[1].encode().decode("unicode_escape") for line in lines]
    inside = [point for point in points if point == str(folder) or point.startswith(f"{folder}/")]
    return sorted(inside, key=len, reverse=True)


def unmount(folder: Path) -> None:
    for point in mounts_under(folder):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)


def remove_packet_rules() -> None:
    """Remove the chains of kube-proxy, the kubelet and the CNI plugins, and the rules that lead there."""
    for family in ("iptables", "ip6tables"):
        save, restore = toolchain.find(f"{family}-save"), toolchain.find(f"{family}-restore")
        if save is None or restore is None:
            continue
        for table in _TABLES:
            listing = subprocess.run([save, "-t", table], check=False, capture_output=True, text=True)
            script = removal_script(table, listing.stdout.splitlines())
            if script:
                command = [restore, "--noflush"]
                subprocess.run(command, input=script, text=True, check=False, capture_output=True)


def removal_script(table: str, listing: Iterable[str]) -> str:
    """Input for iptables-restore that removes our chains from a table; empty when there are none."""
    chains: list[str] = []
    jumps: list[str] = []
    for line in listing:
        if line.startswith(":") and _OUR_CHAIN.match(line[1:]):
            chains.append(line[1:].split()[0])
        elif line.startswith("-A ") and not _OUR_CHAIN.match(line[3:]):
            target = re.search(r" -[jg] (\S+)", line)
            if target and _OUR_CHAIN.match(target.group(1)):
                jumps.append(f"-D {line[3:]}")
    if not chains:
        return ""
    emptied = [f":{chain} - [0:0]" for chain in chains]
    return "\n".join([f"*{table}", *emptied, *jumps, *(f"-X {chain}" for chain in chains), "COMMIT", ""])


def remove_state(settings: Settings) -> None:
    """Remove the state folder.

    Raises:
        ClusterError: something is still mounted in it.

    """
    left = mounts_under(settings.state)
    if left:
        raise ClusterError(f"still mounted, so {settings.state} stays: {', '.join(left)}")
    shutil.rmtree(settings.state, ignore_errors=True)
    if settings.state.exists():  # a last process may have written while it was removed
        shutil.rmtree(settings.state)


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    pending = processes.children(pid)
    while pending:
        child = pending.pop()
        found.append(child)
        pending += processes.children(child)
    return found
