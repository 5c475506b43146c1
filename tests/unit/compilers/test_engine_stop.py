"""SIGTERM while an engine is built: what was measured is saved, and nothing half-built is left."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ensemble_builder.compilers.child import blocked_stop
from ensemble_builder.compilers.parameters import TensorRTParameters
from ensemble_builder.compilers.work_folder import LOCK
from ensembles_api.contract import BuildOrder

STOPPED = 128 + signal.SIGTERM


def deep_network(layers: int) -> bytes:
    nodes, weights, last = [], [], "x"
    for index in range(layers):
        weights.append(numpy_helper.from_array(np.ones((8, 8, 3, 3), np.float32), f"w{index}"))
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        last = f"r{index}"
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8, 16, 16])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def threads_that_hear_sigterm(compiler: int) -> list[str]:
    """Of the compiler's child. One is enough for the signal to end it before it has saved anything."""
    child = Path(f"/proc/{compiler}/task/{compiler}/children").read_text().strip()
    mask = 1 << (signal.SIGTERM - 1)
    found = []
    for thread in Path(f"/proc/{child}/task").iterdir():
        status = dict(line.split(":", 1) for line in (thread / "status").read_text().splitlines())
        if not int(status["SigBlk"], 16) & mask:
            found.append(thread.name)
    return found


def test_a_build_that_is_stopped_ends_at_once_and_leaves_no_result(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/model.onnx").write_bytes(deep_network(150))
    order = BuildOrder(
        kind="tensorrt",
        key="0" * 64,
        model="net",
        version=1,
        field="spec.models[0].tensorrt",
        gpu=True,
        inputs=(),
        parameters=TensorRTParameters(max_batch_size=2).model_dump(mode="json"),
    )
    (tmp_path / "order.json").write_bytes(order.canonical())
    compiler = subprocess.Popen(
        [sys.executable, "-m", "ensemble_builder.cli", "compile", "--work", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert compiler.stdout is not None
    with compiler, compiler.stdout as log:
        for line in log:
            if '"progress"' in line:
                break
        assert len(threads_that_hear_sigterm(compiler.pid)) == 1, "the one that waits for it"
        compiler.send_signal(signal.SIGTERM)
        rest = log.read()

    assert compiler.returncode == STOPPED, rest
    assert list((tmp_path / "out").iterdir()) == []
    with (tmp_path / LOCK).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # its sidecar need not wait any longer


# A builder without progress monitors cannot be told to end. NumPy starts threads when it is imported.
DEAF = """
import sys, time
import numpy
from pathlib import Path
from ensemble_builder.compilers.tensorrt.stopping import Stop
stop = Stop()
stop.building(lambda: Path(sys.argv[1]).write_text("measured"), heeds=False)
print("building", flush=True)
time.sleep(60)
"""


FULL_DISK = """
import sys, time
from ensemble_builder.compilers.tensorrt.stopping import Stop
def save():
    raise OSError(28, "No space left on device")
stop = Stop()
stop.building(save, heeds=False)
if sys.argv[1] == "built":
    stop.built()
    print("the engine is there")
else:
    print("building", flush=True)
    time.sleep(60)
"""


def stop_while_building(program: str, argument: str) -> None:
    """SIGTERM ends it, with the status that says so."""
    command = [sys.executable, "-c", program, argument]
    with blocked_stop():
        building = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with building:
        assert building.stdout is not None
        assert building.stdout.readline() == "building\n"
        building.send_signal(signal.SIGTERM)
        assert building.wait(20) == STOPPED


def test_a_cache_that_cannot_be_written_costs_no_engine_and_holds_nobody_up() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, "built"], capture_output=True, text=True, check=True
    )
    assert "not kept: [Errno 28]" in ended.stdout
    assert "the engine is there" in ended.stdout
    stop_while_building(FULL_DISK, "stopped")


def test_a_builder_that_cannot_be_told_to_end_is_left_behind(tmp_path: Path) -> None:
    stop_while_building(DEAF, str(tmp_path / "cache"))
    assert (tmp_path / "cache").read_text() == "measured"
