"""The thinnest whole path: one ONNX model, apply → publish → serve → infer."""

from __future__ import annotations

import numpy as np
import pytest

from tests.e2e import live
from tests.e2e.models import affine_onnx

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]


def test_one_onnx_model_from_apply_to_answer(namespace: live.Namespace) -> None:
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
