"""Documents that only builder Jobs read: caches, ownership and the history of a revision."""

from __future__ import annotations

import hashlib
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from ensembles_api.contract import CONTRACT, Document, ModelIO, Sha256

D = TypeVar("D", bound=Document)


class PinSubject(Document):
    """A source object as its server names it: the same name means the same bytes."""

    endpoint: str
    bucket: str
    key: str
    etag: str
    size: int
    version_id: str = ""


class Pin(Document):
    """pins/<digest of the subject>.json: what reading the object found."""

    contract: Literal[1] = CONTRACT
    subject: PinSubject
    sha256: Sha256
    mode: int


class OnnxFacts(Document):
    """facts/onnx/<sha256>-<revision>.json: what inspecting the file found."""

    contract: Literal[1] = CONTRACT
    io: ModelIO
    external_data: dict[str, int] = Field(default_factory=dict)
    """Path relative to the file's folder -> bytes that the graph reads of it."""


class Owner(Document):
    """owner.json: whose revisions lie here. `uid` is the resource's that published last; empty where
    unknown.
    """

    contract: Literal[1] = CONTRACT
    namespace: str
    name: str
    uid: str = ""


class Provenance(Document):
    """provenance.json of a revision: how it first came about. Not part of its digest."""

    contract: Literal[1] = CONTRACT
    lock: Sha256
    artifacts: tuple[str, ...]
    """Paths of the artifact records used, and of their proofs."""


def parse(kind: type[D], data: bytes) -> D | None:
    """A document read from storage, None where its bytes are none of this contract."""
    try:
        return kind.model_validate_json(data)
    except ValidationError:
        return None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
