"""Artifact keys: a digest over everything that can change an artifact's bytes.

A key says "good enough": tactics are chosen by timing, so one key may give different bytes. A blob's digest
says "these bytes".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ensemble_builder.artifacts.gpu_products import chip, unshared_resource
from ensembles_api.contract import BuildKind, LockedFile
from ensembles_api.spec import Gpu


def artifact_key(
    kind: BuildKind,
    *,
    inputs: Sequence[LockedFile],
    parameters: Mapping[str, Any],
    toolchain: str,
    gpu: Gpu | None = None,
    architecture: str = "",
) -> str:
    """sha256 over what decides an artifact.

    Args:
        kind: the compiler.
        inputs: files by path and digest; where they lie does not matter.
        parameters: the compiler's own document, its revision included.
        toolchain: exact version of TensorRT or DALI, or the builder image where that is unknown.
        gpu: the GPU a TensorRT engine is timed on; its product without the -SHARED of time slicing, which
            changes nothing of the chip.
        architecture: of the CPU that an engine is built beside, where it is not the usual one.
    """
    document = {
        "kind": kind,
        "inputs": sorted([file.path, file.sha256] for file in inputs),
        "parameters": parameters,
        "toolchain": toolchain,
        "gpu": {"product": chip(gpu), "resource": unshared_resource(gpu)} if gpu else None,
        **({"architecture": architecture} if architecture else {}),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
