"""The demo's steps in their order."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path

from livedemo import asking, dependencies, operator, storage, watching
from livedemo.clusters import choose
from livedemo.kubernetes import Cluster
from livedemo.places import (
    CHART,
    EXAMPLE,
    EXAMPLES,
    NAMESPACE,
    OPERATOR,
    OPERATOR_NAMESPACE,
    PHOTOGRAPH,
    S3_NAMESPACE,
)
from livedemo.progress import Laps, bold, detail, say


def up(choice: str) -> None:
    laps = Laps()
    laps.note("dependencies", dependencies.seconds_since_start())
    place = choose(choice)
    with laps.step("cluster"):
        cluster = place.up()
    with laps.step("images"):
        mark = place.images()
    with laps.step("S3 server"):
        storage.install(cluster, fixed_address=place.fixed_address)
        cluster.namespace(NAMESPACE)
        storage.give_keys(cluster)
    with laps.step("operator (helm)"):
        operator.install(cluster, mark=mark)
    with laps.step("model"), tempfile.TemporaryDirectory() as folder:
        _prepare(cluster, Path(folder))
    with laps.step(f"kubectl apply -f examples/{EXAMPLE}/ensemble.yaml"):
        asking.validate(cluster, EXAMPLES / EXAMPLE / "ensemble.yaml")
        detail(cluster.kubectl("apply", "-f", EXAMPLES / EXAMPLE / "ensemble.yaml").strip())
    say(f"{bold('▸')} {EXAMPLE}")
    for stage, seconds in watching.until_ready(cluster, EXAMPLE).items():
        laps.note(f"  {stage}", seconds)
    with laps.step("two answers, a new process and a forwarded port each"):
        _ask(cluster)
    say()
    say(laps.table("where the time went"))
    say()
    _farewell(cluster)


def down(choice: str, *, keep_cluster: bool) -> None:
    place = choose(choice)
    cluster = place.found()
    if cluster is None:
        say("no cluster answers: nothing to remove")
    else:
        _remove(cluster)
    if not keep_cluster:
        place.down()


def _prepare(cluster: Cluster, folder: Path) -> None:
    """Makes the example's files and uploads them."""
    runpy.run_path(str(EXAMPLES / EXAMPLE / "prepare.py"))["prepare"](folder)
    storage.upload(cluster, folder, f"examples/{EXAMPLE}")


def _ask(cluster: Cluster) -> None:
    photographs = runpy.run_path(str(EXAMPLES / "preparation" / "photographs.py"))
    photograph: Path = photographs["photograph"](PHOTOGRAPH)
    asking.infer(cluster, EXAMPLE, photograph)
    asking.infer(cluster, EXAMPLE, photograph, "--grpc")


def _farewell(cluster: Cluster) -> None:
    if kubeconfig := cluster.env.get("KUBECONFIG"):
        say(f"export KUBECONFIG={kubeconfig}")
    say(f"kubectl -n {NAMESPACE} get ie        # the short name of InferenceEnsemble")
    say(f".venv/bin/kubectl-ensemble status {EXAMPLE} -n {NAMESPACE}")
    say("make demo-down                  # removes all of this")


def _remove(cluster: Cluster) -> None:
    laps = Laps()
    with laps.step("ensembles"):
        if cluster.exists(f"crd/{watching.RESOURCE}"):
            detail(
                cluster.kubectl(
                    "delete", watching.RESOURCE, "--all", "-n", NAMESPACE, "--timeout=120s"
                ).strip()
            )
    with laps.step("operator"):
        if CHART.exists() and cluster.exists("namespace", OPERATOR_NAMESPACE):
            arguments = ("uninstall", OPERATOR, "-n", OPERATOR_NAMESPACE, "--wait", "--ignore-not-found")
            cluster.stream("helm", *arguments)
    with laps.step("namespaces"):
        names = (NAMESPACE, S3_NAMESPACE, OPERATOR_NAMESPACE)
        detail(cluster.kubectl("delete", "namespace", *names, "--ignore-not-found", "--timeout=180s").strip())
