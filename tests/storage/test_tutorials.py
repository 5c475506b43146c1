"""The tutorials without a cluster: built, served by a real tritonserver with stand-in backends, asked."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ensemble_cli.exits import Exit
from ensemble_cli.main import main
from tests.ports import free_ports
from tests.storage.support.triton import with_stand_ins

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from preparation.photographs import photograph  # noqa: E402

MODELS = {
    "dali-resnet50": "ensemble_dali_resnet50",
    "dali-from-training": "efficientnet_ensemble",
    "from-config-pbtxt": "ensemble_dali_resnet50",
    "python-resnet50": "ensemble_python_resnet50",
}


@pytest.mark.parametrize("name", MODELS)
def test_a_photograph_gets_its_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, out, port = tmp_path / "files", tmp_path / "out", free_ports(3)[0]
    runpy.run_path(str(EXAMPLES / name / "prepare.py"))["prepare"](files)
    source = f"s3://models/examples/{name}={files}"
    assert main(["build", str(EXAMPLES / name / "ensemble.yaml"), "--to", str(out), "--source", source]) == 0
    found = with_stand_ins(tmp_path / "backends")
    command = [sys.executable, "-m", "ensemble_cli", "serve", str(out), "--port", str(port)]
    command += ["--tritonserver", str(found.path), "--", f"--backend-directory={found.backends}"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, env={**os.environ, **found.environment}, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 120
        while "; ask it: " not in log.read_text():
            assert server.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.3)
        for more in ([], ["--grpc"]):
            url = f"localhost:{port + bool(more)}"
            asked = ["infer", "--url", url, "--model", MODELS[name], "--image", str(photograph("coffee.png"))]
            capsys.readouterr()
            assert main([*asked, "--top", "1", *more]) == Exit.DONE
            assert "espresso" in capsys.readouterr().out
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(40) == Exit.INTERRUPTED
