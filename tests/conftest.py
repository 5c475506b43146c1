"""Tools that several kinds of tests use."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import Scheduling

from tests.gitops import judges
from tests.together import Together

CACHE = Path(os.environ.get("ENSEMBLES_CACHE") or Path.home() / ".cache" / "ensembles-cluster")
# A shell's background job starts with ctrl-C ignored, one of nohup with SIGHUP, and so would every command
# that the tests end by them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Of `pytest -n 3`, unless `--dist` says otherwise."""
    return Together(config, log) if config.getvalue("dist") == "load" else None


@pytest.fixture(scope="session")
def helm() -> str:
    """Path of helm: from PATH, else as built for the local cluster."""
    places = os.pathsep.join([os.environ.get("PATH", ""), str(CACHE / "bin")])
    found = shutil.which("helm", path=places)
    if found is None:
        pytest.fail("helm is missing: put it on PATH, or run `python3 tests/cluster/cluster.py build`")
    return found


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> judges.Judges:
    """What GitOps tools say of an ensemble."""
    return judges.build(CACHE, tmp_path_factory.mktemp("judges"))
