"""What the API server does to a document before it looks at it: nulls pruned, defaults filled in."""

from __future__ import annotations

import copy
from typing import Any

from ensembles_api.structural import Schema

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def defaulted(value: Any, schema: Schema) -> Any:
    """A copy of `value` as the API server would store it, for a value of the right shape."""
    if isinstance(value, list):
        return [defaulted(item, schema.get("items", {})) for item in value]
    if isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX:
        return float(value)  # which is how the API server reads such a number
    if not isinstance(value, dict):
        return value
    if isinstance(schema.get("additionalProperties"), dict):
        return {key: defaulted(item, schema["additionalProperties"]) for key, item in value.items()}
    properties = schema.get("properties", {})
    result = {key: item for key, item in value.items() if item is not None or key not in properties}
    for name, child in properties.items():
        if name not in result and "default" in child:
            result[name] = copy.deepcopy(child["default"])
    return {name: defaulted(item, properties.get(name, {})) for name, item in result.items()}
