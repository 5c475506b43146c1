"""The cgroup of a cluster's pods: one folder per hierarchy of cgroup v1, or one in the single tree of v2."""

import time
from contextlib import suppress
from pathlib import Path

_UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers")


def create(name: str) -> None:
    """Make the folders that the kubelet expects to find under its cgroupRoot."""
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir(exist_ok=True)
        _inherit_cpus(hierarchy, name)
    if _UNIFIED.is_file():
        for folder in (_UNIFIED.parent, _UNIFIED.parent / name):
            _enable_controllers(folder)


def remove(name: str) -> None:
    """Remove the folders and all below them; their processes have ended."""
    for root in folders(name):
        below = sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True)
        for folder in (*below, root):
            _remove(folder)


def folders(name: str) -> list[Path]:
    """Return the existing folders of this cgroup, one per hierarchy."""
    return [root for hierarchy in _hierarchies() if (root := hierarchy / name).is_dir()]


def _hierarchies() -> list[Path]:
    rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(row[1]) for row in rows if row[2] in {"cgroup", "cgroup2"}]


def _inherit_cpus(hierarchy: Path, name: str) -> None:
    """Give a new cpuset of cgroup v1 its parent's processors: it starts with none, and takes no process."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        target = hierarchy / name / file
        if target.is_file() and not _UNIFIED.is_file() and not target.read_text().strip():
            target.write_text((hierarchy / file).read_text())


def _enable_controllers(folder: Path) -> None:
    for controller in (folder / "cgroup.controllers").read_text().split():
        with suppress(OSError):  # a controller in use elsewhere cannot be passed on, and is not needed then
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + 1.0  # the kernel takes a moment to forget a killed process
    while folder.is_dir() and time.monotonic() < deadline:
        with suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)
