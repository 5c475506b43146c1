"""What the compile command and the process that builds the engine tell each other."""

from __future__ import annotations

from pydantic import Field

from ensemble_builder.compilers.parameters import TensorRTParameters
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Document, Fault
from ensembles_api.reasons import Reason

PLAN = "model.plan"


class Job(Document):
    """`field`: path of the model's tensorrt in the resource; `model_field`: of the model; `source_field`: of
    the ONNX's source. gpu_product: of the order. timing_caches: folder of earlier builds' caches.
    timing_cache: the file for this one's. plugins: shared libraries with layers.
    """

    model: str
    field: str
    source_field: str
    model_field: str
    gpu_product: str = ""
    timing_caches: str
    timing_cache: str
    parameters: TensorRTParameters
    plugins: tuple[str, ...] = ()


class EngineTensor(Document):
    """`type`: TensorRT's name. `shape`: with the batch axis; -1 is any."""

    name: str
    type: str
    shape: tuple[int, ...]
    is_shape_tensor: bool = False


class Device(Document):
    """A GPU. `product`: as the node label writes it. `memory`: bytes. `mig`: its profile, such as 1g.5gb."""

    product: str
    compute_capability: str
    memory: int
    driver: str = ""
    mig: str = ""


class Report(Document):
    """What became of a build.

    read_from: engine, or network where the engine cannot be loaded here (RTX without a GPU).
    layers: how many compute in which type; of the network's operators where read_from is network.
    converter: what converted the ONNX to half precision first; empty where nothing did.
    kept: layers held in FP32 by keepFp32.
    merged_caches: names of the timing caches that were of use, or that can be of none.
    """

    fault: Fault | None = None
    inputs: tuple[EngineTensor, ...] = ()
    outputs: tuple[EngineTensor, ...] = ()
    batchable: bool = False
    limit: int = 0
    profiles: int = 0
    read_from: str = ""
    version: str = ""
    gpu: Device | None = None
    layers: dict[str, int] = Field(default_factory=dict)
    converter: str = ""
    kept: int = 0
    warnings: tuple[str, ...] = ()
    merged_caches: tuple[str, ...] = ()
    seconds: float = 0


def fault(code: Reason, field: str, message: str) -> FaultError:
    return FaultError(Fault(code=code, field=field, message=message))
