"""What is wanted, what it is pinned to, and what is to be built for it: request, lock, order."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from ensembles_api.contract.documents import CONTRACT, Document, Sha256
from ensembles_api.spec import AddressingStyle, Gpu, Model, Repository, Verification


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
    """The product that the target names, with the profile of a MIG slice where its resource names one; what
    the builder finds must be it. Empty: any.
    """
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
