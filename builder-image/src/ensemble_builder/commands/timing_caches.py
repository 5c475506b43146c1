"""Timing caches in storage: what TensorRT's builder measured once need not be measured again.

They are no artifacts: no key and no record names them, and a build that finds none only takes longer. Each is
an immutable object named by its digest; builds that run at once write different ones, and the next build
merges them. A merged cache holds all that its parts held, so the parts are removed after it is written; a
build that is about to read one of them then goes without it. Nothing here may fail a build.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import sha256
from ensemble_builder.artifacts.gpu_products import chip, unshared_resource
from ensemble_builder.commands.log import say
from ensemble_builder.commands.outputs import read_output
from ensemble_builder.compilers.work_folder import TIMING_CACHE
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.bucket import ObjectInfo
from ensemble_builder.storage.store import Store
from ensembles_api.contract import BuildOrder, Lock

SIZE_LIMIT = 128 << 20
"""Bytes of one cache; a network has some kilobytes to a few megabytes."""
FETCHED = 8
"""Caches that a build merges, newest first."""
KEPT = 16
"""Caches that stay for one TensorRT and GPU."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EARLIEST = datetime.min.replace(tzinfo=timezone.utc)


def folder_of(lock: Lock, order: BuildOrder) -> str:
    """Where the caches of an order lie: by what its key holds of TensorRT and GPU.

    What else a cache must fit (TensorRT's full version, and the GPU where the target names none) says its
    stamp, which the build compares: caches of several kinds may lie here.
    """
    tensorrt = str(order.parameters.get("tensorrt_version") or "")
    gpu = next((target.gpu for target in lock.request.targets if target.name == order.target), None)
    product = chip(gpu)
    kind = unshared_resource(gpu).rpartition("/")[2] if gpu else ""
    name = product if kind in {"", "gpu"} else f"{product}-{kind}"
    image = sha256(lock.request.builder_image.encode())[:16]
    return layout.timing_caches(tensorrt or f"image-{image}", name)


def fetch(store: Store, folder: str, *, to: Path) -> None:
    """Bring the newest caches to `to`, named by their digests. Those that went bad in storage are removed."""
    with _harmless("timing caches could not be fetched"):
        to.mkdir(parents=True, exist_ok=True)
        for info in _newest(store, folder)[:FETCHED]:
            data = store.root.get(info.key, limit=SIZE_LIMIT)
            digest = info.key.rpartition("/")[2]
            if data is not None and sha256(data) == digest:
                (to / digest).write_bytes(data)
            elif data is not None:
                say(f"warning: {store.root.access.uri(info.key)} is damaged: removed")
                store.root.delete(info.key)


def keep(store: Store, folder: str, *, out: Path, merged: Collection[str] = ()) -> None:
    """Write the cache that compile left in `out`, if it left one, and remove what it makes superfluous.

    Args:
        store: storage.
        folder: of the order's caches.
        out: the folder where compile wrote.
        merged: digests of the caches that are part of it, or of use to nobody.
    """
    if not (out / TIMING_CACHE).exists():
        return
    with _harmless("the timing cache could not be kept"):
        data = read_output(out, TIMING_CACHE, limit=SIZE_LIMIT)
        digest = sha256(data)
        if not store.root.put_if_absent(store.key(f"{folder}{digest}"), data) and not merged:
            return
        say(f"kept the timing cache, {len(data) / 1e6:.1f} MB")
        known = _newest(store, folder)
        for place, info in enumerate(known):
            name = info.key.rpartition("/")[2]
            if name != digest and (name in merged or place >= KEPT):
                store.root.delete(info.key)


def _newest(store: Store, folder: str) -> list[ObjectInfo]:
    found = [
        info
        for info in store.root.list(store.key(folder))
        if _DIGEST.fullmatch(info.key.rpartition("/")[2]) and info.size <= SIZE_LIMIT
    ]
    return sorted(found, key=lambda info: (info.modified or _EARLIEST, info.key), reverse=True)


@contextmanager
def _harmless(what: str) -> Iterator[None]:
    try:
        yield
    except (FaultError, OSError) as error:
        say(f"warning: {what}: {error}")
