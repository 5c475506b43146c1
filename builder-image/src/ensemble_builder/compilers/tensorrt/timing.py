"""The builder's timing cache: filled from those of earlier builds, and saved whatever becomes of this one.

TensorRT writes into a cache its own build and the UUID of the one GPU that measured, and refuses it anywhere
else, though the next GPU of the same type is as fast. So a file says in its first line, as JSON, which
TensorRT and which type of GPU it is of (`Stamp`); TensorRT's refusal is overridden where these are the very
same, and nowhere else.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ensemble_builder.compilers.tensorrt.report import Device
from ensembles_api.contract import Document


class Stamp(Document):
    """What measured. `tensorrt`: full version. `gpu`: None where there is none, for TensorRT-RTX alone."""

    tensorrt: str
    gpu: Device | None = None

    @classmethod
    def of(cls, tensorrt: str, gpu: Device | None) -> Stamp:
        """Drivers, which decide some of the memory too, are left out: TensorRT does not ask for them."""
        same = {"driver": "", "memory": gpu.memory >> 30 << 30} if gpu else {}
        return cls(tensorrt=tensorrt, gpu=gpu.model_copy(update=same) if gpu else None)

    @property
    def text(self) -> str:
        return f"TensorRT {self.tensorrt}, {self.gpu.product if self.gpu else 'no GPU'}"


@dataclass(frozen=True)
class Filled:
    """`merged`: names of the files that are now part of the cache. `warnings`: about those that are not.

    unstamped: names of those that say not what they are of, so that no build will ever use them.
    cache: must not go before the builder has ended.
    """

    merged: tuple[str, ...] = ()
    unstamped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cache: Any = field(default=None, repr=False, compare=False)

    @property
    def superfluous(self) -> tuple[str, ...]:
        """What nobody misses once this build's own cache is stored."""
        return (*self.merged, *self.unstamped)


def fill(config: Any, folder: Path, *, stamp: Stamp, logger: Any) -> Filled:
    """Give a builder config a cache with what the files in `folder` hold.

    The largest is taken whole, and the others are added to it. A file of another TensorRT or type of GPU is
    left out, as its times would be wrong; so is one that is damaged or has no stamp.

    Args:
        config: TensorRT's.
        folder: of files that `save` wrote.
        stamp: of this build.
        logger: of `logger_of`; what TensorRT says of a cache is taken out of it: it explains no failed build.
    """
    with _outdated_calls_are_fine():
        filling = _Filling(config, stamp, logger)
        files = folder.iterdir() if folder.is_dir() else ()
        for file in sorted(files, key=lambda file: (-file.stat().st_size, file.name)):
            filling.add(file)
        filling.attach()
    return filling.filled()


class _Filling:
    """A cache that is being filled."""

    def __init__(self, config: Any, stamp: Stamp, logger: Any) -> None:
        self._config, self._stamp, self._logger = config, stamp, logger
        self.cache: Any = None
        self.merged: list[str] = []
        self.unstamped: list[str] = []
        self.refused: list[str] = []

    def filled(self) -> Filled:
        return Filled(tuple(self.merged), tuple(self.unstamped), tuple(self.refused), self.cache)

    def attach(self) -> None:
        """The mismatch that is ignored is that of the UUID: the stamps are the same."""
        if self.cache is None:
            self.cache = self._config.create_timing_cache(b"")
        self._told(
            lambda: any(self._config.set_timing_cache(self.cache, ignored) for ignored in (False, True))
        )

    def add(self, file: Path) -> None:
        head, _, data = file.read_bytes().partition(b"\n")
        try:
            found = Stamp.model_validate_json(head)
        except ValidationError:
            self.unstamped.append(file.name)
            return self._refuse(file, "has no stamp")
        if found != self._stamp:
            return self._refuse(file, f"is of {found.text}, this build of {self._stamp.text}")
        other, said = self._told(lambda: self._config.create_timing_cache(data))
        # What cannot be read gives an empty cache. A mere complaint does not count: 8.6 was seen to say "The
        # timing cache will not be used!" of every cache, for what Myelin has in it, and to use it.
        if other is None or len(_serialized(other)) < len(data):
            return self._refuse(file, f"cannot be read{said}")
        if self.cache is None:
            self.cache = other
            return self.merged.append(file.name)
        added, said = self._told(lambda: self._combine(other))
        if added:
            return self.merged.append(file.name)
        return _tell(f"timing cache {file.name[:12]} adds nothing to another: left out{said}")

    def _combine(self, other: Any) -> bool:
        """8.6 was seen to answer no, for Myelin's part, and to have added the rest: what grew is believed."""
        before = len(_serialized(self.cache))
        return any(
            self.cache.combine(other, ignored) or len(_serialized(self.cache)) > before
            for ignored in (False, True)
        )

    def _refuse(self, file: Path, why: str) -> None:
        self.refused.append(f"timing cache {file.name[:12]} {why}: not used")

    def _told(self, call: Callable[[], Any]) -> tuple[Any, str]:
        """What a call gives, and in parentheses what TensorRT said meanwhile."""
        kept = (self._logger.errors, self._logger.warnings)
        before = [set(messages) for messages in kept]
        result = call()
        said = []
        for messages, known in zip(kept, before, strict=True):
            said += [message for message in messages if message not in known]
            for message in messages.keys() - known:
                del messages[message]
        return result, f" ({'; '.join(said)})" if said else ""


def save(config: Any, file: Path, *, stamp: Stamp) -> None:
    """Write what the builder of this config has measured so far; the file appears only when whole."""
    with _outdated_calls_are_fine():
        cache = config.get_timing_cache()
        if cache is None:
            return
        draft = file.with_name(f"{file.name}.tmp")
        draft.write_bytes(stamp.canonical() + b"\n" + _serialized(cache))
        os.replace(draft, file)  # noqa: PTH105 - the same in fewer calls: this may run on borrowed time


def _serialized(cache: Any) -> bytes:
    return bytes(cache.serialize())


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the Job's log


@contextmanager
def _outdated_calls_are_fine() -> Iterator[None]:
    """TensorRT-RTX keeps these calls and calls them outdated, as it measures nothing when it builds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
