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

from ensembles_api.contract.built import (
    ArtifactRecord,
    CompileResult,
    ModelIO,
    Proof,
    ProofRecord,
    ProofVerdict,
    SampleRequest,
    SampleTensor,
    Tensor,
)
from ensembles_api.contract.documents import CONTRACT, Document, Fault, Said, Sha256
from ensembles_api.contract.published import Manifest, ManifestFile, ServerRequirements, TargetManifest
from ensembles_api.contract.results import (
    RESULT_LIMIT,
    AnalysisFigures,
    CaseFailure,
    FoundArtifact,
    NextBuild,
    Result,
    Traffic,
    VerificationSummary,
)
from ensembles_api.contract.wanted import (
    BuildKind,
    BuildOrder,
    Location,
    Lock,
    LockedFile,
    LockedSource,
    OrderedProof,
    Request,
    StorageLocation,
    TargetRequest,
    Versions,
    credentials_prefix,
)

__all__ = [
    "CONTRACT",
    "RESULT_LIMIT",
    "AnalysisFigures",
    "ArtifactRecord",
    "BuildKind",
    "BuildOrder",
    "CaseFailure",
    "CompileResult",
    "Document",
    "Fault",
    "FoundArtifact",
    "Location",
    "Lock",
    "LockedFile",
    "LockedSource",
    "Manifest",
    "ManifestFile",
    "ModelIO",
    "NextBuild",
    "OrderedProof",
    "Proof",
    "ProofRecord",
    "ProofVerdict",
    "Request",
    "Result",
    "Said",
    "SampleRequest",
    "SampleTensor",
    "ServerRequirements",
    "Sha256",
    "StorageLocation",
    "TargetManifest",
    "TargetRequest",
    "Tensor",
    "Traffic",
    "VerificationSummary",
    "Versions",
    "credentials_prefix",
]
