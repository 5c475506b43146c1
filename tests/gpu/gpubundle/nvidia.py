"""NVIDIA's programs for a node, built from Go modules: device plugin, feature discovery, CDI hook."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from localcluster import toolchain
from localcluster.errors import ClusterError

PLUGIN_VERSION = "0.19.3"
TOOLKIT_VERSION = "1.20.1"
PROGRAMS = ("gpu-feature-discovery", "nvidia-cdi-hook", "nvidia-device-plugin")

_PLUGIN = "github.com/NVIDIA/k8s-device-plugin"
_TOOLKIT = "github.com/NVIDIA/nvidia-container-toolkit"
# The functions of NVML stay open until its library is loaded, which only a machine with a driver has.
_LINK = "-Wl,--export-dynamic -Wl,--unresolved-symbols=ignore-in-object-files -Wl,-z,lazy"
_LDFLAGS = f"-s -w '-extldflags={_LINK}'"


def ensure(cache: Path) -> Path:
    """Return the folder of the programs.

    Raises:
        ClusterError: a module cannot be had or does not build; the compiler's output stands above.
    """
    target = cache / f"nvidia-{PLUGIN_VERSION}-{TOOLKIT_VERSION}"
    if target.is_dir():
        return target
    toolchain.install_packages(with_c=True)
    go = toolchain.go(cache)
    env = {
        **os.environ,
        "PATH": f"{go.parent}{os.pathsep}{toolchain.search_path()}",
        "GOFLAGS": "-buildvcs=false",
        "GOWORK": "off",
        "CGO_ENABLED": "1",
        "CGO_CFLAGS": "-O2 -w",
    }
    print("build NVIDIA's node programs …", flush=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".nvidia-") as scratch:
        out = Path(scratch) / "out"
        out.mkdir()
        hook = f"{_TOOLKIT}/cmd/nvidia-cdi-hook@v{TOOLKIT_VERSION}"
        _go(["install", *_flags(), hook], cwd=out, env={**env, "GOBIN": str(out)})
        # `go install` refuses this module: as the main module it builds.
        source = Path(scratch) / "plugin"
        shutil.copytree(_module(f"{_PLUGIN}@v{PLUGIN_VERSION}", Path(scratch), env), source)
        subprocess.run(["chmod", "-R", "u+w", str(source)], check=True)
        packages = ["./cmd/nvidia-device-plugin", "./cmd/gpu-feature-discovery"]
        _go(["build", "-mod=mod", *_flags(), "-o", f"{out}/", *packages], cwd=source, env=env)
        out.rename(target)
    return target


def _flags() -> list[str]:
    return ["-trimpath", "-ldflags", _LDFLAGS]


def _module(name: str, scratch: Path, env: Mapping[str, str]) -> Path:
    (scratch / "go.mod").write_text("module example.org/download\n")
    text = _go(["mod", "download", "-json", name], cwd=scratch, env=env)
    return Path(json.loads(text)["Dir"])


def _go(arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["go", *arguments], cwd=cwd, env=dict(env), check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.stderr.write(done.stdout[-3000:] + done.stderr[-3000:])
        raise ClusterError(f"go {arguments[0]} failed (above: its output)")
    return done.stdout
