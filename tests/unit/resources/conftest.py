"""Every manifest the operator can render, each under the name of its golden file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ensemble_operator.config import OperatorConfig
from ensemble_operator.resources.budgets import disruption_budget
from ensemble_operator.resources.history import controller_revision
from ensemble_operator.resources.jobs import (
    JobContext,
    Measurement,
    analyse_job,
    assemble_job,
    build_job,
    prune_job,
    verify_job,
)
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.request import request_config_map
from ensemble_operator.resources.rollout import RENDERER_VERSION, RolloutData
from ensemble_operator.resources.servers import server_deployment
from ensemble_operator.resources.services import rollout_service, service
from ensembles_api.contract import NextBuild, Request, ServerRequirements, TargetRequest
from ensembles_api.names import LABEL_ENSEMBLE, LABEL_ROLE, LABEL_ROLLOUT
from ensembles_api.spec import Analysis, Build, Export, Gpu, LocalObject, Model, Serving, Storage

Manifest = dict[str, Any]
Case = Callable[[], list[Manifest]]

INPUTS = "1" * 64
PROOF = "4" * 64
LOCK = "2" * 64
KEY = "3" * 64
REVISION = "4" * 64
FAILED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

OWNER = Owner(namespace="vision", name="classify", uid="6b2c1f3e-0000-4000-8000-000000000001")
CONFIG = OperatorConfig(tools_image="registry.test/tools:1")

KEYS = Storage.model_validate(
    {"uri": "s3://models/vision", "endpoint": "http://s3.storage.svc:9000", "secretName": "model-storage"}
)
IDENTITY = Storage.model_validate(
    {
        "uri": "s3://models/vision",
        "region": "eu-central-1",
        "identity": {"serviceAccountName": "models", "roleArn": "arn:aws:iam::1:role/models"},
        "caConfigMap": {"name": "corporate-ca", "key": "bundle.pem"},
    }
)
L4 = TargetRequest(name="l4", gpu=Gpu(product="NVIDIA-L4", count=2))
H200 = TargetRequest(
    name="h200-mig-3g-71gb", gpu=Gpu(product="NVIDIA-H200", resource_name="nvidia.com/mig-3g.71gb")
)
ON_CPU = TargetRequest(name="default")

BUILD = Build.model_validate(
    {
        "resources": {"requests": {"cpu": 2, "memory": "4Gi"}, "limits": {"memory": "16Gi"}},
        "nodeSelector": {"pool": "builders"},
        "tolerations": [{"key": "batch", "operator": "Exists"}],
        "timeoutSeconds": 1800,
    }
)
SERVING = Serving.model_validate(
    {
        "replicas": 3,
        "resources": {
            "requests": {"cpu": "1500m"},
            "limits": {"memory": "8Gi", "ephemeral-storage": "1000Mi"},
        },
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Equal", "value": "present"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}
                    ]
                }
            }
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
            },
            {
                "maxSkew": 2,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"team": "vision"}},
            },
        ],
        "extraArgs": ["--log-verbose=1", "--grpc-max-connection-age=5000"],
        "podLabels": {"team": "vision", "sidecar.istio.io/inject": "false"},
        "podAnnotations": {"prometheus.io/scrape": "true"},
        "imagePullSecrets": [{"name": "registry"}, {"name": "mirror"}],
        "serviceAccountName": "serving",
        "priorityClassName": "ensembles-test-serving",
        "runtimeClassName": "ensembles-test-nvidia",
        "startupSeconds": 901,
        "drainSeconds": 45,
    }
)


def rollout_data(**changes: Any) -> RolloutData:
    fields: dict[str, Any] = {
        "uid": OWNER.uid,
        "inputs": INPUTS,
        "revision": REVISION,
        "lock": LOCK,
        "storage": KEYS,
        "server_image": "registry.test/server:26.05",
        "tools_image": "registry.test/tools:1",
        "image_pull_policy": "IfNotPresent",
        "serving": Serving(),
        "verify_seconds": 600,
        "targets": (ON_CPU,),
        "server": ServerRequirements(entrypoint="classify", args=("--disable-auto-complete-config",)),
    }
    return RolloutData(**{**fields, **changes})


PLAIN = rollout_data()
FULL = rollout_data(
    storage=IDENTITY,
    serving=SERVING,
    targets=(L4, H200),
    server=ServerRequirements(
        entrypoint="classify",
        gpu=True,
        shared_memory_mib=200,
        args=("--cache-config=local,size=1048576",),
        sticky_sessions=True,
    ),
)


def context(**changes: Any) -> JobContext:
    fields: dict[str, Any] = {
        "owner": OWNER,
        "config": CONFIG,
        "storage": KEYS,
        "build": Build(),
        "serving_pull_secrets": [],
        "builder_image": "registry.test/builder:26.05",
        "source_secrets": (),
        "config_maps": {},
    }
    return JobContext(**{**fields, **changes})


FULL_CONTEXT = context(
    storage=IDENTITY,
    build=BUILD,
    serving_pull_secrets=[LocalObject(name="registry")],
    source_secrets=("partner", "team.archive"),
    config_maps={"pipes": ("pipe.py", "labels.txt"), "a.b": ("x",)},
    runtime_class_name="ensembles-test-nvidia",
)


def _request() -> list[Manifest]:
    model = Model.model_validate(
        {"name": "ocr", "onnxruntime": {"source": {"uri": "s3://models/src/o.onnx"}}}
    )
    request = Request(
        namespace=OWNER.namespace,
        name=OWNER.name,
        models=(model,),
        targets=(ON_CPU,),
        server_image="registry.test/server:26.05",
        builder_image="registry.test/builder:26.05",
    )
    return [request_config_map(owner=OWNER, inputs=INPUTS, request=request)]


def _deployments(data: RolloutData) -> list[Manifest]:
    return [
        server_deployment(
            owner=OWNER,
            data=data,
            rollout=data.rollout_hash(),
            target=target,
            tools_image=data.tools_image,
            replicas=data.serving.replicas,
        )
        for target in data.targets
    ]


def _build(job_context: JobContext, target: TargetRequest | None, *, attempt: int = 1) -> list[Manifest]:
    order = NextBuild(
        kind="tensorrt" if target else "dali",
        key=KEY,
        proof=PROOF if target else "",
        model="classifier",
        target=target.name if target else None,
        gpu=target is not None,
    )
    failed = FAILED if attempt > 1 else None
    return [
        build_job(
            context=job_context, order=order, lock=LOCK, attempt=attempt, target=target, first_failure=failed
        )
    ]


EXPORT = Export.model_validate(
    {
        "image": "registry.test/exporter@sha256:" + "6" * 64,
        "command": ["python", "/inputs/export.py"],
        "args": ["--to", "$(EXPORT_OUTPUT)"],
        "env": [{"name": "SEED", "value": "1"}],
        "resources": {"requests": {"cpu": 2, "memory": "4Gi"}},
        "gpu": True,
        "output": "network.onnx",
    }
)


def _export(job_context: JobContext) -> list[Manifest]:
    order = NextBuild(
        kind="export", key=KEY, model="classifier", field="spec.models[0].tensorrt.export", gpu=True
    )
    return [
        build_job(
            context=job_context,
            order=order,
            lock=LOCK,
            attempt=1,
            target=L4,
            first_failure=None,
            export=EXPORT,
        )
    ]


def _assemble(job_context: JobContext, **changes: Any) -> list[Manifest]:
    fields: dict[str, Any] = {"number": 1, "attempt": 1, "lock": None, "built": (), "first_failure": None}
    return [assemble_job(context=job_context, inputs=INPUTS, **{**fields, **changes})]


def _verify(data: RolloutData) -> list[Manifest]:
    return [verify_job(owner=OWNER, data=data, config=CONFIG, attempt=1, first_failure=None)]


def _analyse(data: RolloutData, against: str | None) -> list[Manifest]:
    measurement = Measurement(
        rollout=data.rollout_hash(), against=against, step="2", seconds=120, since=FAILED
    )
    return [
        analyse_job(
            owner=OWNER,
            data=data,
            config=CONFIG,
            measurement=measurement,
            bounds=Analysis(),
            attempt=1,
            first_failure=None,
        )
    ]


def _prune(remove: tuple[str, ...] | None, *, owned: bool) -> list[Manifest]:
    token = "all" if remove is None else "5" * 64
    return [
        prune_job(context=context(), token=token, remove=remove, attempt=1, first_failure=None, owned=owned)
    ]


def _services() -> list[Manifest]:
    everything = {LABEL_ENSEMBLE: OWNER.name, LABEL_ROLE: "server"}
    active = PLAIN.rollout_hash()
    return [
        service(
            owner=OWNER,
            selector={**everything, LABEL_ROLLOUT: active},
            annotations={"ensembles.dev/active": active},
            sticky=False,
        ),
        rollout_service(owner=OWNER, rollout=active),
    ]


def _sticky_service() -> list[Manifest]:
    selector = {LABEL_ENSEMBLE: OWNER.name, LABEL_ROLE: "server"}
    return [service(owner=OWNER, selector=selector, annotations={}, sticky=True)]


def _budget() -> list[Manifest]:
    return [
        disruption_budget(owner=OWNER, rollout=FULL.rollout_hash(), target=target) for target in FULL.targets
    ]


SERVERS = f"servers/renderer-{RENDERER_VERSION}"
CASES: dict[str, Case] = {
    "request": _request,
    "jobs/assemble-first": lambda: _assemble(context()),
    "jobs/assemble-again": lambda: _assemble(
        FULL_CONTEXT, number=2, attempt=3, lock=LOCK, built=(KEY, "5" * 64), first_failure=FAILED
    ),
    "jobs/build-on-cpu": lambda: _build(context(), None),
    "jobs/build-on-gpu": lambda: _build(FULL_CONTEXT, L4, attempt=2),
    "jobs/build-export": lambda: _export(FULL_CONTEXT),
    "jobs/verify": lambda: _verify(PLAIN),
    "jobs/verify-two-targets": lambda: _verify(FULL),
    "jobs/analyse": lambda: _analyse(PLAIN, FULL.rollout_hash()),
    "jobs/analyse-alone": lambda: _analyse(FULL, None),
    "jobs/prune-some": lambda: _prune((REVISION, "5" * 64), owned=True),
    "jobs/prune-all": lambda: _prune(None, owned=False),
    f"{SERVERS}/plain": lambda: _deployments(PLAIN),
    f"{SERVERS}/every-setting-two-targets": lambda: _deployments(FULL),
    f"{SERVERS}/identity": lambda: _deployments(rollout_data(storage=IDENTITY)),
    "services": _services,
    "service-sticky": _sticky_service,
    "budgets": _budget,
    "history": lambda: [
        controller_revision(owner=OWNER, data=data, number=number)
        for number, data in enumerate((PLAIN, FULL), start=1)
    ],
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`case`: every golden file; `manifest`: every object in them; others: those of some kinds."""
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES)
    rendered = {
        f"{case}-{n}": manifest for case, build in CASES.items() for n, manifest in enumerate(build())
    }
    kinds = {
        "manifest": None,
        "workload": {"Job", "Deployment"},
        "job": {"Job"},
        "deployment": {"Deployment"},
        "revision": {"ControllerRevision"},
    }
    for fixture in kinds.keys() & metafunc.fixturenames:
        wanted = kinds[fixture]
        chosen = {name: m for name, m in rendered.items() if wanted is None or m["kind"] in wanted}
        metafunc.parametrize(fixture, chosen.values(), ids=chosen)


@pytest.fixture
def rendered(case: str) -> list[Manifest]:
    return CASES[case]()
