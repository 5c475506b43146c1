"""Plugins for tests, compiled on the spot: nothing binary lies in the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nvidia.dali.sysconfig
import pytest

CUDA_HEADERS = ("nvidia-cuda-runtime==13.0.96", "nvidia-cuda-crt==13.0.88", "nvidia-cuda-cccl==13.0.85")
"""What DALI's headers include."""
PIPELINE = """
from nvidia.dali import fn, pipeline_def, types

@pipeline_def
def mirrored():
    return fn.mirrored(fn.external_source(name="X", dtype=types.FLOAT, ndim=1), limit=7.0)
"""
"""Y = 7 - X, by the operator of mirrored.cc."""


def dali_plugin(folder: Path) -> Path:
    """mirrored.cc as a shared library for the installed DALI."""
    include = _headers() / "nvidia/cu13/include"
    target = folder / "libmirrored.so"
    flags = [*nvidia.dali.sysconfig.get_compile_flags(), f"-I{include}", f"-I{include / 'cccl'}"]
    # Where libdali.so lies is not noted: whoever opens the plugin has opened that one before.
    flags += nvidia.dali.sysconfig.get_link_flags()
    compile_library(Path(__file__).with_name("mirrored.cc"), target, *flags)
    return target


def compile_library(source: Path, target: Path, *flags: str) -> None:
    """A shared library out of C++; the test is skipped where no compiler is installed."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ is installed here")
    command = [compiler, "-std=c++20", "-O1", "-fPIC", "-shared", str(source), "-o", str(target), *flags]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]


def _headers() -> Path:
    """The headers, installed into the cache once."""
    cache = Path(os.environ.get("ENSEMBLES_CACHE", Path.home() / ".cache/ensembles-cluster"))
    folder = cache / "cuda-headers-13.0"
    if not folder.exists():
        draft = folder.with_name(f".{folder.name}-{os.getpid()}")
        command = ["uv", "pip", "install", "-q", "--no-deps", "--target", str(draft), *CUDA_HEADERS]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"compiling against DALI needs CUDA's headers; uv said:\n{done.stderr}")
        if folder.exists():  # another test run was faster
            shutil.rmtree(draft)
        else:
            draft.rename(folder)
    return folder
