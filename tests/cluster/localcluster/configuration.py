"""Writes the components' configuration files from the templates."""

import base64
import os
from pathlib import Path
from string import Template

from localcluster import staticimages
from localcluster.settings import BRIDGE, DNS_ADDRESS, DNS_DOMAIN, NODE_NAME, POD_RANGE, Settings

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")

# File stem -> identity of the certificates that its kubeconfig carries.
_KUBECONFIGS = ("controllers", "scheduler", "proxy", "kubelet")


def write_control_plane(settings: Settings) -> None:
    """Write the kubeconfig files."""
    settings.config.mkdir(parents=True, exist_ok=True)
    for identity in _KUBECONFIGS:
        _write_private(settings.config / f"{identity}.kubeconfig", _kubeconfig(settings, identity))
    _write_private(settings.kubeconfig, _kubeconfig(settings, "admin"))


def write_node(settings: Settings) -> None:
    """Write what containerd, the CNI plugins, the kubelet and kube-proxy read."""
    (settings.config / "cni").mkdir(parents=True, exist_ok=True)
    servers = name_servers()
    _write_changed(settings.config / "resolv.conf", "".join(f"nameserver {server}\n" for server in servers))
    for template, target in (
        ("containerd.toml", "containerd.toml"),
        ("cni.conflist", "cni/10-ensembles.conflist"),
        ("kubelet.yaml", "kubelet.yaml"),
        ("kube-proxy.yaml", "kube-proxy.yaml"),
    ):
        _write_changed(settings.config / target, _fill(template, settings))


def coredns(settings: Settings) -> str:
    """Return the manifests of the cluster's name server."""
    return _fill("coredns.yaml", settings)


def name_servers() -> list[str]:
    """Name servers of this machine that a pod can reach."""
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return []
    found = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    return [server for server in found if not server.startswith(("127.", "::1"))]


def _fill(template: str, settings: Settings) -> str:
    return Template((TEMPLATES / template).read_text()).substitute(
        state=settings.state,
        config=settings.config,
        pki=settings.pki,
        binaries=settings.binaries,
        socket=settings.containerd_socket,
        pause_image=staticimages.PAUSE,
        image=staticimages.COREDNS,
        cgroup=settings.cgroup,
        bridge=BRIDGE,
        pods=POD_RANGE,
        node=NODE_NAME,
        dns=DNS_ADDRESS,
        domain=DNS_DOMAIN,
        masquerade=str(not BRIDGE_FILTER.exists()).lower(),
        forward="forward . /etc/resolv.conf" if name_servers() else "# no name server here to ask",
    )


def _kubeconfig(settings: Settings, identity: str) -> str:
    def encoded(name: str) -> str:
        return base64.b64encode((settings.pki / name).read_bytes()).decode()

    return Template((TEMPLATES / "kubeconfig.yaml").read_text()).substitute(
        server=settings.server,
        user=identity,
        ca=encoded("ca.crt"),
        certificate=encoded(f"{identity}.crt"),
        key=encoded(f"{identity}.key"),
    )


def _write_changed(path: Path, text: str) -> None:
    """Write unless it is there already: kube-proxy ends whenever its file is touched."""
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)
