"""The container `http` of a server's pod on this machine: the real HAProxy with the real configuration."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "builder-image" / "http-proxy"


@dataclass(frozen=True)
class Proxy:
    """A running proxy that listens on `port`."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def terminate(self) -> None:
        """What the kubelet does as soon as the pod is deleted."""
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def http_proxy(
    log: Path, *, port: int, server: int, grace: float = 5, hard_stop: float = 20, age: float = 60
) -> Iterator[Proxy]:
    """The proxy on `port`, before tritonserver's HTTP port `server`; all times in seconds."""
    milliseconds = {"GRACE": grace, "HARD_STOP": hard_stop, "CONNECTION_AGE": age}
    environment = {
        **os.environ,
        **_environment(),
        **{f"ENSEMBLES_{name}_MILLISECONDS": str(int(1000 * value)) for name, value in milliseconds.items()},
        "ENSEMBLES_LISTEN_PORT": str(port),
        "ENSEMBLES_SERVER_PORT": str(server),
        "ENSEMBLES_HTTP_PROXY_CONFIG": str(SCRIPTS / "haproxy.cfg"),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(SCRIPTS / "http-proxy")],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_until_listening(port, process, log)
        yield Proxy(port, process, log)
    finally:
        # The script's children, too: an end within seconds is not what every test is about.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    pytest.fail(f"the proxy did not come up:\n{log.read_text()[-4000:]}")


def _environment() -> Mapping[str, str]:
    """What makes `haproxy` a command: nothing where it is installed, else Debian's packages, unpacked once.

    Installed by apt it would start a daemon.
    """
    system = os.pathsep.join([os.environ["PATH"], "/usr/local/sbin", "/usr/sbin"])
    if shutil.which("haproxy", path=system):
        return {"PATH": system}
    cache = Path(os.environ.get("ENSEMBLES_CACHE", Path.home() / ".cache/ensembles-cluster"))
    folder = cache / "haproxy"
    if not folder.exists():
        _unpack(folder)
    libraries = sorted({str(path.parent) for path in folder.rglob("*.so.*")})
    return {
        "PATH": f"{folder / 'usr/sbin'}{os.pathsep}{system}",
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
    }


def _unpack(folder: Path) -> None:
    install = ("apt-get", "install", "--simulate", "--no-install-recommends", "haproxy")
    plan = subprocess.run(install, check=False, capture_output=True, text=True)
    if plan.returncode:  # A bare machine has no lists of packages yet.
        _run("apt-get", "update")
        plan = subprocess.run(install, check=False, capture_output=True, text=True)
    names = re.findall(r"^Inst (\S+)", plan.stdout, re.MULTILINE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".haproxy-") as scratch:
        _run("apt-get", "download", "-o", "APT::Sandbox::User=root", *(names or ["haproxy"]), folder=scratch)
        for package in Path(scratch).glob("*.deb"):
            _run("dpkg", "-x", str(package), f"{scratch}/root")
        Path(scratch, "root").rename(folder)


def _run(*command: str, folder: str | None = None) -> None:
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        cure = "install Debian's package haproxy"
        pytest.fail(f"these tests need HAProxy ({cure}): {' '.join(command)} said:\n{done.stderr}")


@dataclass
class Service:
    """As kube-proxy: each new connection goes to the next of the endpoints, and stays there."""

    port: int
    endpoints: list[int] = field(default_factory=list)
    _taken: int = 0

    @contextmanager
    def serving(self) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", self.port), backlog=128) as listener:
            thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._taken += 1
            endpoint = self.endpoints[self._taken % len(self.endpoints)]
            threading.Thread(target=_carry, args=(client, endpoint), daemon=True).start()


def _carry(client: socket.socket, endpoint: int) -> None:
    with client, suppress(OSError), socket.create_connection(("127.0.0.1", endpoint)) as server:
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
