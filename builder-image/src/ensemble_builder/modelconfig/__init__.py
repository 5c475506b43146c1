"""Model configurations: from what artifacts hold and users state to complete config.pbtxt files.

Pure: no file, network or clock is touched. Rules of tritonserver are cited where they are applied.
"""

from ensemble_builder.faults import FaultError
from ensemble_builder.modelconfig.complete import DALI_DEFAULT_BATCH, ENVIRONMENT_FILE
from ensemble_builder.modelconfig.generate import generate
from ensemble_builder.modelconfig.members import GeneratedRepository, Member, MemberVersion

__all__ = [
    "DALI_DEFAULT_BATCH",
    "ENVIRONMENT_FILE",
    "FaultError",
    "GeneratedRepository",
    "Member",
    "MemberVersion",
    "generate",
]
