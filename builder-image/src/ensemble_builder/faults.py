"""The one exception of the builder: a failure that carries its reason, field and cure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensembles_api.contract import Fault


class FaultError(Exception):
    """Ends a command; `fault` becomes part of its result."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.code.value}: {fault.field + ': ' if fault.field else ''}{fault.message}")
        self.fault = fault
