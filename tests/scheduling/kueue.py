"""The real Kueue: its manager as a process beside a control plane, with the manifests of its own Helm chart.

The API server reaches its webhooks by a Service of type ExternalName; certificates and their rotation are
Kueue's own. Only the mount of their Secret is played here.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from localcluster.parts import SOURCES

from ensemble_operator.cluster.client import KubernetesApi
from ensemble_operator.cluster.errors import AlreadyExistsError, ApiError, NotFoundError
from ensemble_operator.cluster.kinds import Kind
from tests.gitops.judges import go
from tests.operator.control_plane import eventually
from tests.ports import free_ports

NAMESPACE = "kueue-system"
SERVICE, SECRET = "kueue-webhook-service", "kueue-webhook-server-cert"  # names of its chart
_V1 = "kueue.x-k8s.io/v1beta2"
FLAVOR = Kind(_V1, "ResourceFlavor", "resourceflavors")
CLUSTER_QUEUE = Kind(_V1, "ClusterQueue", "clusterqueues")
LOCAL_QUEUE = Kind(_V1, "LocalQueue", "localqueues")
ADMISSION_CHECK = Kind(_V1, "AdmissionCheck", "admissionchecks")
WORKLOAD = Kind(_V1, "Workload", "workloads")
WORKLOAD_PRIORITY = Kind(_V1, "WorkloadPriorityClass", "workloadpriorityclasses")
_INSTALLED = {
    "CustomResourceDefinition": Kind(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"
    ),
    "MutatingWebhookConfiguration": Kind(
        "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"
    ),
    "ValidatingWebhookConfiguration": Kind(
        "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"
    ),
    "Secret": Kind("v1", "Secret", "secrets"),
}
"""What of the chart a manager needs that runs outside of the cluster, as its administrator."""
_KINDS = {
    **_INSTALLED,
    "Namespace": Kind("v1", "Namespace", "namespaces"),
    "Service": Kind("v1", "Service", "services"),
}


@dataclass(frozen=True)
class Ports:
    health: int
    metrics: int
    webhook: int

    @classmethod
    def free(cls) -> Ports:
        return cls(*free_ports(3))


def manifests(cache: Path, helm: str, ports: Ports) -> Iterator[dict[str, Any]]:
    """What its chart installs, with this machine's port in the place of the Service's."""
    program, environment = go(cache)
    told = subprocess.run(
        [program, "mod", "download", "-json", "sigs.k8s.io/kueue"],
        cwd=SOURCES / "kueue",
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    chart = Path(json.loads(told.stdout)["Dir"]) / "charts/kueue"
    rendered = subprocess.run(
        [helm, "template", "kueue", str(chart), "--namespace", NAMESPACE],
        capture_output=True,
        text=True,
        check=True,
    )
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    for manifest in yaml.safe_load_all(rendered.stdout):
        if manifest and manifest["kind"] in _INSTALLED:
            for client in _clients(manifest):
                client["service"]["port"] = ports.webhook
            yield manifest


def _clients(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for webhook in manifest.get("webhooks") or ():
        yield webhook["clientConfig"]
    conversion = manifest.get("spec", {}).get("conversion") or {}
    if conversion.get("strategy") == "Webhook":
        yield conversion["webhook"]["clientConfig"]


def install(api: KubernetesApi, documents: Iterable[Mapping[str, Any]]) -> None:
    for manifest in documents:
        with suppress(AlreadyExistsError):
            api._request("POST", _path(manifest), body=manifest)


def remove(api: KubernetesApi, documents: Iterable[Mapping[str, Any]]) -> None:
    """Webhooks first: without the manager they let no Job be made."""
    later = {"CustomResourceDefinition": 1, "Namespace": 2}
    for manifest in sorted(documents, key=lambda document: later.get(document["kind"], 0)):
        with suppress(NotFoundError):
            api._request("DELETE", f"{_path(manifest)}/{manifest['metadata']['name']}")


def _path(manifest: Mapping[str, Any]) -> str:
    # The chart writes a namespace into its webhooks too, which have none.
    namespace = NAMESPACE if manifest["kind"] in {"Secret", "Service"} else None
    return _KINDS[manifest["kind"]].path(namespace)


class KueueProcess:
    """A manager; `settings` are merged into its configuration."""

    def __init__(
        self,
        program: Path,
        api: KubernetesApi,
        kubeconfig: Path,
        folder: Path,
        ports: Ports,
        **settings: Any,
    ) -> None:
        folder.mkdir(parents=True)
        self.log = folder / "kueue.log"
        self._health = f"http://127.0.0.1:{ports.health}/readyz"
        self._webhook = f"https://127.0.0.1:{ports.webhook}/mutate-batch-v1-job"
        certificates = folder / "certificates"
        certificates.mkdir()
        (folder / "config.yaml").write_text(json.dumps(_configuration(ports, certificates) | settings))
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [str(program), f"--config={folder / 'config.yaml'}"],
                env={**os.environ, "KUBECONFIG": str(kubeconfig)},
                stdout=output,
                stderr=output,
            )
        try:
            eventually(lambda: _mount(api, certificates), seconds=30, what=f"certificates, see {self.log}")
            eventually(self._answers, seconds=30, what=f"Kueue is ready, see {self.log}")
        except AssertionError:
            self.stop()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(self._health, timeout=5):  # noqa: S310 - http
                pass
            # It misses a review, and says so.
            with urllib.request.urlopen(self._webhook, b"", timeout=5, context=trusting):  # noqa: S310 - https
                return True
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        return False

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _configuration(ports: Ports, certificates: Path) -> dict[str, Any]:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": f"127.0.0.1:{ports.health}"},
        "metrics": {"bindAddress": f"127.0.0.1:{ports.metrics}"},
        "webhook": {"host": "127.0.0.1", "port": ports.webhook, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {
            "enable": True,
            "webhookServiceName": SERVICE,
            "webhookSecretName": SECRET,
        },
        "integrations": {"frameworks": ["batch/job"]},
        "featureGates": {"VisibilityOnDemand": False},  # an API server of its own, on a fixed port
    }


def _mount(api: KubernetesApi, folder: Path) -> bool:
    """What the kubelet would do with the Secret. Whether there is something in it."""
    try:
        data = api.get(_INSTALLED["Secret"], NAMESPACE, SECRET).get("data") or {}
    except ApiError:
        return False
    for name, content in data.items():
        (folder / name).write_bytes(base64.b64decode(content))
    return "tls.crt" in data


def flavor(name: str, **node_labels: str) -> dict[str, Any]:
    return {
        "apiVersion": _V1,
        "kind": "ResourceFlavor",
        "metadata": {"name": name},
        "spec": {"nodeLabels": node_labels},
    }


def cluster_queue(name: str, of_flavor: str, *, gpus: int, cpus: str) -> dict[str, Any]:
    quotas = {"cpu": cpus, "memory": "100Gi", "nvidia.com/gpu": gpus}
    resources = [{"name": key, "nominalQuota": value} for key, value in quotas.items()]
    return {
        "apiVersion": _V1,
        "kind": "ClusterQueue",
        "metadata": {"name": name},
        "spec": {
            "namespaceSelector": {},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [
                {"coveredResources": list(quotas), "flavors": [{"name": of_flavor, "resources": resources}]}
            ],
        },
    }


def local_queue(name: str, namespace: str, of: str) -> dict[str, Any]:
    return {
        "apiVersion": _V1,
        "kind": "LocalQueue",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterQueue": of},
    }
