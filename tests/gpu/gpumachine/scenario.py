"""The run: an engine built on the GPU and served there, waited for, and found again when asked for again."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpumachine import ensembles, node
from gpumachine.ensembles import ENTRYPOINT, NAMESPACE, Kind, Watch, document
from gpumachine.places import EXAMPLE, PHOTOGRAPHS
from gpumachine.shell import Machine, RunError, eventually

Figures = dict[str, Any]
Json = dict[str, Any]
_S3 = "http://s3.s3.svc:7070"
_PHOTOGRAPH = "coffee.png"
_ANSWER = "espresso"
_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testtest"}
_COLD_SECONDS, _CACHED_SECONDS, _GONE_SECONDS = 300.0, 120.0, 90.0
_PROGRAM_SECONDS = 900.0


def prepare(here: Machine) -> None:
    """A namespace with the storage's keys, a client in it, and the sources in the bucket."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    here.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    here.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "model-storage", "namespace": NAMESPACE},
            "stringData": _KEYS,
        }
    )
    give_programs(here)
    here.kubectl("apply", "-n", NAMESPACE, "-f", here.repository / "tests/gpu/pods/client.yaml")
    here.kubectl("-n", NAMESPACE, "wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
    example = here.root / EXAMPLE
    for file in sorted(path for path in example.rglob("*") if path.is_file()):
        if file.name != PHOTOGRAPHS:
            upload(here, file.relative_to(example).as_posix(), file.read_bytes())


def upload(here: Machine, name: str, content: bytes) -> None:
    """Put a source into the bucket, where ensembles name it SOURCES/name."""
    bucket, _, prefix = ensembles.SOURCES.removeprefix("s3://").partition("/")
    _client(here, "put.py", _S3, bucket, f"{prefix}/{name}", stdin=content)


def give_programs(here: Machine) -> None:
    """Put the programs of pods/ where pods find them."""
    programs = sorted((here.repository / "tests/gpu/pods").glob("*.py"))
    data = {program.name: program.read_text() for program in programs}
    metadata = {"name": "programs", "namespace": NAMESPACE}
    here.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def cold(here: Machine, kind: Kind) -> tuple[Figures, list[Json]]:
    """From nothing to an answer; also the Jobs that asked for the GPU."""
    with Watch(here, document("efficientnet", kind)) as watch:
        seconds = watch.ready(seconds=_COLD_SECONDS)
        answer = infer(here, "efficientnet")
    jobs = [job for job in watch.seen.jobs.values() if _asks_for_gpu(job)]
    return {"ready_seconds": seconds, "answer": answer, **seen(watch)}, jobs


def waiting(here: Machine, kind: Kind) -> Figures:
    """Another engine is wanted while the first one's server holds the only GPU."""
    with Watch(here, document("waiting", kind, precision="tf32")) as watch:
        message = watch.reason("WaitingForGPU", seconds=90)
        result = {"message": message, **seen(watch)}
    delete(here, "waiting")
    return result


def cached(here: Machine, kind: Kind) -> Figures:
    """The same models under another name, the GPU being free: nothing is built."""
    with Watch(here, document("again", kind)) as watch:
        seconds = watch.ready(seconds=_CACHED_SECONDS)
        answer = infer(here, "again")
    built = [name for name, job in watch.seen.jobs.items() if _asks_for_gpu(job)]
    if built:
        raise RunError(f"the engine was built again, by {', '.join(built)}")
    return {"ready_seconds": seconds, "answer": answer, **seen(watch)}


def in_builder(here: Machine, job: Json, out: Path, *command: str) -> list[Figures]:
    """What a program of pods/ finds in the builder's image on the GPU: the figures it prints.

    Args:
        here: the machine.
        job: the product's own build Job: its fetch brings the inputs.
        out: folder for the pod's log.
        command: the program's file name and arguments.

    Raises:
        RunError: it does not end in time, or without a figure.
    """
    name = command[0].partition(".")[0]
    here.kubectl("-n", NAMESPACE, "delete", "job", name, "--ignore-not-found")
    here.apply(_in_place_of_compile(job, name, command))

    def ended() -> bool:
        status = here.get("job", name, "-n", NAMESPACE).get("status", {})
        return bool(status.get("succeeded") or status.get("failed"))

    try:
        eventually(ended, seconds=_PROGRAM_SECONDS, what=lambda: f"{name} ends", every=1)
    finally:
        log = here.kubectl("-n", NAMESPACE, "logs", f"job/{name}", "-c", "compile", check=False)
        (out / f"{name}.log").write_text(log)
    lines = [line.removeprefix("figure ") for line in log.splitlines() if line.startswith("figure ")]
    if not lines:
        raise RunError(f"{name} printed no figure: {log[-1500:]}")
    return [json.loads(line) for line in lines]


def infer(here: Machine, name: str, *, times: int = 20) -> Figures:
    """The photograph through the ensemble.

    Raises:
        RunError: it is not answered, or wrongly.
    """
    began = time.monotonic()
    address = f"{name}.{NAMESPACE}.svc:8001"
    content = (here.root / EXAMPLE / _PHOTOGRAPH).read_bytes()
    answer: Figures = json.loads(_client(here, "infer.py", address, ENTRYPOINT, str(times), stdin=content))
    best = answer["best"][0]
    if best["label"] != _ANSWER:
        raise RunError(f"the photograph of a cup of espresso is answered with {answer['best']}")
    seconds = sorted(answer["seconds"])
    return {
        "best": answer["best"],
        "first_seconds": answer["seconds"][0],
        "median_seconds": seconds[len(seconds) // 2],
        "asked_in_seconds": time.monotonic() - began,
    }


def delete(here: Machine, name: str) -> None:
    here.kubectl("-n", NAMESPACE, "delete", "inferenceensemble", name, "--wait=true", "--timeout=60s")


def free(here: Machine) -> None:
    """Wait until no pod holds the GPU, or waits for it.

    Raises:
        RunError: one still does.
    """

    def gone() -> bool:
        pods = here.get("pods", "-n", NAMESPACE)["items"]
        return not any(requests_gpu(pod["spec"]) and not _ended(pod) for pod in pods)

    eventually(gone, seconds=_GONE_SECONDS, what=lambda: "no pod holds the GPU")


def _client(here: Machine, program: str, *arguments: str, stdin: bytes) -> str:
    command = ("-n", NAMESPACE, "exec", "-i", "client", "--", "python", f"/programs/{program}")
    return here.kubectl(*command, *arguments, stdin=stdin)


def seen(watch: Watch) -> Figures:
    """What a watch saw, to be written down."""
    found = watch.seen
    return {
        "conditions": [f"{when:7.2f} s  {what}" for when, what in found.conditions],
        "containers": found.containers,
        "models": found.status.get("models", []),
        "jobs": sorted(found.jobs),
    }


def _in_place_of_compile(job: Json, name: str, command: Sequence[str]) -> Json:
    """The build Job with our program in the place of its compiler, and without its upload."""
    template = job["spec"]["template"]["spec"]
    containers = {container["name"]: container for container in template["initContainers"]}
    fetch, compiler = containers["fetch"], containers["compile"]
    compiler = {
        **compiler,
        "command": ["python", f"/programs/{command[0]}"],
        "args": list(command[1:]),
        "volumeMounts": [*compiler["volumeMounts"], {"name": "programs", "mountPath": "/programs"}],
    }
    volumes = [*template["volumes"], {"name": "programs", "configMap": {"name": "programs"}}]
    pod = {**template, "initContainers": [fetch], "containers": [compiler], "volumes": volumes}
    pod.pop("activeDeadlineSeconds", None)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def _asks_for_gpu(job: Json) -> bool:
    return requests_gpu(job["spec"]["template"]["spec"])


def _ended(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def requests_gpu(spec: Json) -> bool:
    """Whether a pod asks for the GPU."""
    containers = (*spec.get("initContainers", []), *spec["containers"])
    return any(node.RESOURCE in container.get("resources", {}).get("limits", {}) for container in containers)


def stored(here: Machine) -> dict[str, Json]:
    """Every document in storage, by its key."""
    found: dict[str, Json] = json.loads(_client(here, "read.py", _S3, "models", "store/", stdin=b""))
    return found


def forget(here: Machine, *folders: str) -> None:
    """Remove what lies in these folders of storage."""
    _client(here, "forget.py", _S3, "models", *(f"store/{folder}" for folder in folders), stdin=b"")


def save_logs(here: Machine, out: Path) -> None:
    """What a person wants to read who was not there."""
    out.mkdir(parents=True, exist_ok=True)
    everything = (
        ("objects.txt", ("get", "all,inferenceensembles,events", "-A", "-o", "wide")),
        ("ensembles.yaml", ("get", "inferenceensembles", "-A", "-o", "yaml")),
        ("pods.txt", ("describe", "pods", "-A")),
        ("node.txt", ("describe", "node")),
        ("operator.log", ("-n", "ensemble-operator", "logs", "deployment/ensemble-operator", "--tail=-1")),
    )
    for name, command in everything:
        (out / name).write_text(here.kubectl(*command, check=False))
    (out / "storage.json").write_text(json.dumps(stored(here), indent=1))
    for pod in here.get("pods", "-n", NAMESPACE)["items"]:
        name = pod["metadata"]["name"]
        text = here.kubectl("-n", NAMESPACE, "logs", name, "--all-containers", "--prefix", check=False)
        (out / f"pod-{name}.log").write_text(text)
