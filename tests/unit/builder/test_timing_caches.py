"""Where timing caches lie: measured times are good for one TensorRT on one kind of GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble_builder.artifacts.documents import sha256
from ensemble_builder.commands import upload
from ensemble_builder.commands.locks import OrderedBuild, write_lock
from ensemble_builder.commands.timing_caches import folder_of
from ensemble_builder.compilers.work_folder import TIMING_CACHE
from ensemble_builder.storage.store import Store
from ensembles_api.contract import (
    BuildOrder,
    CompileResult,
    Fault,
    Lock,
    Request,
    StorageLocation,
    TargetRequest,
)
from ensembles_api.reasons import Reason
from ensembles_api.spec import Gpu


def order_of(kind: str, tensorrt: str = "10.16.1.11") -> BuildOrder:
    return BuildOrder(
        kind=kind,
        key="0" * 64,
        model="net",
        version=1,
        field="f",
        target="t",
        inputs=(),
        parameters={"tensorrt_version": tensorrt},
    )


def lock_of(order: BuildOrder, gpu: Gpu | None = None, image: str = "builder:1") -> Lock:
    request = Request(
        namespace="n",
        name="n",
        models=(),
        targets=(TargetRequest(name="t", gpu=gpu),),
        server_image="s",
        builder_image=image,
    )
    return Lock(request=request, sources=(), builds=(order,))


def folder(gpu: Gpu | None, tensorrt: str = "10.16.1.11", image: str = "builder:1") -> str:
    order = order_of("tensorrt", tensorrt)
    return folder_of(lock_of(order, gpu, image), order)


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (Gpu(product="NVIDIA-L4"), "NVIDIA-L4"),
        (Gpu(product="NVIDIA-L4-SHARED", resource_name="nvidia.com/gpu.shared"), "NVIDIA-L4"),
        (Gpu(product="NVIDIA-A100", resource_name="nvidia.com/mig-1g.5gb"), "NVIDIA-A100-mig-1g.5gb"),
        (Gpu(), "any"),
        (None, "any"),
    ],
)
def test_one_folder_for_each_gpu_type(gpu: Gpu | None, expected: str) -> None:
    assert folder(gpu) == f"timing-caches/10.16.1.11/{expected}/"


def test_an_unknown_tensorrt_is_told_by_its_image() -> None:
    first, second = folder(None, "", "builder:1"), folder(None, "", "builder:2")

    assert first.startswith("timing-caches/image-")
    assert first != second


@pytest.mark.parametrize(("kind", "kept"), [("tensorrt", 1), ("dali", 0)])
def test_only_tensorrt_leaves_one(tmp_path: Path, kind: str, kept: int) -> None:
    store = Store(StorageLocation(uri=(tmp_path / "store").as_uri()), environ={})
    order = order_of(kind)
    lock = lock_of(order)
    write_lock(store, lock)
    (tmp_path / "out").mkdir()
    fault = Fault(code=Reason.COMPILE_FAILED, field="f", message="it does not compile")
    (tmp_path / "out/result.json").write_bytes(CompileResult(fault=fault).canonical())
    (tmp_path / "out" / TIMING_CACHE).write_bytes(b"times")

    result = upload.run(OrderedBuild(store, sha256(lock.canonical()), order.key, "", tmp_path))

    assert result.fault == fault
    assert len(list(store.root.list(store.key("timing-caches/")))) == kept
