"""Runs buildah with a storage of its own below the cache."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from localcluster import toolchain
from localcluster.errors import ClusterError

DIGEST_LABEL = "dev.ensembles.inputs"
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_PIP_CONFIGURATIONS = (
    Path("~/.config/pip/pip.conf").expanduser(),
    Path("~/.pip/pip.conf").expanduser(),
    Path("/etc/pip.conf"),
)


def require() -> None:
    """Install buildah if it is missing.

    Raises:
        ClusterError: it cannot be installed here.

    """
    if toolchain.find("buildah") is None:
        toolchain.apt_install(["buildah"])


def inputs_digest(cache: Path, reference: str) -> str | None:
    """Return the digest label of a built image; None when there is no such image."""
    command = _command(cache, "inspect", "--type", "image", reference)
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        return None
    labels = json.loads(result.stdout)["OCIv1"]["config"].get("Labels") or {}
    value: str | None = labels.get(DIGEST_LABEL)
    return value


def build(
    cache: Path, reference: str, *, context: Path, dockerfile: str, digest: str, args: Mapping[str, str]
) -> None:
    """Build a Dockerfile.

    Raises:
        ClusterError: a step fails; its output stands above.

    """
    options = [option for name, value in args.items() for option in ("--build-arg", f"{name}={value}")]
    command = _command(
        cache,
        "bud",
        # Neither user namespaces nor a container runtime are needed to run a step.
        *("--isolation", "chroot", "--layers", "--pull-never", "--format", "oci"),
        *("--label", f"{DIGEST_LABEL}={digest}"),
        *_mounts(cache),
        *options,
        *("-f", str(context / dockerfile), "-t", reference, str(context)),
    )
    result = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode:
        sys.stderr.write(f"{result.stdout[-6000:]}\n{result.stderr[-6000:]}\n")
        raise ClusterError(f"{reference} does not build (above: buildah's output)")


def save(cache: Path, reference: str, folder: Path) -> None:
    """Write an image's manifest.json, and its blobs under their digests, without spending time on gzip."""
    target = f"dir:{folder}"
    subprocess.run(_command(cache, "push", "-q", "--disable-compression", reference, target), check=True)


def machine() -> str:
    return platform.machine()


def _command(cache: Path, verb: str, *arguments: str) -> list[str]:
    storage = cache / "images"
    driver = os.environ.get("ENSEMBLES_STORAGE_DRIVER", "overlay")
    roots = ["--root", str(storage / "storage"), "--runroot", str(storage / "run")]
    return [toolchain.find("buildah") or "buildah", *roots, "--storage-driver", driver, verb, *arguments]


def _mounts(cache: Path) -> Sequence[str]:
    """Lend the build pip's cache, pip's settings and the certificate authorities; the image keeps none."""
    pip_cache = cache / "pip"
    pip_cache.mkdir(parents=True, exist_ok=True)
    lent = [f"{pip_cache}:/root/.cache/pip"]
    if _AUTHORITIES.is_file():
        lent.append(f"{_AUTHORITIES}:{_AUTHORITIES}:ro")
    lent += [f"{path}:/etc/pip.conf:ro" for path in _PIP_CONFIGURATIONS if path.is_file()][:1]
    return [option for mount in lent for option in ("-v", mount)]
