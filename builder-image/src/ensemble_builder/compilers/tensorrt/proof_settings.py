"""How an engine is to be proven: what stands in `BuildOrder.proof`. Not part of the artifact's key."""

from __future__ import annotations

from pydantic import ConfigDict

from ensemble_builder.artifacts.proofs import PROOF_REVISION
from ensemble_builder.compilers.parameters import InputFile
from ensemble_builder.compilers.tensorrt.accuracy import Limit, Tolerances
from ensembles_api.contract import Document
from ensembles_api.spec import Precision, Reference


class SampleFiles(Document):
    """Paths below in/."""

    inputs: tuple[InputFile, ...]
    outputs: tuple[InputFile, ...] = ()


class OutputLimit(Document):
    """One of the two is set."""

    name: str
    relative_l2: float | None = None
    agreement: float | None = None


class ProofSettings(Document):
    model_config = ConfigDict(extra="ignore", frozen=True)

    reference: Reference = Reference.ONNX_RUNTIME
    samples: tuple[SampleFiles, ...] = ()
    relative_l2: float | None = None
    agreement: float | None = None
    outputs: tuple[OutputLimit, ...] = ()
    revision: int = PROOF_REVISION

    def tolerances(self, precision: Precision) -> Tolerances:
        return Tolerances(
            precision=precision,
            relative_l2=self.relative_l2,
            agreement=self.agreement,
            outputs={
                entry.name: Limit("agreement", entry.agreement or 0.0)
                if entry.relative_l2 is None
                else Limit("relativeL2", entry.relative_l2)
                for entry in self.outputs
            },
        )
