"""Which GPU a build must find itself on."""

from __future__ import annotations

import pytest

from ensemble_builder.artifacts.gpu_products import asked_product, is_asked_for
from ensembles_api.spec import Gpu

A100 = "NVIDIA-A100-SXM4-40GB"


@pytest.mark.parametrize(
    ("gpu", "asked"),
    [
        (None, ""),
        (Gpu(), ""),
        (Gpu(product=f"{A100}-SHARED"), A100),
        (Gpu(product=A100, resource_name="nvidia.com/mig-1g.5gb"), f"{A100}-MIG-1g.5gb"),
        (Gpu(product=A100, resource_name="nvidia.com/mig-1g.5gb.shared"), f"{A100}-MIG-1g.5gb"),
        (Gpu(product=A100, resource_name="example.com/small"), A100),
        (Gpu(product=f"{A100}-MIG-1g.5gb"), f"{A100}-MIG-1g.5gb"),
        (Gpu(product=A100, resource_claim_template_name="slice"), A100),
    ],
)
def test_a_target_asks_for_a_product_and_a_slices_profile(gpu: Gpu | None, asked: str) -> None:
    assert asked_product(gpu) == asked


@pytest.mark.parametrize(
    ("found", "asked", "fits"),
    [
        (f"{A100}-MIG-1g.5gb", f"{A100}-MIG-1g.5gb", True),
        (f"{A100}-MIG-2g.10gb", f"{A100}-MIG-1g.5gb", False),
        (A100, f"{A100}-MIG-1g.5gb", False),
        (f"{A100}-MIG-1g.5gb", A100, True),
        ("NVIDIA-L4", "", True),
        ("NVIDIA-L40", "NVIDIA-L4", False),
    ],
)
def test_an_engine_of_another_slice_is_another(found: str, asked: str, fits: bool) -> None:  # noqa: FBT001
    assert is_asked_for(found, asked) is fits
