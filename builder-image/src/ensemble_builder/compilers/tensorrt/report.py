"""What the compile command and the process that builds the engine tell each other."""

from __future__ import annotations

from ensemble_builder.compilers.parameters import TensorRTParameters
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Document, Fault
from ensembles_api.reasons import Reason

PLAN = "model.plan"


class Job(Document):
    """`field`: path of the model's tensorrt in the resource; `model_field`: of the model."""

    model: str
    field: str
    model_field: str
    parameters: TensorRTParameters


class EngineTensor(Document):
    """`type`: TensorRT's name. `shape`: with the batch axis; -1 is any."""

    name: str
    type: str
    shape: tuple[int, ...]


class Report(Document):
    """`read_from`: engine, or network where the engine cannot be loaded here (RTX without a GPU)."""

    fault: Fault | None = None
    inputs: tuple[EngineTensor, ...] = ()
    outputs: tuple[EngineTensor, ...] = ()
    batchable: bool = False
    limit: int = 0
    profiles: int = 0
    read_from: str = ""
    version: str = ""
    gpu: str = ""
    half_layers: int | None = None
    seconds: float = 0


def fault(code: Reason, field: str, message: str) -> FaultError:
    return FaultError(Fault(code=code, field=field, message=message))
