"""Rules that hold for every pod we render."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

REACH_STORAGE = {"assemble", "fetch", "keep", "upload", "verify", "prune"}
RUN_USER_CODE = {"compile", "export", "tritonserver"}


def pod_of(workload: Json) -> Json:
    pod: Json = workload["spec"]["template"]["spec"]
    return pod


def containers(workload: Json) -> Iterator[Json]:
    yield from pod_of(workload).get("initContainers", [])
    yield from pod_of(workload)["containers"]


def mounts(container: Json, path: str) -> set[str]:
    return {mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == path}


def test_every_container_is_one_of_ours(workload: Json) -> None:
    assert {c["name"] for c in containers(workload)} <= REACH_STORAGE | RUN_USER_CODE | {"analyse", "http"}


def test_only_containers_that_reach_storage_hold_credentials(workload: Json) -> None:
    for container in containers(workload):
        names = {variable["name"] for variable in container["env"]}
        keys = {name for name in names if "AWS_" in name and name != "AWS_CA_BUNDLE"}
        token = any("secrets" in mount["mountPath"] for mount in container["volumeMounts"])
        assert bool(keys) == (container["name"] in REACH_STORAGE), container["name"]
        assert not token or container["name"] in REACH_STORAGE
        assert all("secretKeyRef" in v["valueFrom"] for v in container["env"] if "valueFrom" in v)


def test_user_code_shares_no_tmp_with_containers_that_hold_credentials(workload: Json) -> None:
    tmps = {c["name"]: mounts(c, "/tmp") for c in containers(workload)}  # noqa: S108
    trusted = set().union(*(tmp for name, tmp in tmps.items() if name in REACH_STORAGE))
    for name in RUN_USER_CODE & tmps.keys():
        assert tmps[name]
        assert not tmps[name] & trusted


def test_every_volume_is_mounted_and_every_mount_has_a_volume(workload: Json) -> None:
    volumes = [volume["name"] for volume in pod_of(workload)["volumes"]]
    assert len(volumes) == len(set(volumes))
    assert set(volumes) == {m["name"] for c in containers(workload) for m in c["volumeMounts"]}


def test_every_container_requests_cpu_and_memory_or_limits_them(workload: Json) -> None:
    for container in containers(workload):
        resources = container["resources"]
        stated = resources["requests"].keys() | resources.get("limits", {}).keys()
        assert {"cpu", "memory"} <= stated, container["name"]


def test_gpus_go_where_user_models_run(workload: Json) -> None:
    for container in containers(workload):
        limits = container["resources"].get("limits", {})
        gpus = {name for name in limits if name.startswith("nvidia.com/")}
        assert not gpus or container["name"] in RUN_USER_CODE
        assert all(container["resources"]["requests"][gpu] == limits[gpu] for gpu in gpus)


def test_service_account_tokens_are_not_mounted_by_default(workload: Json) -> None:
    assert pod_of(workload)["automountServiceAccountToken"] is False
    assert pod_of(workload)["enableServiceLinks"] is False


def test_jobs_have_one_pod_a_deadline_on_it_and_no_sidecar(job: Json) -> None:
    spec = job["spec"]
    assert spec["backoffLimit"] == 0
    assert "activeDeadlineSeconds" not in spec
    assert "ttlSecondsAfterFinished" not in spec
    assert pod_of(job)["activeDeadlineSeconds"] > 0
    assert pod_of(job)["restartPolicy"] == "Never"
    template = spec["template"]["metadata"]
    assert template["labels"]["sidecar.istio.io/inject"] == "false"
    assert template["labels"].items() >= job["metadata"]["labels"].items()
