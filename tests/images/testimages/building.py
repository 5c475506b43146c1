"""Builds an image and those below it, and hands it to the cluster; what has not changed is left alone."""

import fcntl
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from localcluster import build as programs
from localcluster import images, parts, staticimages
from localcluster.settings import Settings

from testimages import absent, buildah, inputs, partial, python310, rootfs
from testimages.catalog import Image, ProgramImage, by_name

MAKERS: Mapping[str, Callable[[Path], Path]] = {
    "rootfs.tar": rootfs.ensure,
    "python3.10.tar": python310.ensure,
    "absent.tar": absent.ensure,
}
"""Archives that images add, by name; each is made once and kept in the cache."""


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """One build of images at a time per cache: a second one waits and then finds most of it done."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(cache: Path, image: Image | ProgramImage) -> str:
    """Bring an image up to date and return the digest of what it was built from."""
    if isinstance(image, ProgramImage):
        programs.build(cache, only=[image.part])
        return next(parts.key(part) for part in parts.PARTS if part.name == image.part)
    below = by_name(image.base) if image.base else None
    base_digest = build(cache, below) if below else ""
    digest = inputs.digest(image, base_digest=base_digest)
    if buildah.inputs_digest(cache, image.reference) == digest:
        return digest
    started = time.monotonic()
    print(f"build {image.reference} …", flush=True)
    with tempfile.TemporaryDirectory(prefix="ensembles-context-") as scratch:
        context = Path(scratch)
        inputs.stage(image, context)
        for name in image.made:
            shutil.copy2(MAKERS[name](cache), context / name)
        buildah.build(
            cache,
            image.reference,
            context=context,
            dockerfile=image.dockerfile,
            digest=digest,
            args={"BASE": below.reference} if below else {},
        )
    print(f"build {image.reference}: {time.monotonic() - started:.0f} s", flush=True)
    return digest


def load(settings: Settings, image: Image | ProgramImage, digest: str) -> None:
    """Import an image into the cluster unless it holds the same one."""
    loaded = _loaded(settings)
    if loaded.get(image.reference) == digest and image.reference in images.digests(settings):
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ensembles-image-") as scratch:
        archive = Path(scratch) / "image.tar"
        if isinstance(image, ProgramImage):
            static = staticimages.StaticImage(image.reference, image.program)
            machine = buildah.machine()
            staticimages.write_archive(archive, static, binaries=settings.binaries, machine=machine)
        else:
            folder = Path(scratch) / "image"
            buildah.save(settings.cache, image.reference, folder)
            partial.write(archive, folder, image.reference, present=images.blobs(settings))
        images.load(settings, archive)
    _note(settings).write_text(json.dumps({**loaded, image.reference: digest}, indent=2) + "\n")
    print(f"loaded {image.reference}: {time.monotonic() - started:.0f} s", flush=True)


def _loaded(settings: Settings) -> dict[str, str]:
    try:
        document: dict[str, str] = json.loads(_note(settings).read_text())
    except FileNotFoundError:
        return {}
    return document


def _note(settings: Settings) -> Path:
    return settings.state / "loaded-images.json"
