"""Told to end while a storage does not answer, which would hold up its threads for minutes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ensemble_cli.exits import Exit

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
PATIENT = 20.0
"""Seconds; a request to a storage that hangs takes longer to fail."""


@pytest.mark.parametrize("signals", [
    [signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP], [signal.SIGINT, signal.SIGINT],
])  # fmt: skip
def test_a_build_that_waits_for_storage(tmp_path: Path, signals: list[signal.Signals]) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        storage = {"uri": "s3://m/store", "secretName": "k",
                   "endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}"}  # fmt: skip
        net = {"name": "net", "onnxruntime": {"source": {"uri": "s3://m/net.onnx"}}}
        (tmp_path / "e.yaml").write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "ensembles.dev/v1alpha1",
                    "kind": "InferenceEnsemble",
                    "metadata": {"name": "e"},
                    "spec": {"storage": storage, "models": [net]},
                }
            )
        )
        command = [sys.executable, "-m", "ensemble_cli", "build", str(tmp_path / "e.yaml")]
        process = subprocess.Popen(
            [*command, "--to", str(tmp_path / "out")],
            env={**os.environ, **KEYS, "TMPDIR": str(scratch)}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        silent.settimeout(120)
        asked, _ = silent.accept()
        with asked:
            assert asked.recv(1)
            assert [path.name[:9] for path in scratch.iterdir()] == ["ensemble-"]
            begin = time.monotonic()
            for number in signals:
                process.send_signal(number)
                time.sleep(0.2)
            error = process.communicate(timeout=60)[1]
            took = time.monotonic() - begin
    assert process.returncode == Exit.INTERRUPTED
    assert took < PATIENT
    assert "Traceback" not in error
    assert list(scratch.iterdir()) == []
