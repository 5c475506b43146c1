"""ip, iptables and conntrack with the libraries they need, in a folder of their own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from localcluster.errors import ClusterError

_PACKAGES = (
    *("iptables", "iproute2", "conntrack", "libxtables12", "libip4tc2", "libip6tc2", "libnftnl11", "libmnl0"),
    *(
        "libnfnetlink0",
        "libnetfilter-conntrack3",
        "libbpf1",
        "libelf1",
        "libcap2",
        "libtirpc3",
        "libbsd0",
        "libmd0",
    ),
)
_PROGRAMS = ("usr/sbin/xtables-nft-multi", "usr/sbin/conntrack", "bin/ip")
_TABLES = [f"{family}{verb}" for family in ("iptables", "ip6tables") for verb in ("", "-save", "-restore")]
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
_WRAPPER = Path(__file__).with_name("with-own-libraries")


def ensure(cache: Path) -> Path:
    """Return the folder; `sbin` in it belongs on PATH.

    Raises:
        ClusterError: apt cannot fetch the packages.
    """
    target = cache / "nettools-bookworm-1"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".nettools-") as scratch:
        work = Path(scratch)
        _download(work)
        out = work / "out"
        for folder in ("sbin", "libexec", "lib/xtables"):
            (out / folder).mkdir(parents=True)
        for program in _PROGRAMS:
            shutil.copy2(work / "root" / program, out / "libexec")
        for folder in _LIBRARIES:
            for library in (work / "root" / folder).glob("*.so*"):
                shutil.copy2(library, out / "lib" / library.name, follow_symlinks=True)
            for extension in (work / "root" / folder / "xtables").glob("lib[ix]*.so"):
                shutil.copy2(extension, out / "lib" / "xtables")
        shutil.copy2(_WRAPPER, out / "sbin" / "ip")
        (out / "sbin" / "ip").chmod(0o755)
        for name in (*_TABLES, "conntrack"):
            (out / "sbin" / name).symlink_to("ip")
        out.rename(target)
    return target


def _download(work: Path) -> None:
    packages = work / "packages"
    packages.mkdir()
    command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", *_PACKAGES]
    done = subprocess.run(command, cwd=packages, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ClusterError(f"apt-get download failed (try apt-get update): {done.stderr[-500:]}")
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, work / "root"], check=True)
