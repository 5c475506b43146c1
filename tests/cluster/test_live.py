"""Real clusters: a control plane alone, and a whole one in a network namespace of its own.

The namespace keeps a whole cluster apart from one that may be running on this machine, and shows every link
and packet filter rule that it leaves behind.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from localcluster import cgroups, processes, settings, teardown

TOOL = Path(__file__).parent / "cluster.py"

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    seccompProfile: {type: RuntimeDefault}
  containers:
  - name: pause
    image: localhost/ensembles/pause:1
    imagePullPolicy: Never
    resources: {limits: {nvidia.com/gpu: COUNT}}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
"""


class Cluster:
    """A cluster driven through its command line, if need be inside a network namespace."""

    def __init__(self, state: Path, enter: tuple[str, ...] = ()) -> None:
        self.state = state
        self.enter = enter

    def tool(self, *arguments: str) -> str:
        return self.run(sys.executable, str(TOOL), *arguments, "--state", str(self.state))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        kubectl = settings.load(self.state).binaries / "kubectl"
        return self.run(str(kubectl), f"--kubeconfig={self.state / 'kubeconfig'}", *arguments, stdin=stdin)

    def run(self, *command: str, stdin: str | None = None) -> str:
        result = subprocess.run(
            [*self.enter, *command], check=False, capture_output=True, text=True, input=stdin, timeout=300
        )
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def pid(self, component: str) -> int:
        record = json.loads((self.state / "run" / f"{component}.json").read_text())
        return int(record["pid"])

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))


def within(seconds: float, what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def processes_of(state: Path) -> list[tuple[str, ...]]:
    lines = [processes.command_line(pid) for pid in processes.all_pids() if pid != os.getpid()]
    return [line for line in lines if any(str(state) in argument for argument in line)]


@pytest.fixture
def state() -> Iterator[Path]:
    """A short folder: the paths of sockets below it have 107 bytes at most."""
    folder = Path(f"/var/tmp/ec{os.getpid()}")  # noqa: S108 - pytest's own folders are too long
    yield folder
    if settings.exists(folder):
        teardown.down(settings.load(folder))
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.apiserver
def test_a_control_plane_comes_heals_and_goes(state: Path) -> None:
    cluster = Cluster(state)
    cluster.tool("up", "--control-plane-only", "--port", "0")
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")

    before = cluster.pid("apiserver")
    cluster.tool("up", "--control-plane-only")
    assert cluster.pid("apiserver") == before, "a second up restarts nothing"

    cluster.tool("restart", "apiserver")
    assert cluster.pid("apiserver") != before
    assert cluster.get("configmap", "kept")["data"] == {"a": "b"}

    processes.kill(cluster.pid("etcd"))
    cluster.tool("up", "--control-plane-only")
    assert cluster.get("configmap", "kept")["data"] == {"a": "b"}

    cluster.tool("down")
    assert not state.exists()
    assert processes_of(state) == []


@pytest.fixture
def namespaced(state: Path) -> Iterator[Cluster]:
    """A whole cluster in a network namespace of its own, held open by a sleeping process."""
    with subprocess.Popen(["unshare", "--net", "sleep", "600"]) as holder:
        enter = ("nsenter", "--target", str(holder.pid), "--net")
        own = Path("/proc/self/ns/net").readlink()
        assert within(5, lambda: Path(f"/proc/{holder.pid}/ns/net").readlink() != own)
        cluster = Cluster(state, enter)
        cluster.run("ip", "link", "set", "lo", "up")
        yield cluster
        if settings.exists(state):
            cluster.tool("down")
        holder.kill()


@pytest.mark.cluster
def test_a_whole_cluster_comes_heals_and_leaves_nothing(namespaced: Cluster) -> None:
    cluster = namespaced
    mounts_before = set(Path("/proc/self/mounts").read_text().splitlines())
    rules_before = packet_rules(cluster)
    cluster.tool("up")
    cgroup = settings.load(cluster.state).cgroup

    # A restricted pod runs, and a second one that wants a GPU waits for the one fake GPU there is.
    cluster.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted")
    assert "fake" in cluster.tool("fake-gpu", "1", "NVIDIA-FAKE-1")
    labels = cluster.get("node", settings.NODE_NAME)["metadata"]["labels"]
    assert labels["nvidia.com/gpu.product"] == "NVIDIA-FAKE-1"
    for name in ("first", "second"):
        cluster.kubectl("apply", "-f", "-", stdin=POD.replace("NAME", name).replace("COUNT", '"1"'))
    assert within(60, lambda: phase(cluster, "first") == "Running")
    assert phase(cluster, "second") == "Pending"

    # A killed kubelet and containerd come back; the pod and the claim of GPUs outlive them.
    for component in ("kubelet", "containerd"):
        processes.kill(cluster.pid(component))
    assert "kubelet" in cluster.tool("up")
    assert phase(cluster, "first") == "Running"
    assert cluster.get("node", settings.NODE_NAME)["status"]["capacity"]["nvidia.com/gpu"] == "1"
    assert restarts(cluster, "first") == 0
    cluster.kubectl("delete", "pod", "first", "--grace-period=1")
    assert within(60, lambda: phase(cluster, "second") == "Running")
    assert cgroups.folders(cgroup)

    cluster.tool("down")
    assert not cluster.state.exists()
    assert processes_of(cluster.state) == []
    assert links(cluster) == {"lo"}
    assert packet_rules(cluster) == rules_before
    assert cgroups.folders(cgroup) == []
    new_mounts = set(Path("/proc/self/mounts").read_text().splitlines()) - mounts_before
    assert [mount for mount in new_mounts if str(cluster.state) in mount] == []


@pytest.mark.cluster
def test_down_needs_no_component_alive(namespaced: Cluster) -> None:
    cluster = namespaced
    cluster.tool("up")
    for component in ("kubelet", "containerd", "apiserver", "etcd", "scheduler", "controllers", "proxy"):
        processes.kill(cluster.pid(component))
    assert processes_of(cluster.state), "shims outlive containerd"
    cluster.tool("down")
    assert not cluster.state.exists()
    assert processes_of(cluster.state) == []
    assert links(cluster) == {"lo"}


def phase(cluster: Cluster, pod: str) -> str:
    return str(cluster.get("pod", pod)["status"]["phase"])


def restarts(cluster: Cluster, pod: str) -> int:
    return int(cluster.get("pod", pod)["status"]["containerStatuses"][0]["restartCount"])


def links(cluster: Cluster) -> set[str]:
    return {link["ifname"] for link in json.loads(cluster.run("ip", "-j", "link"))}


def packet_rules(cluster: Cluster) -> list[str]:
    lines = cluster.run("iptables-save").splitlines() + cluster.run("ip6tables-save").splitlines()
    return [line for line in lines if line.startswith(("-A", ":")) and "ACCEPT" not in line]
