"""Kubernetes' own driver for tests of dynamic resource allocation: a plugin of the local cluster's kubelet.

Its devices exist by name alone: a container that has one gets environment variables.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster import build
from localcluster.settings import NODE_NAME

from tests.conftest import CACHE
from tests.e2e import live

DRIVER = "fake-gpu.example.com"
CLASS = "fake-gpu"
CDI = Path("/var/run/cdi")
"""Where containerd looks for the devices that drivers describe."""
FAKE_GPU = "user_FAKE_GPU"
"""Variable of a container that has a device by `template`."""


@contextmanager
def running(log: Path, *, devices: int) -> Iterator[None]:
    """The node has so many devices, and the cluster a class for them, within the block."""
    build.build(CACHE, only=["dra-driver"])
    kubelet = live.STATE / "kubelet"
    command = [
        str(CACHE / "bin/dra-test-driver"),
        f"--kubeconfig={live.STATE / 'kubeconfig'}",
        f"--drivername={DRIVER}",
        "kubelet-plugin",
        f"--node-name={NODE_NAME}",
        f"--num-devices={devices}",
        f"--cdi-dir={CDI}",
        f"--plugin-registration-path={kubelet / 'plugins_registry'}",
        f"--datadir={kubelet / 'plugins'}",
    ]
    (kubelet / "plugins" / DRIVER).mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(command, env=live.environment(), stdout=output, stderr=output)
    try:
        live.kubectl("apply", "-f", "-", text=json.dumps(_device_class()))
        live.eventually(_is_published, seconds=60, what=lambda: log.read_text()[-3000:])
        yield
    finally:
        process.terminate()
        process.wait(30)
        remove()


def remove() -> None:
    """Whatever the driver, or `claim_devices`, has left in the cluster and on the node."""
    for name in _slices():
        live.kubectl("delete", "resourceslice", name, "--ignore-not-found")
    live.kubectl("delete", "deviceclass", CLASS, "--ignore-not-found")
    for left in CDI.glob(f"*{DRIVER}*"):
        left.unlink()


def _slices() -> list[str]:
    found = live.get("resourceslices")["items"]
    return [item["metadata"]["name"] for item in found if item["spec"]["driver"] == DRIVER]


def _device_class() -> dict[str, object]:
    selector = {"cel": {"expression": f"device.driver == '{DRIVER}'"}}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": CLASS},
        "spec": {"selectors": [selector]},
    }


def _is_published() -> bool:
    names = _slices()
    return len(names) == 1 and names != ["by-hand"]


def claim_devices(count: int) -> None:
    """As the driver would, though it is away: the scheduler gives such devices to pods."""
    spec = {
        "driver": DRIVER,
        "nodeName": NODE_NAME,
        "pool": {"name": NODE_NAME, "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": f"device-{number:02}"} for number in range(count)],
    }
    kind = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "by-hand"}}
    objects = [{**kind, "spec": spec}, _device_class()]
    live.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def template(name: str) -> dict[str, object]:
    """A ResourceClaimTemplate for one device."""
    opaque = {"driver": DRIVER, "parameters": {"FAKE_GPU": "seven"}}
    devices = {
        "requests": [{"name": "gpu", "exactly": {"deviceClassName": CLASS}}],
        "config": [{"requests": ["gpu"], "opaque": opaque}],
    }
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name},
        "spec": {"spec": {"devices": devices}},
    }
