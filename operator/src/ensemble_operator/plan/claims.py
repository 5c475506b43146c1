"""A pod that waits for the ResourceClaim of its GPU to be made, or to be prepared on its node.

Neither scheduler nor kubelet say so in its status; only an Event tells why.
"""

from __future__ import annotations

from dataclasses import replace

from ensemble_operator.plan.observation import PodSeen
from ensemble_operator.plan.trouble import Trouble
from ensembles_api.reasons import Reason
from ensembles_api.spec import InferenceEnsembleSpec


def claim_wait(pod: PodSeen) -> Trouble:
    """By `pod.claim_error`, which is not empty."""
    message = f"pod {pod.name}: {pod.claim_error}"
    if any(f'"{template}" not found' in pod.claim_error for template in pod.claim_templates):
        cure = f"{message}; create it in this namespace, or name another"
        return Trouble(Reason.CLAIM_TEMPLATE_MISSING, cure, since=pod.created)
    reason = Reason.QUOTA_EXCEEDED if "exceeded quota" in pod.claim_error else Reason.UNSCHEDULABLE
    return Trouble(reason, message, since=pod.created)


def located(spec: InferenceEnsembleSpec | None, trouble: Trouble | None) -> Trouble | None:
    """The trouble, with the field that names the ResourceClaimTemplate where it is one that is missing."""
    if spec is None or trouble is None or trouble.reason is not Reason.CLAIM_TEMPLATE_MISSING:
        return trouble
    for index, target in enumerate(spec.serving.targets):
        name = target.gpu.resource_claim_template_name if target.gpu else None
        if name and f'"{name}" not found' in trouble.message:
            field = f"spec.serving.targets[{index}].gpu.resourceClaimTemplateName"
            return replace(trouble, field=field)
    return trouble
