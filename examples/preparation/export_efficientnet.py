"""Exports EfficientNet-Lite0 from PyTorch to ONNX; runs in a Python that has PyTorch.

    python export_efficientnet.py NETWORK_WHEEL WEIGHTS OUTPUT

Probabilities come out, not logits, so that a client needs no code to read the answer.
"""

import sys
import warnings

SIZE = 224
OPSET = 13


def main(network_wheel: str, weights: str, output: str) -> None:
    sys.path.insert(0, network_wheel)
    import torch  # noqa: PLC0415 - not installed where this file is checked
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415 - found in the wheel

    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    warnings.filterwarnings("ignore", message="Constant folding")  # done afterwards, see folding.py
    torch.onnx.export(
        torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).eval(),
        torch.zeros(1, 3, SIZE, SIZE),
        output,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["probabilities"],
        dynamic_axes={"image": {0: "batch"}, "probabilities": {0: "batch"}},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
