"""Names, selectors, and single decisions of the builders."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_operator import names
from ensemble_operator.config import OperatorConfig
from ensemble_operator.resources import gpu, tritonserver
from ensemble_operator.resources.budgets import disruption_budget
from ensemble_operator.resources.history import controller_revision
from ensemble_operator.resources.jobs import JobContext, assemble_job, build_job, prune_job, verify_job
from ensemble_operator.resources.owner import Owner
from ensemble_operator.resources.quantities import requirements
from ensemble_operator.resources.rollout import RolloutData
from ensemble_operator.resources.servers import server_deployment, server_selector
from ensemble_operator.resources.services import rollout_service, service
from ensembles_api.contract import NextBuild, ServerRequirements, TargetRequest, credentials_prefix
from ensembles_api.names import LABEL_ENSEMBLE, LABEL_ROLE
from ensembles_api.spec import Build, Gpu, Resources, Serving, Storage

Json = dict[str, Any]

LONGEST = Owner(namespace="n" * 63, name="e" * 40, uid="u")
CONFIG = OperatorConfig(tools_image="tools:1")
STORAGE = Storage.model_validate({"uri": "s3://b/p", "secretName": "keys"})
TARGETS = (TargetRequest(name="t" * 20, gpu=Gpu()), TargetRequest(name="cpu"))
DATA = RolloutData(
    uid="u",
    inputs="1" * 64,
    revision="2" * 64,
    lock="3" * 64,
    storage=STORAGE,
    server_image="server:1",
    tools_image="tools:1",
    image_pull_policy="Always",
    serving=Serving(),
    verify_seconds=60,
    targets=TARGETS,
    server=ServerRequirements(),
)
ROLLOUT = DATA.rollout_hash()
CONTEXT = JobContext(
    owner=LONGEST,
    config=CONFIG,
    storage=STORAGE,
    build=Build(),
    serving_pull_secrets=[],
    builder_image="builder:1",
    source_secrets=("other-keys",),
    config_maps={},
)
ORDER = NextBuild(kind="tensorrt", key="4" * 64, model="m", target=TARGETS[0].name, gpu=True)
LATE: dict[str, Any] = {"attempt": 999, "first_failure": None}


def deployments(data: RolloutData = DATA) -> list[Json]:
    same: dict[str, Any] = {"owner": LONGEST, "rollout": ROLLOUT, "tools_image": "tools:1", "replicas": 1}
    return [server_deployment(data=data, target=target, **same) for target in data.targets]


def jobs() -> list[Json]:
    return [
        assemble_job(context=CONTEXT, inputs="1" * 64, number=8, lock=None, built=(), **LATE),
        build_job(context=CONTEXT, order=ORDER, lock="3" * 64, target=TARGETS[0], **LATE),
        verify_job(owner=LONGEST, data=DATA, config=CONFIG, **LATE),
        prune_job(context=CONTEXT, token="all", remove=None, owned=True, **LATE),
    ]


def budget(target: TargetRequest) -> Json:
    return disruption_budget(owner=LONGEST, rollout=ROLLOUT, target=target)


def everything() -> list[Json]:
    return [
        *jobs(),
        *deployments(),
        *(budget(target) for target in TARGETS),
        service(owner=LONGEST, selector={}, annotations={}, sticky=False),
        rollout_service(owner=LONGEST, rollout=ROLLOUT),
        controller_revision(owner=LONGEST, data=DATA, number=1),
    ]


def pod_labels(workload: Json) -> Json:
    labels: Json = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def selects(selector: Json, labels: Json) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("thing", everything(), ids=lambda thing: thing["kind"])
def test_names_and_label_values_fit(thing: Json) -> None:
    metadata = thing["metadata"]
    assert len(metadata["name"]) <= 63
    assert all(len(value) <= 63 for value in metadata["labels"].values())
    assert metadata["labels"][LABEL_ROLE]


def test_names_differ() -> None:
    found = [(m["kind"], m["metadata"]["name"]) for m in everything()]
    assert len(found) == len(set(found))


def test_a_deployment_selects_its_own_pods_alone() -> None:
    for one in deployments():
        selector = one["spec"]["selector"]["matchLabels"]
        assert [selects(selector, pod_labels(other)) for other in [*deployments(), *jobs()]].count(True) == 1
        assert selects(selector, pod_labels(one))


def test_no_service_and_no_budget_counts_the_pods_of_jobs() -> None:
    """Their pods would be endpoints while they run, and requests to them would be lost."""
    everyone = {LABEL_ENSEMBLE: LONGEST.name, LABEL_ROLE: "server"}
    selectors = [
        service(owner=LONGEST, selector=everyone, annotations={}, sticky=False)["spec"]["selector"],
        rollout_service(owner=LONGEST, rollout=ROLLOUT)["spec"]["selector"],
    ]
    for selector in selectors:
        assert all(selects(selector, pod_labels(one)) for one in deployments())
        assert not any(selects(selector, pod_labels(job)) for job in jobs())
    for target, deployment in zip(TARGETS, deployments(), strict=True):
        selector = budget(target)["spec"]["selector"]["matchLabels"]
        assert selector == server_selector(LONGEST, ROLLOUT, target.name)
        assert selects(selector, pod_labels(deployment))
        assert not any(selects(selector, pod_labels(job)) for job in jobs())


def test_service_ports_are_looked_up_by_name_in_the_servers() -> None:
    wanted = {p["targetPort"] for p in rollout_service(owner=LONGEST, rollout=ROLLOUT)["spec"]["ports"]}
    assert wanted == {"http", "grpc", "metrics"}
    assert named_ports(enabled=True) == {"http": 8000, "http-direct": 8080, "grpc": 8001, "metrics": 8002}
    assert named_ports(enabled=False) == {"http": 8000, "grpc": 8001, "metrics": 8002}


def with_proxy(**settings: Any) -> Any:
    """The PodSpec of a server with these settings of spec.serving.httpProxy."""
    serving = Serving.model_validate({"httpProxy": settings, "drainSeconds": 60})
    [one, _] = deployments(DATA.model_copy(update={"serving": serving}))
    return one["spec"]["template"]["spec"]


def named_ports(*, enabled: bool) -> dict[str, int]:
    containers = with_proxy(enabled=enabled)["containers"]
    return {p["name"]: p["containerPort"] for container in containers for p in container["ports"]}


def test_probes_of_tritonserver_ask_tritonserver() -> None:
    for enabled in (True, False):
        server = with_proxy(enabled=enabled)["containers"][0]
        ports = {p["name"]: p["containerPort"] for p in server["ports"]}
        asked = {server[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "readiness", "liveness")}
        assert {ports[port] for port in asked} == {8080 if enabled else 8000}
        assert f"--http-port={8080 if enabled else 8000}" in server["args"]


def test_the_http_proxy_leaves_as_tritonserver_does() -> None:
    pod = with_proxy()
    server, proxy = pod["containers"]
    environment = {each["name"]: each["value"] for each in proxy["env"]}
    grace = int(environment["ENSEMBLES_GRACE_MILLISECONDS"]) / 1000
    hard_stop = int(environment["ENSEMBLES_HARD_STOP_MILLISECONDS"]) / 1000
    assert "lifecycle" not in proxy, "clients are asked to leave at once"
    assert grace == server["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert "--exit-timeout-secs=60" in server["args"]
    assert grace + 60 < grace + hard_stop < pod["terminationGracePeriodSeconds"]
    assert (
        f"--grpc-max-connection-age={environment['ENSEMBLES_CONNECTION_AGE_MILLISECONDS']}" in server["args"]
    )


def test_resources_of_the_http_proxy_are_the_users() -> None:
    assert with_proxy()["containers"][1]["resources"] == {
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"memory": "512Mi"},
    }
    stated = with_proxy(resources={"requests": {"memory": "1Gi"}, "limits": {"cpu": 2}})["containers"][1]
    assert stated["resources"] == {"requests": {"memory": "1Gi"}, "limits": {"cpu": "2"}}
    less = with_proxy(resources={"limits": {"memory": "32Mi"}})["containers"][1]
    assert less["resources"] == {"requests": {"cpu": "50m"}, "limits": {"memory": "32Mi"}}


def test_other_settings_of_the_http_proxy_are_another_rollout() -> None:
    serving = Serving.model_validate({"httpProxy": {"enabled": False}})
    without = DATA.model_copy(update={"serving": serving})
    assert without.rollout_hash() != DATA.model_copy(update={"serving": Serving()}).rollout_hash()


def test_the_users_pod_labels_do_not_replace_ours() -> None:
    serving = Serving(pod_labels={LABEL_ENSEMBLE: "another", "team": "a"})
    data = DATA.model_copy(update={"serving": serving})
    [one, _] = deployments(data)
    assert pod_labels(one)[LABEL_ENSEMBLE] == LONGEST.name
    assert pod_labels(one)["team"] == "a"


def test_a_shared_build_belongs_to_no_ensemble_by_label_nor_controller() -> None:
    job = build_job(context=CONTEXT, order=ORDER, lock="3" * 64, target=TARGETS[0], **LATE)
    assert LABEL_ENSEMBLE not in job["metadata"]["labels"]
    assert [o.get("controller") for o in job["metadata"]["ownerReferences"]] == [None]
    assert job["metadata"]["annotations"][names.ANNOTATION_KEY] == ORDER.key
    other = Owner(namespace=LONGEST.namespace, name="other", uid="other")
    theirs = build_job(
        context=JobContext(**{**vars(CONTEXT), "owner": other}), order=ORDER, lock="3" * 64,
        target=TARGETS[0], **LATE,
    )  # fmt: skip
    assert theirs["metadata"].pop("ownerReferences") != job["metadata"].pop("ownerReferences")
    assert theirs == job


def test_only_the_pruning_of_a_deleted_ensemble_has_no_owner() -> None:
    prune: dict[str, Any] = {"context": CONTEXT, "token": "all", "remove": None, **LATE}
    assert "ownerReferences" not in prune_job(**prune, owned=False)["metadata"]
    assert prune_job(**prune, owned=True)["metadata"]["ownerReferences"][0]["uid"] == LONGEST.uid


def test_a_claim_gives_the_gpu_where_the_target_has_a_template() -> None:
    gpu = Gpu(product="NVIDIA-L4", resource_claim_template_name="one-gpu")
    target = TargetRequest(name=TARGETS[0].name, gpu=gpu)
    build = build_job(context=CONTEXT, order=ORDER, lock="3" * 64, target=target, **LATE)
    (server,) = deployments(DATA.model_copy(update={"targets": (target,)}))
    for manifest, name in ((build, "compile"), (server, "tritonserver")):
        pod = manifest["spec"]["template"]["spec"]
        assert pod["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
        assert "nodeSelector" not in pod
        resources = {c["name"]: c["resources"] for c in (*pod["initContainers"], *pod["containers"])}
        one = resources.pop(name)
        assert one["claims"] == [{"name": "gpu"}]
        assert "nvidia.com/gpu" not in {**one["requests"], **one.get("limits", {})}
        assert not any("claims" in others for others in resources.values())


def test_builds_wait_in_the_users_queue_with_the_users_priority() -> None:
    settings = {
        "queue_name": "gpus",
        "priority_class_name": "low",
        "workload_priority_class_name": "urgent",
    }
    build = CONTEXT.build.model_copy(update=settings)
    context = JobContext(**{**vars(CONTEXT), "build": build})
    job = build_job(context=context, order=ORDER, lock="3" * 64, target=TARGETS[0], **LATE)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert job["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "urgent"
    assert job["spec"]["template"]["spec"]["priorityClassName"] == "low"


def test_keys_of_sources_reach_fetch_but_not_upload() -> None:
    job = build_job(context=CONTEXT, order=ORDER, lock="3" * 64, target=None, **LATE)
    pod = job["spec"]["template"]["spec"]
    prefix = credentials_prefix("other-keys")

    def prefixed(container: Json) -> list[str]:
        return [v["name"] for v in container["env"] if v["name"].startswith(prefix)]

    assert len(prefixed(pod["initContainers"][0])) == 3
    assert prefixed(pod["containers"][0]) == []


def test_a_build_takes_one_gpu_of_the_targets_kind() -> None:
    target = TargetRequest(
        name="big", gpu=Gpu(product="NVIDIA-H200", count=8, resource_name="nvidia.com/mig")
    )
    job = build_job(context=CONTEXT, order=ORDER, lock="3" * 64, target=target, **LATE)
    pod = job["spec"]["template"]["spec"]
    assert _compile(pod)["resources"]["limits"] == {"nvidia.com/mig": "1"}
    assert pod["nodeSelector"] == {gpu.PRODUCT_LABEL: "NVIDIA-H200"}
    on_cpu = ORDER.model_copy(update={"gpu": False})
    job = build_job(context=CONTEXT, order=on_cpu, lock="3" * 64, target=target, **LATE)
    assert "nodeSelector" not in job["spec"]["template"]["spec"]
    assert "limits" not in _compile(job["spec"]["template"]["spec"])["resources"]


def _compile(pod: Json) -> Json:
    return next(container for container in pod["initContainers"] if container["name"] == "compile")


def test_an_engines_build_can_be_stopped_without_loss() -> None:
    """keep is a sidecar, started before compile: both get SIGTERM, and upload still waits for compile."""
    job = build_job(context=CONTEXT, order=ORDER, lock="3" * 64, target=TARGETS[0], **LATE)
    pod = job["spec"]["template"]["spec"]
    assert [container["name"] for container in pod["initContainers"]] == ["fetch", "keep", "compile"]
    assert pod["initContainers"][1]["restartPolicy"] == "Always"
    grace = pod["initContainers"][1]["args"][-1]
    assert int(grace) == pod["terminationGracePeriodSeconds"]
    other = ORDER.model_copy(update={"kind": "dali"})
    job = build_job(context=CONTEXT, order=other, lock="3" * 64, target=None, **LATE)
    pod = job["spec"]["template"]["spec"]
    assert [container["name"] for container in pod["initContainers"]] == ["fetch", "compile"]


def test_another_proof_of_a_key_is_another_job() -> None:
    first, second = (
        build_job(
            context=CONTEXT,
            order=ORDER.model_copy(update={"proof": proof * 64}),
            lock="3" * 64,
            target=TARGETS[0],
            **LATE,
        )["metadata"]
        for proof in ("a", "b")
    )
    assert first["name"] != second["name"]
    assert first["annotations"][names.ANNOTATION_PROOF] == "a" * 64


def test_a_limit_alone_takes_the_default_requests_place() -> None:
    resources = Resources.model_validate({"limits": {"memory": "64Mi"}})
    found = requirements(defaults={"cpu": "1", "memory": "1Gi"}, resources=resources)
    assert found == {"requests": {"cpu": "1"}, "limits": {"memory": "64Mi"}}


def test_the_users_toleration_of_the_gpu_taint_is_enough() -> None:
    mine = {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present"}
    assert gpu.tolerations([mine], Gpu()) == [mine]
    assert gpu.tolerations([], None) == []
    assert [t["key"] for t in gpu.tolerations([{"operator": "Exists", "key": "x"}], Gpu())] == [
        "x",
        "nvidia.com/gpu",
    ]


@given(st.integers(1, 3600))
def test_the_grace_period_holds_the_sleep_and_the_whole_drain(drain: int) -> None:
    shutdown = tritonserver.Shutdown(drain)
    sleep = shutdown.lifecycle()["preStop"]["sleep"]["seconds"]
    assert shutdown.grace_seconds > sleep + drain
    assert f"--exit-timeout-secs={drain}" in tritonserver.arguments(
        drain_seconds=drain, behind_proxy=True, derived=(), extra=()
    )


def test_grpc_clients_have_reconnected_before_the_server_is_told_to_end() -> None:
    latest = tritonserver.CONNECTION_AGE_MILLISECONDS / 1000 * 1.1
    for_proxies = 3
    assert for_proxies + latest < tritonserver.PROPAGATION_SECONDS


@given(st.integers(10, 86400))
def test_the_startup_probe_allows_all_of_startup_seconds(seconds: int) -> None:
    probe = tritonserver.probes(startup_seconds=seconds, behind_proxy=True)["startupProbe"]
    allowed = probe["periodSeconds"] * probe["failureThreshold"]
    assert seconds <= allowed < seconds + probe["periodSeconds"]


def test_an_option_of_the_user_replaces_our_default() -> None:
    args = tritonserver.arguments(
        drain_seconds=1, behind_proxy=True, derived=(), extra=("--grpc-max-connection-age=7",)
    )
    assert [a for a in args if a.startswith("--grpc-max-connection-age=")] == ["--grpc-max-connection-age=7"]


def test_plugins_are_named_as_their_backends_take_them() -> None:
    plugins = {"dali": ("plugins/a.so", "plugins/b.so"), "tensorrt": ("plugins/c.so", "plugins/d.so")}
    data = DATA.model_copy(update={"server": ServerRequirements(plugins=plugins)})
    for deployment in deployments(data):
        server = deployment["spec"]["template"]["spec"]["containers"][0]
        assert server["args"][-2:] == [
            "--backend-config=tensorrt,plugins=/models-volume/plugins/c.so;/models-volume/plugins/d.so",
            "--backend-config=dali,plugin_libs=/models-volume/plugins/a.so:/models-volume/plugins/b.so",
        ]


def test_verify_waits_for_all_replicas_of_all_targets() -> None:
    data = DATA.model_copy(update={"serving": Serving(replicas=3)})
    job = verify_job(owner=LONGEST, data=data, config=CONFIG, **LATE)
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[args.index("--replicas") + 1] == "6"
    scaled = verify_job(owner=LONGEST, data=data, config=CONFIG, servers=4, **LATE)
    assert "4" in scaled["spec"]["template"]["spec"]["containers"][0]["args"]
    assert (
        args[args.index("--host") + 1]
        == f"{names.rollout(LONGEST.name, data.rollout_hash())}.{'n' * 63}.svc.cluster.local"
    )


def test_shared_memory_is_never_less_than_a_containers_usual() -> None:
    for needed, limit in ((0, "64Mi"), (65, "65Mi")):
        data = DATA.model_copy(update={"server": ServerRequirements(shared_memory_mib=needed)})
        [one, _] = deployments(data)
        volumes = {v["name"]: v for v in one["spec"]["template"]["spec"]["volumes"]}
        assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": limit}
