"""Documents exchanged between the operator, the build Jobs and storage.

    request.json   operator -> assemble      what is wanted (ConfigMap)
    lock           assemble -> storage       every source pinned to its digest, every build ordered; final
    order.json     fetch -> compile          one build, its inputs on local disk
    result.json    compile -> upload         what was built, or whose fault it is that it was not
    artifact       upload -> storage         one built artifact: its blobs, tensors and provenance
    proof          upload -> storage         how the artifact stood its trial, by the settings of that
    manifest       assemble -> storage       one published revision: every file of every target
    cases, report  `ensembles_api.verification`
    Result         assemble, upload, verify, analyse, prune -> operator
                                             (termination message, at most 2000 bytes)

All are canonical JSON (sorted keys, no spaces), so that equal content has equal bytes and one digest.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ensembles_api.reasons import Reason
from ensembles_api.spec import AddressingStyle, Gpu, Model, Repository, Verification

CONTRACT: Final = 1
RESULT_LIMIT = 2000
"""Bytes of a termination message: the kubelet keeps 4096 per container and 12 KiB per pod."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def canonical(self) -> bytes:
        """Canonical JSON. Defaults are left out: a field added later changes no digest of old content."""
        document = self.model_dump(mode="json", exclude_defaults=True)
        if "contract" in type(self).model_fields:
            document["contract"] = CONTRACT
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    def digest(self) -> str:
        """sha256 of the canonical bytes, hex."""
        return hashlib.sha256(self.canonical()).hexdigest()


class StorageLocation(Document):
    """How to reach storage; keys come from the environment (see `credentials_prefix`)."""

    uri: str
    endpoint: str = ""
    region: str = "us-east-1"
    addressing_style: AddressingStyle = AddressingStyle.AUTO


def credentials_prefix(secret_name: str | None) -> str:
    """Prefix of the AWS_* variables that hold a source's own keys; empty for the storage's keys."""
    return f"S{hashlib.sha256(secret_name.encode()).hexdigest()[:10].upper()}_" if secret_name else ""


class Versions(Document):
    """What the release's images contain; empty where unknown."""

    triton: str = ""
    tensorrt: str = ""
    dali: str = ""


class TargetRequest(Document):
    name: str
    gpu: Gpu | None = None


class Request(Document):
    contract: Literal[1] = CONTRACT
    namespace: str
    name: str
    models: tuple[Model, ...]
    repository: Repository | None = None
    entrypoint: str | None = None
    verification: Verification = Verification()
    targets: tuple[TargetRequest, ...]
    server_image: str
    builder_image: str
    versions: Versions = Versions()
    requested_at: str = ""
    uid: str = ""
    """The resource's metadata.uid: guards pruning where two clusters use one storage."""
    architecture: str = ""
    """Of the CPUs that builds run on, where it is not the usual one (ensembles_api.architectures)."""


class Location(Document):
    """An object outside of the content-addressed area, pinned by what the server says of it."""

    bucket: str
    key: str
    etag: str
    version_id: str = ""
    secret_name: str | None = None


class LockedFile(Document):
    """One file pinned to its bytes. `location` absent: it lies at blobs/<sha256> in storage."""

    path: str
    sha256: Sha256
    size: int
    mode: int = 0o644
    location: Location | None = None


class LockedSource(Document):
    """A source of the spec; `field` is its path in the resource, e.g. spec.models[0].dali.source.

    What an export wrote stands among them once it is built, under spec.models[0].tensorrt.export.
    """

    field: str
    files: tuple[LockedFile, ...]


BuildKind = Literal["dali", "tensorrt", "export", "environment"]


class OrderedProof(Document):
    """How an artifact is to be proven before it is published. Not part of its key: another proof builds
    nothing anew.

    settings: the prover's own document. key: digest over the settings and the inputs.
    """

    key: Sha256
    settings: dict[str, Any]
    inputs: tuple[LockedFile, ...] = ()


class BuildOrder(Document):
    """One artifact to build. `parameters` is the compiler's own document, part of the key."""

    kind: BuildKind
    key: Sha256
    model: str
    version: int
    field: str
    target: str | None = None
    gpu: bool = False
    gpu_product: str = ""
    """The product that the target names; what the builder finds must be it. Empty: any."""
    source_field: str = ""
    """Where the resource says what the ONNX is, for faults; empty: <field>.source."""
    architecture: str = ""
    """Of the CPU that an engine's key stands for, as in the request."""
    inputs: tuple[LockedFile, ...]
    parameters: dict[str, Any]
    proof: OrderedProof | None = None


class Lock(Document):
    contract: Literal[1] = CONTRACT
    request: Request
    sources: tuple[LockedSource, ...]
    builds: tuple[BuildOrder, ...]


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


def _encodable(text: object) -> object:
    r"""Lone surrogates, left of bytes that are no text, as \udcxx: JSON takes them no other way."""
    return text.encode(errors="backslashreplace").decode() if isinstance(text, str) else text


Said = Annotated[str, BeforeValidator(_encodable)]
"""Text that may quote whatever user code or a library said."""


class Fault(Document):
    """A failure with a cure. `field` is a path in the resource, empty where none is at fault."""

    code: Reason
    message: Said
    field: str = ""


ProofVerdict = Literal["Passed", "Skipped", "Inconclusive", "Failed"]


