"""What Jobs tell the operator, by their termination messages."""

from __future__ import annotations

from typing import Literal

from ensembles_api.contract.documents import CONTRACT, Document, Fault, Said, Sha256
from ensembles_api.contract.published import ServerRequirements
from ensembles_api.contract.wanted import BuildKind

RESULT_LIMIT = 2000
"""Bytes of a termination message: the kubelet keeps 4096 per container and 12 KiB per pod."""


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

    def proves(self, build: NextBuild) -> bool:
        """Whether a build of `next` only proves what is there, as far as `found` tells."""
        return any(build.key.startswith(artifact.key) for artifact in self.found)

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
