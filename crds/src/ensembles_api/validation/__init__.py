"""Checking documents: `parse_spec` for the operator, `validate` for everybody without an API server.

`parse_spec` needs pydantic alone. `validate` also evaluates the CEL rules, for which it imports cel-python.
"""

from ensembles_api.validation.offline import validate
from ensembles_api.validation.parse import SpecError, parse_spec
from ensembles_api.validation.problems import Problem

__all__ = ["Problem", "SpecError", "parse_spec", "validate"]
