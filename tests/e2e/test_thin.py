"""The thinnest whole path: one ONNX model, apply → publish → serve → infer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble_cli.exits import Exit
from ensemble_cli.main import main
from tests.e2e import live
from tests.e2e.models import affine_onnx

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


def test_one_onnx_model_from_apply_to_answer(
    namespace: live.Namespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    uri = namespace.put("double.onnx", affine_onnx(scale=2))
    ensemble = namespace.apply("double", [{"name": "double", "onnxruntime": {"source": {"uri": uri}}}])
    ensemble.wait()
    data = np.arange(8, dtype=np.float32).reshape(2, 4)
    for protocol in ("http", "grpc"):
        answer = ensemble.infer("double", {"X": data}, protocol=protocol)
        np.testing.assert_array_equal(answer["Y"], data * 2)
    manifest = [key for key in namespace.objects() if key.endswith("/manifest.json")]
    assert manifest == [
        f"store/ensembles/{namespace.name}/double/revisions/{ensemble.status['revision']}/manifest.json"
    ]
    _ask_from_the_command_line(ensemble, data, capsys, tmp_path)


def _ask_from_the_command_line(
    ensemble: live.Ensemble, data: Any, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    """`kubectl ensemble` forwards ports and reads logs by itself."""
    np.save(folder / "x.npy", data)
    where = ["--kubeconfig", live.environment()["KUBECONFIG"], "-n", ensemble.namespace.name]
    for protocol in ([], ["--grpc"]):
        asked = ["infer", "double", "--input", f"X={folder / 'x.npy'}", "--top", "0", "-o", "json"]
        capsys.readouterr()
        assert main([*asked, *protocol, *where]) == Exit.DONE
        assert json.loads(capsys.readouterr().out)["answers"][0]["Y"]["values"] == (data * 2).tolist()
    for command in (["status", "double"], ["logs", "double", "--tail", "50"]):
        assert main([*command, *where]) == Exit.DONE
        assert capsys.readouterr().out
