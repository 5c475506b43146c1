"""What an image can compile with. Used while the builder image is built, and by whoever asks the image.

python -m ensemble_builder.compilers.toolchain bindings   pip's name of the Python bindings that the image's
                                                          TensorRT needs; nothing where it has no TensorRT
python -m ensemble_builder.compilers.toolchain show       versions as JSON; fails where the bindings are of
                                                          another TensorRT than the library
"""

from __future__ import annotations

import ctypes
import importlib
import json
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

LIBRARY_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/tensorrt/lib",
    "/opt/tritonserver/lib",
)
BINDINGS = ("tensorrt", "tensorrt_bindings")
"""Modules that may carry TensorRT's Python API; the second is what the small wheels of bindings install."""
_VERSION_PARTS = ("Major", "Minor", "Patch", "Build")


@dataclass(frozen=True)
class Toolchain:
    """Full versions; empty where the image has none."""

    dali: str
    tensorrt: str
    python: str


class ToolchainError(Exception):
    """The image's parts do not fit together."""


def main(arguments: Sequence[str]) -> None:
    if arguments == ["bindings"]:
        print(bindings_requirement(tensorrt_library()))  # noqa: T201 - read by the image's build
    elif arguments == ["show"]:
        print(json.dumps(asdict(toolchain())))  # noqa: T201 - read by people and by the release table's script
    else:
        raise SystemExit(__doc__)


def toolchain() -> Toolchain:
    """Raises ToolchainError where bindings and library of TensorRT differ."""
    library = tensorrt_library()
    version = library_version(library) if library else ""
    bindings = _module_version(*BINDINGS).split(".post")[0]
    if version and bindings != version:
        raise ToolchainError(f"TensorRT is {version}, its Python bindings are {bindings or 'absent'}")
    return Toolchain(dali=_module_version("nvidia.dali"), tensorrt=bindings, python=platform.python_version())


def tensorrt_library(folders: Sequence[str] = LIBRARY_FOLDERS) -> Path | None:
    """The image's libnvinfer: the file behind its links."""
    for folder in folders:
        found = sorted(Path(folder).glob("libnvinfer.so.*"), key=lambda path: len(path.name))
        if found:
            return found[-1].resolve()
    return None


def library_version(library: Path) -> str:
    """The full version, e.g. 10.16.1.11: an engine needs the very same, to the last number."""
    loaded = ctypes.CDLL(str(library))
    return ".".join(str(getattr(loaded, f"getInferLib{part}Version")()) for part in _VERSION_PARTS)


def bindings_requirement(library: Path | None, *, cuda_root: Path = Path("/usr/local/cuda")) -> str:
    """Raises ToolchainError where the CUDA version cannot be told."""
    if library is None:
        return ""
    names = sorted(path.name for path in cuda_root.glob("**/libcudart.so.*"))
    majors = [found[1] for name in names if (found := re.fullmatch(r"libcudart\.so\.(\d+)", name))]
    if not majors:
        raise ToolchainError(f"{library} is there, but no libcudart under {cuda_root}")
    # A wildcard, because some bindings were published again as .post1.
    return f"tensorrt-cu{majors[-1]}-bindings=={library_version(library)}.*"


def _module_version(*names: str) -> str:
    for name in names:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError):
            continue
        return str(module.__version__)
    return ""


if __name__ == "__main__":
    main(sys.argv[1:])
