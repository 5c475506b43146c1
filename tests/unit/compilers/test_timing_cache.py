"""Timing caches of other builds: used on the same type of GPU with the same TensorRT, and nowhere else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from ensemble_builder.artifacts.documents import sha256
from ensemble_builder.commands import timing_caches
from ensemble_builder.compilers.tensorrt import timing
from ensemble_builder.compilers.tensorrt.library import load_tensorrt, logger_of
from ensemble_builder.compilers.tensorrt.report import Device
from ensemble_builder.compilers.work_folder import TIMING_CACHE
from ensemble_builder.storage.store import Store
from ensembles_api.contract import StorageLocation

H200 = Device(product="NVIDIA-H200", compute_capability="9.0", memory=150754820096, driver="570.1")
STAMP = timing.Stamp.of("8.6.0", H200)


_COMPLAINT = "The timing cache will not be used!"


@dataclass
class FakeCache:
    """As TensorRT 8.6's messages tell of its caches: in the header its build and the UUID of one GPU."""

    uuid: str
    logger: SimpleNamespace
    times: dict[str, float] = field(default_factory=dict)
    complains: bool = False

    def serialize(self) -> bytes:
        return json.dumps([self.uuid, self.times]).encode()

    def combine(self, other: FakeCache, ignore_mismatch: bool) -> bool:  # noqa: FBT001 - TensorRT's own form
        if other.uuid != self.uuid and not ignore_mismatch:
            self.logger.errors["the UUID is different from current device"] = None
            return False
        self.times |= other.times
        if self.complains:
            self.logger.errors[_COMPLAINT] = None
        return not self.complains


@dataclass
class FakeConfig:
    """The builder's config on a GPU that is not there.

    complains: as 8.6 on an H200 does of each cache that it reads or adds, and uses it all the same.
    """

    uuid: str = "GPU-here"
    complains: bool = False
    logger: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(errors={}, warnings={}))
    attached: FakeCache | None = None

    def create_timing_cache(self, data: bytes) -> FakeCache:
        if self.complains and data:
            self.logger.errors[_COMPLAINT] = None
        uuid, times = json.loads(data) if data.startswith(b"[") else (self.uuid, {})
        return FakeCache(uuid, self.logger, times, complains=self.complains)

    def set_timing_cache(self, cache: FakeCache, ignore_mismatch: bool) -> bool:  # noqa: FBT001
        taken = ignore_mismatch or cache.uuid == self.uuid
        self.attached = cache if taken else self.attached
        if self.complains or not taken:
            self.logger.errors[_COMPLAINT] = None
        return taken

    def get_timing_cache(self) -> FakeCache | None:
        return self.attached


def stored(
    folder: Path, name: str, *, uuid: str, times: dict[str, float], stamp: timing.Stamp = STAMP
) -> None:
    """What a build on another GPU left."""
    config = FakeConfig(uuid)
    config.attached = FakeCache(uuid, config.logger, times)
    timing.save(config, folder / name, stamp=stamp)


def test_damaged_ones_are_left_out(tmp_path: Path) -> None:
    """TensorRT-RTX has the calls and measures nothing: a cache that it can read is an empty one."""
    tensorrt = load_tensorrt("")
    logger = logger_of(tensorrt)
    builder = tensorrt.Builder(logger)
    folder = tmp_path / "caches"
    folder.mkdir()
    stamp = timing.Stamp.of(tensorrt.__version__, None)
    config = builder.create_builder_config()
    assert timing.fill(config, folder, stamp=stamp, logger=logger) == timing.Filled()
    assert timing.fill(config, tmp_path / "absent", stamp=stamp, logger=logger) == timing.Filled()
    timing.save(config, folder / "a", stamp=stamp)
    assert [path.name for path in folder.iterdir()] == ["a"], "no draft is left"
    (folder / "b").write_bytes(b"damaged " * 100)
    (folder / "c").write_bytes(stamp.canonical() + b"\n" + b"damaged " * 100)

    filled = timing.fill(builder.create_builder_config(), folder, stamp=stamp, logger=logger)

    assert filled.merged == ("a",)
    assert filled.warnings[0].startswith("timing cache c cannot be read (")
    assert filled.warnings[1] == "timing cache b has no stamp: not used"
    assert filled.superfluous == ("a", "b"), "no build will ever use what has no stamp"
    assert not logger.errors, "what TensorRT says of a cache explains no failed build"


