"""What builds give: results, artifact records and proofs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ensembles_api.contract.documents import CONTRACT, Document, Fault, Sha256
from ensembles_api.contract.wanted import BuildKind, LockedFile


class Tensor(Document):
    """A tensor of a model. `shape` leaves out the batch axis where the model is batchable; -1 is any."""

    name: str
    data_type: str
    """Triton's name, e.g. TYPE_FP32."""
    shape: tuple[int, ...]
    optional: bool = False
    is_shape_tensor: bool = False
    """Its values decide shapes of other tensors; with batching, tritonserver puts the batch before them."""


class ModelIO(Document):
    """Tensors of a model as read from the artifact itself."""

    batchable: bool
    """Every input and output has a leading batch axis of free size, left out of the shapes."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch_size: int | None = None
    """The artifact's own limit (a TensorRT profile's maximum, a pipeline's max_batch_size)."""
    decoupled: bool = False
    profiles: tuple[str, ...] = ()
    """TensorRT profile indices to list under instance_group.profile."""


class SampleTensor(Document):
    """One input of a request; raw little-endian bytes in `file`."""

    name: str
    data_type: str
    shape: tuple[int, ...]
    file: str


class SampleRequest(Document):
    """A request known to fit a model; shapes include the batch axis where the model batches."""

    inputs: tuple[SampleTensor, ...]


ProofVerdict = Literal["Passed", "Skipped", "Inconclusive", "Failed"]


class Proof(Document):
    """How an artifact stood its trial. Failed is a fault of the build and never stored.

    summary: one line for people. notes: why it is not Passed. report: figures, the prover's own document.
    """

    verdict: ProofVerdict
    summary: str
    notes: tuple[str, ...] = ()
    report: dict[str, Any] = Field(default_factory=dict)


class CompileResult(Document):
    """What compile leaves in out/result.json: a fault, or files (paths under out/) and their tensors.

    files: empty where a stored artifact was only proven.
    merged_caches: digests of the timing caches whose knowledge is in out/timing.cache, or that are of no use.
    """

    contract: Literal[1] = CONTRACT
    fault: Fault | None = None
    files: tuple[str, ...] = ()
    io: ModelIO | None = None
    samples: tuple[SampleRequest, ...] = ()
    provenance: dict[str, Any] = Field(default_factory=dict)
    proof: Proof | None = None
    merged_caches: tuple[Sha256, ...] = ()


class ArtifactRecord(Document):
    """artifacts/<kind>/<key>.json: written last, so that a record proves its blobs."""

    contract: Literal[1] = CONTRACT
    kind: BuildKind
    key: Sha256
    files: tuple[LockedFile, ...]
    io: ModelIO
    samples: tuple[SampleRequest, ...] = ()
    sample_files: tuple[LockedFile, ...] = ()
    provenance: dict[str, Any] = Field(default_factory=dict)


class ProofRecord(Document):
    """proofs/<artifact key>-<proof key>.json. `artifact`: sha256 of the file that was proven."""

    contract: Literal[1] = CONTRACT
    key: Sha256
    proof_key: Sha256
    artifact: Sha256
    proof: Proof
