"""Long-running processes, each known by a record under the state folder and ended by its pid alone."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from localcluster.errors import ClusterError

# Held for good: a Popen that is collected warns that its process still runs, and these shall.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Record:
    """A started process.

    ``born`` is its start time in clock ticks since boot: a reused pid differs in it. ``purpose`` is a digest
    of what it was started from; another one calls for a restart.
    """

    pid: int
    born: int
    purpose: str


def start(
    name: str, argv: Sequence[str], *, purpose: str, run: Path, logs: Path, env: Mapping[str, str]
) -> Record:
    """Start ``argv`` in a session of its own; its output is appended to ``logs/NAME.log``."""
    run.mkdir(parents=True, exist_ok=True)
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(env),
            cwd=logs,
        )
    _started.append(process)
    born = born_at(process.pid)
    if born is None:
        raise ClusterError(f"{name} ended at once; see {logs / name}.log")
    record = Record(process.pid, born, purpose)
    _path(run, name).write_text(json.dumps(asdict(record)))
    return record


def running(name: str, *, run: Path) -> Record | None:
    """Return the record of a process that is still the one that was started."""
    try:
        document = json.loads(_path(run, name).read_text())
    except FileNotFoundError:
        return None
    record = Record(document["pid"], document["born"], document["purpose"])
    return record if born_at(record.pid) == record.born else None


def stop(name: str, *, run: Path, seconds: float) -> bool:
    """End the process with SIGTERM, then SIGKILL. Return whether there was one."""
    record = running(name, run=run)
    if record is not None:
        end(record.pid, record.born, seconds=seconds)
    _path(run, name).unlink(missing_ok=True)
    return record is not None


def end(pid: int, born: int | None, *, seconds: float) -> None:
    """End one process that may be no child of ours, and wait until it is gone."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        if born is None or born_at(pid) != born:
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while born_at(pid) == born and time.monotonic() < deadline:
            time.sleep(0.02)


def kill(pid: int) -> None:
    """End one process at once."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def command_line(pid: int) -> tuple[str, ...]:
    """Arguments of a process; empty when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(raw.decode(errors="replace").rstrip("\0").split("\0")) if raw else ()


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def children(pid: int) -> list[int]:
    """Pids of the direct children."""
    return [other for other in all_pids() if (stat := _stat(other)) is not None and int(stat[1]) == pid]


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat behind the command's name: state, parent pid, …"""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def born_at(pid: int) -> int | None:
    """Start time in clock ticks since boot; None when there is no such process or only its zombie."""
    _reap(pid)
    stat = _stat(pid)
    return None if stat is None or stat[0] == "Z" else int(stat[19])


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _path(run: Path, name: str) -> Path:
    return run / f"{name}.json"
