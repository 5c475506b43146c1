"""Where timing caches lie: measured times are good for one TensorRT on one kind of GPU."""

from __future__ import annotations

import pytest

from ensemble_builder.commands.timing_caches import folder_of
from ensembles_api.contract import BuildOrder, Lock, Request, TargetRequest
from ensembles_api.spec import Gpu


def folder(gpu: Gpu | None, tensorrt: str = "10.16.1.11", image: str = "builder:1") -> str:
    target = TargetRequest(name="t", gpu=gpu)
    order = BuildOrder(
        kind="tensorrt",
        key="0" * 64,
        model="net",
        version=1,
        field="f",
        target="t",
        inputs=(),
        parameters={"tensorrt_version": tensorrt},
    )
    request = Request(
        namespace="n", name="n", models=(), targets=(target,), server_image="s", builder_image=image
    )
    return folder_of(Lock(request=request, sources=(), builds=(order,)), order)


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (Gpu(product="NVIDIA-L4"), "NVIDIA-L4"),
        (Gpu(product="NVIDIA-L4-SHARED"), "NVIDIA-L4"),
        (Gpu(product="NVIDIA-A100", resource_name="nvidia.com/mig-1g.5gb"), "NVIDIA-A100-mig-1g.5gb"),
        (Gpu(), "any"),
        (None, "any"),
    ],
)
def test_one_folder_for_each_gpu_type(gpu: Gpu | None, expected: str) -> None:
    assert folder(gpu) == f"timing-caches/10.16.1.11/{expected}/"


def test_an_unknown_tensorrt_is_told_by_its_image() -> None:
    first, second = folder(None, "", "builder:1"), folder(None, "", "builder:2")

    assert first.startswith("timing-caches/image-")
    assert first != second
