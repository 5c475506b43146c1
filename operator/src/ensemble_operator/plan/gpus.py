"""The GPU product of each target: an engine fits only the type it was built on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from pydantic import ValidationError

from ensemble_operator.plan import history
from ensemble_operator.plan.observation import Observation
from ensemble_operator.plan.trouble import Trouble
from ensemble_operator.resources.gpu import PRODUCT_LABEL
from ensemble_operator.resources.request import REQUEST_FILE
from ensembles_api.contract import Request, TargetRequest
from ensembles_api.reasons import Reason
from ensembles_api.spec import Gpu, InferenceEnsembleSpec
from ensembles_api.targets import has_engine, is_engine, stated_targets


def asks_what_nodes_offer(observation: Observation) -> bool:
    """Whether that decides which GPU an engine is built for, or tells why a pod finds none."""
    spec = observation.spec
    if spec is not None and has_engine(spec) and any(map(_is_open, stated_targets(spec))):
        return True
    of_jobs = (pod for job in observation.jobs for pod in job.pods)
    of_servers = (pod for deployment in observation.deployments for pod in deployment.pods)
    pods = (*of_jobs, *of_servers)
    return any(pod.unscheduled_reason and PRODUCT_LABEL in pod.node_selector for pod in pods)


def named_targets(
    observation: Observation, spec: InferenceEnsembleSpec
) -> tuple[TargetRequest, ...] | Trouble:
    """The targets, with the product of those on which an engine runs.

    What the cluster has one type of need not be said. A type once chosen stays as long as the cluster has it
    (or has none at present): a second type that joins must not stop what serves.
    """
    stated = stated_targets(spec)
    if not has_engine(spec):
        return stated
    found: list[TargetRequest] = []
    for index, target in enumerate(stated):
        if target.gpu is None:
            return _no_place_for_engines(spec, target, field=f"spec.serving.targets[{index}].gpu")
        field = (
            f"spec.serving.targets[{index}].gpu.product" if spec.serving.targets else "spec.serving.targets"
        )
        product = target.gpu.product or _product(observation, target, target.gpu, field)
        if isinstance(product, Trouble):
            return product
        gpu = target.gpu.model_copy(update={"product": product})
        found.append(target.model_copy(update={"gpu": gpu}))
    return tuple(found)


def _no_place_for_engines(spec: InferenceEnsembleSpec, target: TargetRequest, *, field: str) -> Trouble:
    """Every target serves every model, and its engine would be built on whatever GPU is free."""
    engines = ", ".join(repr(model.name) for model in spec.models if is_engine(model))
    return Trouble(
        Reason.INVALID_SPEC,
        f"target {target.name!r} serves on the CPU, where no TensorRT engine runs ({engines}): give it a "
        "gpu, leave the target out, or use onnxruntime",
        field=field,
    )


def _is_open(target: TargetRequest) -> bool:
    return target.gpu is not None and not target.gpu.product


def _product(observation: Observation, target: TargetRequest, gpu: Gpu, field: str) -> str | Trouble:
    """The product to name where the target names none."""
    offered, gone = _offered(observation, gpu), _offered(observation, gpu, none_left=True)
    chosen = _chosen_before(observation, target)
    if chosen and (not offered or chosen in {*offered, *gone}):
        return chosen
    offered = offered or gone
    if len(offered) == 1:
        return offered[0]
    if offered:
        return Trouble(
            Reason.GPU_AMBIGUOUS,
            f"an engine fits one GPU type, and the cluster has {', '.join(offered)}: name one as the "
            "product, or make a target for each",
            field=field,
        )
    why = (
        "the operator may not read nodes"
        if observation.gpu_offers is None
        else f"no node with the label nvidia.com/gpu.product offers {gpu.resource_name}"
    )
    message = f"an engine fits one GPU type, and {why}: name the product (the value of that node label)"
    return Trouble(Reason.GPU_UNKNOWN, message, field=field)


def _offered(observation: Observation, gpu: Gpu, *, none_left: bool = False) -> list[str]:
    """Products that nodes offer under the target's resource, or have offered and have `none_left` of; a
    claim's devices are no such resources.
    """
    return sorted(
        {
            offer.product
            for offer in observation.gpu_offers or ()
            if gpu.resource_claim_template_name
            or gpu.resource_name in (offer.none_left if none_left else offer.resources)
        }
    )


def _chosen_before(observation: Observation, target: TargetRequest) -> str:
    """What the newest promoted rollout has for this target; before there is one, the chain that runs."""
    promoted = [
        r for r in observation.rollouts if history.outcome(r) in {history.PROMOTED, history.SUPERSEDED}
    ]
    newest_first = sorted(promoted, key=lambda r: r.number, reverse=True)
    known = [*(r.data.targets for r in newest_first), *_requested(observation)]
    return next((product for targets in known if (product := _product_of(targets, target))), "")


def _requested(observation: Observation) -> Iterator[tuple[TargetRequest, ...]]:
    for seen in observation.requests:
        if seen.deleting or not history.is_ours(seen, observation):
            continue
        with suppress(KeyError, ValidationError):  # another operator version's, or edited
            yield Request.model_validate_json(seen.manifest["data"][REQUEST_FILE]).targets


def _product_of(targets: tuple[TargetRequest, ...], target: TargetRequest) -> str:
    for known in targets:
        same = known.gpu and target.gpu and known.gpu.resource_name == target.gpu.resource_name
        if known.name == target.name and same and known.gpu and known.gpu.product:
            return str(known.gpu.product)
    return ""
