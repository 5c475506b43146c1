"""GPUs by the name of their node label nvidia.com/gpu.product: what a target asks for, what a build found."""

from __future__ import annotations

import re

from ensembles_api.spec import Gpu

_SHARED, _SHARED_RESOURCE = "-SHARED", ".shared"
"""What time slicing adds to the label, and may add to the resource; it changes nothing of the chip."""
_SLICE = re.compile(r"/mig-(?P<profile>[^/]+)$")
"""The resource of MIG slices of one profile (strategy "mixed" of NVIDIA's device plugin)."""


def chip(gpu: Gpu | None) -> str:
    """The product without what says how it is shared. Empty for any."""
    return (gpu.product or "").removesuffix(_SHARED) if gpu else ""


def unshared_resource(gpu: Gpu) -> str:
    """The resource without what says how it is shared: nvidia.com/gpu, or that of a slice."""
    return gpu.resource_name.removesuffix(_SHARED_RESOURCE)


def asked_product(gpu: Gpu | None) -> str:
    """The product, with its slice's profile where the resource names one: the label is that of the whole GPU
    then. Empty for any.
    """
    product = chip(gpu)
    found = _SLICE.search(unshared_resource(gpu)) if gpu and not gpu.resource_claim_template_name else None
    return f"{product}-MIG-{found['profile']}" if product and found and "-MIG-" not in product else product


def is_asked_for(found: str, asked: str) -> bool:
    """Whether a GPU is of the product asked for. A slice will do for a whole one: a claim may select it.

    Args:
        found: the product, and the profile of a slice, as a builder found them.
        asked: of `asked_product`, or a label's value; empty for any.
    """
    product = asked.removesuffix(_SHARED)
    return not product or _letters(found) == _letters(product) or found.startswith(f"{product}-MIG-")


def _letters(product: str) -> str:
    """A profile such as 1g.10gb+me is written 1g.10gb.me where a plus may not stand."""
    return re.sub(r"[^A-Za-z0-9]", "", product)