def test_another_gpu_of_the_same_type_gives_what_it_measured(tmp_path: Path) -> None:
    """TensorRT refuses a cache with another UUID, though a node pool has as many UUIDs as GPUs."""
    stored(tmp_path, "a", uuid="GPU-there", times={"conv": 1.0})
    newer = H200.model_copy(update={"driver": "580.2", "memory": H200.memory - 4096})
    stored(tmp_path, "b", uuid="GPU-elsewhere", times={"gemm": 2.0}, stamp=timing.Stamp.of("8.6.0", newer))
    config = FakeConfig()

    filled = timing.fill(config, tmp_path, stamp=STAMP, logger=config.logger)

    assert sorted(filled.merged) == ["a", "b"]
    assert filled.warnings == ()
    assert config.attached is not None
    assert config.attached.times == {"conv": 1.0, "gemm": 2.0}
    assert not config.logger.errors


def test_another_type_of_gpu_and_another_tensorrt_are_never_forced(tmp_path: Path) -> None:
    """Where the target names no GPU type, caches of several lie in one folder. One UUID does not help."""
    smaller = H200.model_copy(update={"product": "NVIDIA-H200-MIG-1g.18gb", "mig": "1g.18gb"})
    stored(tmp_path, "a", uuid="GPU-here", times={"conv": 1.0}, stamp=timing.Stamp.of("8.6.0", smaller))
    stored(tmp_path, "b", uuid="GPU-here", times={"conv": 2.0}, stamp=timing.Stamp.of("8.6.1", H200))
    config = FakeConfig()

    filled = timing.fill(config, tmp_path, stamp=STAMP, logger=config.logger)

    assert filled.superfluous == (), "they are of use to builds of their own kind"
    here = "this build of TensorRT 8.6.0, NVIDIA-H200: not used"
    assert filled.warnings == (
        f"timing cache a is of TensorRT 8.6.0, NVIDIA-H200-MIG-1g.18gb, {here}",
        f"timing cache b is of TensorRT 8.6.1, NVIDIA-H200, {here}",
    )
    assert config.attached == FakeCache("GPU-here", config.logger)


def test_what_is_used_counts_and_not_what_is_said(tmp_path: Path) -> None:
    stored(tmp_path, "a", uuid="GPU-there", times={"conv": 1.0})
    stored(tmp_path, "b", uuid="GPU-there", times={"conv": 1.0, "gemm": 2.0})
    stored(tmp_path, "c", uuid="GPU-there", times={"pool": 3.0})
    config = FakeConfig(complains=True)

    filled = timing.fill(config, tmp_path, stamp=STAMP, logger=config.logger)

    assert sorted(filled.merged) == ["b", "c"], "a has nothing that b has not"
    assert filled.warnings == ()
    assert config.attached is not None
    assert config.attached.times == {"conv": 1.0, "gemm": 2.0, "pool": 3.0}
    assert not config.logger.errors


def test_what_has_no_stamp_is_removed_when_a_cache_is_kept(tmp_path: Path) -> None:
    """Else every build would fetch and refuse it, in the place of one that is of use."""
    store = Store(StorageLocation(uri=(tmp_path / "store").as_uri()), environ={})
    folder, given, out = "timing-caches/8.6.0/any/", tmp_path / "given", tmp_path / "out"
    out.mkdir()
    smaller = timing.Stamp.of("8.6.0", H200.model_copy(update={"mig": "1g.18gb"}))
    stored(tmp_path, "same", uuid="GPU-there", times={"conv": 1.0})
    stored(tmp_path, "other", uuid="GPU-there", times={"conv": 3.0}, stamp=smaller)
    (tmp_path / "unstamped").write_bytes(b'["GPU-there", {"conv": 2.0}]')
    names = {}
    for name in ("same", "other", "unstamped"):
        data = (tmp_path / name).read_bytes()
        names[name] = sha256(data)
        store.root.put(store.key(f"{folder}{names[name]}"), data)
    timing_caches.fetch(store, folder, to=given)
    assert {file.name for file in given.iterdir()} == set(names.values())
    config = FakeConfig()
    filled = timing.fill(config, given, stamp=STAMP, logger=config.logger)
    assert config.attached is not None
    config.attached.times["gemm"] = 4.0
    timing.save(config, out / TIMING_CACHE, stamp=STAMP)

    timing_caches.keep(store, folder, out=out, merged=filled.superfluous)

    there = {info.key.rpartition("/")[2] for info in store.root.list(store.key(folder))}
    assert there == {names["other"], sha256((out / TIMING_CACHE).read_bytes())}
