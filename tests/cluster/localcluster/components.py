"""The components: their command lines, and starting and stopping them in the right order."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from localcluster import processes, toolchain
from localcluster.errors import ClusterError
from localcluster.settings import (
    DNS_DOMAIN,
    NODE_ADDRESS,
    NODE_NAME,
    SERVICE_RANGE,
    Settings,
)

CONTROL_PLANE = ("etcd", "apiserver", "controllers")
NODE = ("scheduler", "containerd", "kubelet", "proxy")

# Files a component reads once, when it starts.
_CONFIGURATION = {
    "containerd": ("containerd.toml",),
    "kubelet": ("kubelet.yaml", "resolv.conf"),
    "proxy": ("kube-proxy.yaml",),
}

# The API server waits up to a minute for its watchers to leave, and they never do.
_PATIENCE_SECONDS = {"apiserver": 2.0}


def names(settings: Settings) -> tuple[str, ...]:
    """Components of this cluster in starting order."""
    return CONTROL_PLANE if settings.control_plane_only else CONTROL_PLANE + NODE


def start(settings: Settings, name: str) -> bool:
    """Start a component unless it already runs as it should. Return whether it was started."""
    argv = _argv(settings, name)
    purpose = _purpose(settings, name, argv)
    record = processes.running(name, run=settings.run)
    if record is not None:
        if record.purpose == purpose:
            return False
        stop(settings, name)
    environment = _environment(settings)
    processes.start(name, argv, purpose=purpose, run=settings.run, logs=settings.logs, env=environment)
    return True


def stop(settings: Settings, name: str) -> bool:
    """Stop a component. Return whether it ran."""
    _check(settings, name)
    return processes.stop(name, run=settings.run, seconds=_PATIENCE_SECONDS.get(name, 15.0))


def is_running(settings: Settings, name: str) -> bool:
    return processes.running(name, run=settings.run) is not None


def log_tail(settings: Settings, name: str, *, lines: int = 15) -> str:
    """Last lines of a component's log."""
    try:
        text = (settings.logs / f"{name}.log").read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _check(settings: Settings, name: str) -> None:
    if name not in names(settings):
        raise ClusterError(f"unknown component {name}; this cluster has {', '.join(names(settings))}")


def _argv(settings: Settings, name: str) -> list[str]:
    _check(settings, name)
    program, *arguments = _COMMANDS[name](settings)
    # The versioned path, so that a new build of a component is seen as another command.
    link = settings.binaries / program
    return [str(link.readlink() if link.is_symlink() else link), *arguments]


def _purpose(settings: Settings, name: str, argv: list[str]) -> str:
    digest = hashlib.sha256("\0".join(argv).encode())
    for file in _CONFIGURATION.get(name, ()):
        digest.update((settings.config / file).read_bytes())
    return digest.hexdigest()


def _environment(settings: Settings) -> dict[str, str]:
    kept = {"HOME", "LANG", "TZ", "TMPDIR"}
    path = f"{settings.binaries}{os.pathsep}{toolchain.search_path()}"
    return {**{name: os.environ[name] for name in kept & os.environ.keys()}, "PATH": path}


def _etcd(settings: Settings) -> list[str]:
    client = f"http://127.0.0.1:{settings.etcd_port}"
    peer = f"http://127.0.0.1:{settings.etcd_peer_port}"
    return [
        "etcd",
        f"--data-dir={settings.state / 'etcd'}",
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    ]


def _apiserver(settings: Settings) -> list[str]:
    pki = settings.pki
    reach = (
        ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]
        if settings.control_plane_only
        else ["--bind-address=0.0.0.0", f"--advertise-address={NODE_ADDRESS}"]
    )
    return [
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{settings.etcd_port}",
        f"--secure-port={settings.port}",
        *reach,
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--service-account-issuer=https://kubernetes.default.svc.{DNS_DOMAIN}",
        f"--requestheader-client-ca-file={pki / 'ca.crt'}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy.key'}",
        f"--kubelet-client-certificate={pki / 'admin.crt'}",
        f"--kubelet-client-key={pki / 'admin.key'}",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def _controllers(settings: Settings) -> list[str]:
    return [
        "kube-controller-manager",
        *_own_kubeconfig(settings, "controllers"),
        *("--bind-address=127.0.0.1", f"--secure-port={settings.controllers_port}"),
        f"--service-account-private-key-file={settings.pki / 'service-accounts.key'}",
        f"--root-ca-file={settings.pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={settings.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={settings.pki / 'ca.key'}",
        "--use-service-account-credentials=true",
        "--allocate-node-cidrs=false",
        "--leader-elect=false",
        *("--kube-api-qps=200", "--kube-api-burst=400"),
        # Without nodes nothing takes its time: autoscalers need not wait 15 s between two looks.
        *(["--horizontal-pod-autoscaler-sync-period=3s"] if settings.control_plane_only else []),
    ]


def _scheduler(settings: Settings) -> list[str]:
    return [
        "kube-scheduler",
        *_own_kubeconfig(settings, "scheduler"),
        *("--bind-address=127.0.0.1", f"--secure-port={settings.scheduler_port}"),
        "--leader-elect=false",
    ]


def _own_kubeconfig(settings: Settings, identity: str) -> list[str]:
    path = settings.config / f"{identity}.kubeconfig"
    return [
        f"--kubeconfig={path}",
        f"--authentication-kubeconfig={path}",
        f"--authorization-kubeconfig={path}",
    ]


def _containerd(settings: Settings) -> list[str]:
    return ["containerd", "--config", str(settings.config / "containerd.toml")]


def _kubelet(settings: Settings) -> list[str]:
    return [
        "kubelet",
        f"--config={settings.config / 'kubelet.yaml'}",
        f"--kubeconfig={settings.config / 'kubelet.kubeconfig'}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE_ADDRESS}",
        f"--root-dir={settings.kubelet_root}",
        f"--cert-dir={settings.state / 'kubelet-pki'}",
    ]


def _proxy(settings: Settings) -> list[str]:
    return ["kube-proxy", f"--config={settings.config / 'kube-proxy.yaml'}"]


_COMMANDS: dict[str, Callable[[Settings], list[str]]] = {
    "etcd": _etcd,
    "apiserver": _apiserver,
    "controllers": _controllers,
    "scheduler": _scheduler,
    "containerd": _containerd,
    "kubelet": _kubelet,
    "proxy": _proxy,
}


def program(settings: Settings, name: str) -> Path:
    """Path of a built program, e.g. ``kubectl``."""
    return settings.binaries / name
