"""Jobs: created once under a deterministic name and never applied again.

Attempt n+1 is another Job, so that queues and others may own what they change in one (suspend, nodeSelector).
"""

from ensemble_operator.resources.jobs.analyse import Measurement, analyse_job
from ensemble_operator.resources.jobs.assemble import assemble_job
from ensemble_operator.resources.jobs.build import build_job
from ensemble_operator.resources.jobs.context import JobContext
from ensemble_operator.resources.jobs.prune import prune_job
from ensemble_operator.resources.jobs.verify import verify_job

__all__ = ["JobContext", "Measurement", "analyse_job", "assemble_job", "build_job", "prune_job", "verify_job"]
