"""The builder's timing cache: filled from those of earlier builds, and saved whatever becomes of this one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Filled:
    """`merged`: names of the files that are now part of the cache. `warnings`: about those that are not.

    cache: must not go before the builder has ended.
    """

    merged: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cache: Any = field(default=None, repr=False, compare=False)


def fill(config: Any, folder: Path) -> Filled:
    """Give a builder config a cache with all that the files in `folder` hold.

    A file of another TensorRT or GPU, or a damaged one, is left out: its times would be wrong.
    """
    with _outdated_calls_are_fine():
        cache = config.create_timing_cache(b"")
        empty = len(serialized(cache))
        merged, refused = [], []
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            data = file.read_bytes()
            other = config.create_timing_cache(data)
            # What cannot be read gives an empty cache and a line in the log.
            useful = other is not None and (len(serialized(other)) > empty or len(data) <= empty)
            if not useful:
                refused.append(f"timing cache {file.name[:12]} is damaged, or of another TensorRT: not used")
            elif not cache.combine(other, False):  # noqa: FBT003 - the API's only form
                refused.append(f"timing cache {file.name[:12]} is of another GPU, TensorRT says: not used")
            else:
                merged.append(file.name)
        config.set_timing_cache(cache, False)  # noqa: FBT003
    return Filled(tuple(merged), tuple(refused), cache)


def save(config: Any, file: Path) -> None:
    """Write what the builder of this config has measured so far; the file appears only when whole."""
    with _outdated_calls_are_fine():
        cache = config.get_timing_cache()
        if cache is None:
            return
        draft = file.with_name(f"{file.name}.tmp")
        draft.write_bytes(serialized(cache))
        os.replace(draft, file)  # noqa: PTH105 - the same in fewer calls: this may run on borrowed time


def serialized(cache: Any) -> bytes:
    return bytes(cache.serialize())


@contextmanager
def _outdated_calls_are_fine() -> Iterator[None]:
    """TensorRT-RTX keeps these calls and calls them outdated, as it measures nothing when it builds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
