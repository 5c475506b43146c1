"""What is sent to a server and read from it, without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferResult
from tritonclient.grpc.service_pb2 import ModelInferResponse

from ensemble_builder.commands.verify.inference import answer_of, grpc_input
from ensemble_cli.asking.reaching import address_at
from ensemble_cli.asking.servers import binary_answer, binary_value
from ensemble_cli.asking.tensors import ModelView, Tensor, make_inputs
from ensemble_cli.exits import CommandError, Exit

MODEL = ModelView("net", batched=True, inputs=(Tensor("x", "BF16", (3,)),), outputs=())
VALUES = [1.0, -2.5, 3.0e38]


@pytest.mark.parametrize("random", [True, False])
def test_bfloat16_goes_over_both_protocols_and_comes_back(tmp_path: Path, *, random: bool) -> None:
    np.save(tmp_path / "a=b.npy", np.array(VALUES, np.float32))
    files = [] if random else [f"x={tmp_path / 'a=b.npy'}"]
    (item,) = make_inputs(MODEL, files=files, images=(), random=random)

    raw = binary_value(item)
    assert len(raw) == 2 * 3
    assert grpc_input(item)._get_content() == raw

    header = {
        "outputs": [{"name": "y", "datatype": "BF16", "shape": [1, 3], "parameters": {"binary_data_size": 6}}]
    }
    response = ModelInferResponse(raw_output_contents=[raw])
    response.outputs.add(name="y", datatype="BF16", shape=[1, 3])
    for answer in (binary_answer(header, raw), answer_of(InferResult(response))):
        data_type, value = answer["y"]
        assert (data_type, value.dtype, value.shape) == ("BF16", np.dtype(np.float32), (1, 3))
        if not random:
            assert value[0].tolist() == pytest.approx(VALUES, rel=4e-3)


@pytest.mark.parametrize("url", ["http://here:port", "here:99999", "ftp://here", ":8000"])
def test_a_url_that_is_no_server_is_wrong_usage(url: str) -> None:
    with pytest.raises(CommandError, match="is no server") as caught:
        address_at(url, grpc=False)

    assert caught.value.status is Exit.USAGE
