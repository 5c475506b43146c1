"""What all documents share."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ensembles_api.reasons import Reason

CONTRACT: Final = 1
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
