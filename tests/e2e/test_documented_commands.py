"""Commands that the documentation marks `run on a cluster`, in the order of each page, on a live ensemble."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.e2e import live
from tests.e2e.examples import EXAMPLES, example_document, prepare_example
from tests.unit.docs import blocks

sys.path.insert(0, str(EXAMPLES))

from preparation.photographs import photograph

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
NAME = "efficientnet"


@dataclass(frozen=True)
class Desk:
    """A folder with the files that the pages speak of, and a kubeconfig whose namespace is the test's."""

    folder: Path
    kubeconfig: Path


@pytest.fixture(scope="module")
def desk(make_namespace: live.NamespaceFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with make_namespace("documented") as space:
        folder = tmp_path_factory.mktemp("desk")
        prepare_example(NAME, space, tmp_path_factory.mktemp(NAME))
        text = yaml.safe_dump(example_document(NAME, space))
        for place in (folder / "ensemble.yaml", folder / "examples" / NAME / "ensemble.yaml"):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        shutil.copy(photograph("coffee.png"), folder / "coffee.png")
        kubeconfig = folder / "kubeconfig"
        shutil.copy(live.environment()["KUBECONFIG"], kubeconfig)
        live.kubectl(
            *("config", "set-context", "--current", f"--namespace={space.name}", f"--kubeconfig={kubeconfig}")
        )
        space.kubectl("apply", "-f", str(folder / "ensemble.yaml"))
        live.Ensemble(space, NAME).wait(seconds=300)
        yield Desk(folder, kubeconfig)


@pytest.mark.parametrize(
    "page", blocks.pages_with(blocks.CLUSTER), ids=lambda page: str(page.relative_to(blocks.REPOSITORY))
)
def test_the_commands_of_a_page(page: Path, desk: Desk) -> None:
    text = blocks.script(page, blocks.CLUSTER).replace("NAME", NAME)
    programs = live.CACHE / "bin"
    said = blocks.run_script(
        text, folder=desk.folder, programs=programs, seconds=600, KUBECONFIG=str(desk.kubeconfig)
    )
    if "infer" in text:
        assert "espresso" in said


def test_logs_go_on_until_ctrl_c(desk: Desk) -> None:
    command = [sys.executable, "-m", "ensemble_cli", "logs", NAME, "--tail", "1", "-f"]
    command += ["--kubeconfig", str(desk.kubeconfig)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert "tritonserver | " in process.stdout.readline()
    assert process.poll() is None
    process.send_signal(2)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in errors
