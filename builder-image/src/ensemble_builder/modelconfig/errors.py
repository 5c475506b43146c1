"""Faults of a model's configuration and of an ensemble's wiring, and the words they share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason


def invalid_config(field: str, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.INVALID_CONFIG, field=field, message=message))


def invalid_wiring(field: str, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.INVALID_WIRING, field=field, message=message))


def invalid_spec(field: str, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.INVALID_SPEC, field=field, message=message))


def listed(names: Iterable[str], *, none: str = "none") -> str:
    """`a, b and c`, or the word for an empty list."""
    items = list(names)
    if len(items) < 2:  # noqa: PLR2004 - a list of two is the first that needs "and"
        return items[0] if items else none
    return f"{', '.join(items[:-1])} and {items[-1]}"


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean X?` where one of the known names resembles the given one, else nothing."""
    folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)
    return f"; did you mean {folded[close[0]]}?" if close else ""
