"""A DALI operator of the user's, compiled here, runs in the real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.e2e import live
from tests.plugins import PIPELINE, dali_plugin

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_a_pipeline_with_an_operator_of_its_own(namespace: live.Namespace, tmp_path: Path) -> None:
    uri = namespace.put("lib/libmirrored.so", dali_plugin(tmp_path).read_bytes())
    dali = {"source": {"inline": PIPELINE}, "plugins": [{"uri": uri}]}
    ensemble = namespace.apply("mirrored", [{"name": "mirrored", "maxBatchSize": 4, "dali": dali}])
    ensemble.wait(seconds=300)
    answer = ensemble.infer("mirrored", {"X": np.array([[1, 2, 3]], np.float32)})
    assert answer["DALI_OUTPUT_0"].tolist() == [[6, 5, 4]]
