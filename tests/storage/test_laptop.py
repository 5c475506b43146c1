"""Building and serving without a cluster: the Jobs' revision, in a folder, on a real tritonserver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble_cli.documents import write_yaml
from ensemble_cli.exits import Exit
from ensemble_cli.main import main
from tests.ports import free_ports
from tests.storage.support.s3server import Server
from tests.storage.support.triton import program
from tests.storage.support.workbench import Workbench, onnx_model
from tests.storage.test_verify import CODE, DECOUPLED, STREAM


def write(
    file: Path, models: list[dict[str, Any]], *, verification: dict[str, Any] | None = None, **storage: str
) -> str:
    document: dict[str, Any] = {
        "apiVersion": "ensembles.dev/v1alpha1",
        "kind": "InferenceEnsemble",
        "metadata": {"name": "vision", "namespace": "demo"},
        "spec": {
            "storage": {"uri": "s3://models/store", "secretName": "keys", **storage},
            "runtime": {"serverImage": "server:1", "builderImage": "builder:1"},
            "models": models,
            **({"verification": verification} if verification else {}),
        },
    }
    file.write_text(write_yaml(document))
    return str(file)


@pytest.mark.s3
def test_a_folder_gets_the_revision_that_the_jobs_publish(
    bench: Workbench, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = bench.put("net.onnx", onnx_model())
    models: list[dict[str, Any]] = [
        {"name": "first", "maxBatchSize": 4, "onnxruntime": {"source": {"uri": net}}},
        {"name": "second", "maxBatchSize": 4, "onnxruntime": {"source": {"uri": net}}},
        {"name": "all", "ensemble": {"chain": ["first", "second"]}},
    ]
    by_jobs = bench.assemble(bench.request(*models)).revision
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/net.onnx").write_bytes(onnx_model())
    file = write(tmp_path / "e.yaml", models, endpoint=server.endpoint)
    for way, more in (
        ("s3", []),
        ("folder", ["--source", f"{net.removesuffix('/net.onnx')}={tmp_path / 'sources'}"]),
    ):
        assert main(["build", file, "--to", str(tmp_path / way), *more]) == Exit.DONE
        assert f"revision {by_jobs[:12]}" in capsys.readouterr().out
        manifest = (tmp_path / way / "manifest.json").read_bytes()
        assert manifest == bench.store.root.get(
            bench.store.key(f"ensembles/demo/vision/revisions/{by_jobs}/manifest.json")
        )


@dataclass(frozen=True)
class Serving:
    http: int
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """`build`, then `serve`, of two Python models."""
    folder = tmp_path_factory.mktemp("laptop")
    batch = {"input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
             "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}]}  # fmt: skip
    stream = {**batch, "model_transaction_policy": {"decoupled": True}}
    assert "decoupled" in DECOUPLED
    models: list[dict[str, Any]] = [
        {"name": "stream", "config": stream,
         "python": {"source": {"inline": STREAM.format(count=2, expression="x")}}},
        {"name": "double", "maxBatchSize": 8, "config": batch,
         "python": {"source": {"inline": CODE.format(expression="x * 2")}},
         "labels": [{"output": "y", "source": {"inline": "cat\ndog\nfox\n"}}]},
        {"name": "wrapped", "ensemble": {"chain": ["double"]}},
    ]  # fmt: skip
    file = write(folder / "e.yaml", models)
    assert main(["build", file, "--to", str(folder / "out")]) == Exit.DONE
    found, port = program(), free_ports(3)[0]
    command = [sys.executable, "-m", "ensemble_cli", "serve", str(folder / "out"), "--port", str(port)]
    command += ["--tritonserver", str(found.path), "--", f"--backend-directory={found.backends}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **found.environment}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        while main(["infer", "--url", f"localhost:{port}", "--model", "double", "--random"]) != Exit.DONE:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.3)
        yield Serving(port, process)
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(30)
    assert status == Exit.INTERRUPTED
    assert f"ready: HTTP on {port}, gRPC on {port + 1}; ask it: " in (folder / "log").read_text()
    assert main(["infer", "--url", f"localhost:{port}", "--model", "double", "--random"]) == Exit.ABSENT


@pytest.mark.parametrize("model", ["double", "wrapped"])
@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
def test_infer(
    serving: Serving,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    grpc: bool,  # noqa: FBT001
    model: str,
) -> None:
    """Labels come with the classes, of an ensemble those of its members."""
    np.save(tmp_path / "x.npy", np.array([1, 3, 2], np.float32))
    url = f"http://localhost:{serving.http + grpc}"
    arguments = ["infer", "--url", url, "--model", model, "--input", f"x={tmp_path}/x.npy"]
    arguments += ["--grpc"] if grpc else []
    capsys.readouterr()
    assert main([*arguments, "--top", "2"]) == Exit.DONE
    assert capsys.readouterr().out == "y:\n    6.0000  dog\n    4.0000  fox\n"
    assert main([*arguments, "--top", "0", "-o", "json"]) == Exit.DONE
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer == {"y": {"datatype": "FP32", "shape": [1, 3], "values": [[2.0, 6.0, 4.0]]}}


def test_streams_need_grpc(serving: Serving, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", "stream", "--random"]
    assert main(["infer", "--url", f"localhost:{serving.http}", *model]) == Exit.NO
    assert capsys.readouterr().err.endswith("answers in streams, which HTTP has not; use --grpc\n")
    assert main(["infer", "--url", f"localhost:{serving.http + 1}", *model, "--grpc"]) == Exit.DONE
    assert capsys.readouterr().out.count("y: FP32 [3]") == 2


def test_bench(serving: Serving, capsys: pytest.CaptureFixture[str]) -> None:
    load = ["--random", "--concurrency", "1,2", "--batch", "1,8", "--seconds", "0.3"]
    url = ["--url", f"localhost:{serving.http}"]
    capsys.readouterr()
    assert main(["bench", *url, "--model", "double", *load, "-o", "json"]) == Exit.DONE
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["batch"], row["concurrency"]) for row in rows] == [(1, 1), (1, 2), (8, 1), (8, 2)]
    assert all(0 < row["p50"] <= row["p90"] <= row["p99"] and row["per_second"] > 0 for row in rows)
    assert not any(row["errors"] for row in rows)
    assert main(["bench", *url, "--model", "double", *load, "--batch", "9", "--concurrency", "1"]) == Exit.NO
    assert "batch-size must be <= 8" in capsys.readouterr().err


def test_graph_of_a_running_server(serving: Serving, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "--url", f"localhost:{serving.http}", "--model", "double"]) == Exit.DONE
    assert "-> y  FP32 [3]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "treble"], "unknown model"),
        (["--model", "double"], "model 'double' also wants x FP32 [3]; give --image FILE"),
        (["--model", "double", "--image", "x.jpg"], "0 inputs of 'double' take encoded bytes"),
        (["--model", "double", "--input", "z=x.npy"], "model 'double' has no input 'z'; it has x FP32 [3]"),
        (["--model", "double", "--input", "x={file}"], "holds float64, input x FP32 [3] does not"),
        (["--random"], "it is not known which model to ask"),
    ],
)  # fmt: skip
def test_what_infer_refuses(
    serving: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    np.save(tmp_path / "double.npy", np.zeros(3))
    given = [text.format(file=tmp_path / "double.npy") for text in arguments]
    assert main(["infer", "--url", f"localhost:{serving.http}", *given]) != Exit.DONE
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