class Proof(Document):
    """How an artifact stood its trial. Failed is a fault of the build and never stored.

    summary: one line for people. notes: why it is not Passed. report: figures, the prover's own document.
    """

    verdict: ProofVerdict
    summary: str
    notes: tuple[str, ...] = ()
    report: dict[str, Any] = {}


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
    provenance: dict[str, Any] = {}
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
    provenance: dict[str, Any] = {}


class ProofRecord(Document):
    """proofs/<artifact key>-<proof key>.json. `artifact`: sha256 of the file that was proven."""

    contract: Literal[1] = CONTRACT
    key: Sha256
    proof_key: Sha256
    artifact: Sha256
    proof: Proof


class ManifestFile(Document):
    sha256: Sha256
    size: int
    mode: int = 0o644


class ServerRequirements(Document):
    """What the published configs ask of the server and its pod."""

    args: tuple[str, ...] = ()
    """tritonserver options derived from the configs (cache, rate limit, auto-complete)."""
    shared_memory_mib: int = 64
    gpu: bool = False
    entrypoint: str = ""
    plugins: dict[str, tuple[str, ...]] = {}
    """Backend -> paths, below the target's folder, of the shared libraries it loads, in order."""
    sticky_sessions: bool = False
    """A model keeps state per client: requests of one client must reach one replica."""


class TargetManifest(Document):
    """Files of one target by path in its folder: models/<model>/..., plugins/<file>, verification/<...>."""

    files: dict[str, ManifestFile]


class Manifest(Document):
    """manifest.json of a revision; its digest is the revision's name.

    It does not name the lock: pinning again what has not changed gives the same revision.
    """

    contract: Literal[1] = CONTRACT
    namespace: str
    name: str
    server_image: str
    versions: Versions
    server: ServerRequirements
    targets: dict[str, TargetManifest]


class NextBuild(Document):
    """A build the operator may start now; `target` names the target whose GPU it needs.

    proof: key of the proof that comes with the build, or alone where the artifact is there.
    """

    kind: BuildKind
    key: Sha256
    proof: str = ""
    model: str
    field: str = ""
    """Of an export: where its container is described."""
    target: str | None = None
    gpu: bool = False


class Traffic(Document):
    """Requests to one side's servers while they were analysed; mean_us: microseconds of the answered ones."""

    requests: int = 0
    failures: int = 0
    mean_us: int = 0


class AnalysisFigures(Document):
    """What an analysis that was passed has seen, in so many seconds."""

    new: Traffic
    old: Traffic
    seconds: int


class CaseFailure(Document):
    """A failed case of a verification, in short. `case`: of the spec, or empty for the smoke test."""

    case: str = ""
    model: str
    server: str
    message: Said


class VerificationSummary(Document):
    """A verification in short; servers times cases are `passed`, `failed` or `unproven` (refused guesses).

    report: key of the whole below the storage's uri; empty where it could not be written.
    """

    passed: int = 0
    failed: int = 0
    unproven: int = 0
    servers: int = 0
    seconds: float = 0.0
    report: str = ""
    failures: tuple[CaseFailure, ...] = ()


class FoundArtifact(Document):
    """An artifact that is in storage: its key's beginning, its model, and how long building it took once."""

    key: str
    model: str
    seconds: float = 0


class Result(Document):
    """Termination message of a Job's counting container."""

    contract: Literal[1] = CONTRACT
    lock: str = ""
    revision: str = ""
    next: tuple[NextBuild, ...] = ()
    more: int = 0
    """Builds that are missing too, but not named: they did not fit into the message, or wait for those of
    `next`. The next round names them; until then nobody takes a running build for obsolete."""
    cached: int = 0
    """Artifacts of this lock that were there already."""
    found: tuple[FoundArtifact, ...] = ()
    """The same by name, to be shown; what does not fit into the message is left out."""
    saved_gpu_seconds: float = 0
    """What building those took of a GPU, once."""
    server: ServerRequirements | None = None
    warnings: tuple[str, ...] = ()
    analysis: AnalysisFigures | None = None
    verification: VerificationSummary | None = None
    fault: Fault | None = None

    def message(self) -> str:
        """The JSON for /dev/termination-log, cut to RESULT_LIMIT bytes by dropping what can be dropped."""
        result = self
        while len((text := result.model_dump_json(exclude_defaults=True)).encode()) > RESULT_LIMIT:
            result = result._smaller()
        return text

    def _smaller(self) -> Result:
        if self.found:
            return self.model_copy(update={"found": self.found[:-1]})
        if self.warnings:
            return self.model_copy(update={"warnings": self.warnings[:-1]})
        if self.verification and self.verification.failures:
            fewer = {"failures": self.verification.failures[:-1]}
            return self.model_copy(update={"verification": self.verification.model_copy(update=fewer)})
        if self.next:
            return self.model_copy(update={"next": self.next[:-1], "more": self.more + 1})
        if self.fault and len(self.fault.message) > 200:  # noqa: PLR2004 - the rest of a Fault is short
            cut = self.fault.message[: len(self.fault.message) - 100].rstrip() + "…"
            return self.model_copy(update={"fault": self.fault.model_copy(update={"message": cut})})
        raise ValueError("a result without lists and long texts exceeds the limit")
