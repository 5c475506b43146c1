"""Several versions of one model share one config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.errors import invalid_config, listed
from ensemble_builder.modelconfig.members import Member
from ensemble_builder.modelconfig.tensors import written_tensor
from ensembles_api.contract import ModelIO, Tensor


def agreed_io(member: Member, stated: Mapping[str, Any]) -> ModelIO | None:
    """The tensors that all versions have in common; None where no version's are known.

    Raises:
        FaultError: InvalidConfig, if two versions differ in a tensor or in batching, naming both.
    """
    known = [(version.version, version.io) for version in member.versions if version.io is not None]
    if not known:
        return None
    newest_number, newest = max(known)
    renamed = bool(stated.get("output")) and member.versions[0].kind == "dali"
    for number, other in known:
        difference = _difference(newest, other, by_order=renamed)
        if difference:
            raise invalid_config(
                f"{member.field}.versions",
                f"versions {number} and {newest_number} share one config but differ: {difference}; make them "
                "separate models",
            )
    limits = [io.max_batch_size for _, io in known if io.max_batch_size is not None]
    return newest.model_copy(update={"max_batch_size": min(limits, default=None)})


def _difference(newest: ModelIO, other: ModelIO, *, by_order: bool) -> str:
    if newest.batchable != other.batchable:
        return "only one of them can batch"
    for what, left, right in (
        ("input", newest.inputs, other.inputs),
        ("output", newest.outputs, other.outputs),
    ):
        theirs, ours = _described(right, what, by_order=by_order), _described(left, what, by_order=by_order)
        if theirs != ours:
            changed = sorted(theirs.keys() ^ ours.keys()) or [k for k in ours if ours[k] != theirs[k]]
            return (
                f"{what} {changed[0]} is {theirs.get(changed[0], 'absent')} in the one and "
                f"{ours.get(changed[0], 'absent')} in the other"
            )
    if newest.profiles != other.profiles:
        return "they have different optimization profiles"
    return ""


def _described(tensors: Sequence[Tensor], what: str, *, by_order: bool) -> dict[str, str]:
    """Names to types and shapes; outputs that the config renames by order are compared by order."""
    if by_order and what == "output":
        return {str(index): written_tensor(tensor) for index, tensor in enumerate(tensors)}
    return {tensor.name: written_tensor(tensor) for tensor in tensors}


def served_versions(member: Member, config: ModelConfig) -> frozenset[int] | None:
    """Versions the policy lets the server load (by default the newest); None where none are known."""
    numbers = sorted(version.version for version in member.versions)
    if not numbers:
        return None
    policy = config.version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return frozenset(numbers)
        case "specific":
            return frozenset(numbers) & frozenset(policy.specific.versions)
        case "latest":
            return frozenset(numbers[-max(1, policy.latest.num_versions) :])
        case _:
            return frozenset(numbers[-1:])


def check_versions(member: Member, config: ModelConfig) -> str | None:
    """A warning where a version is published but never served.

    Raises:
        FaultError: InvalidConfig, if the policy names no version there is.
    """
    served = served_versions(member, config)
    if served is None:
        return None
    numbers = [version.version for version in member.versions]
    if not served:
        raise invalid_config(
            f"{member.field}.config.version_policy",
            f"names none of the model's versions {listed(map(str, sorted(numbers)))}: add one of them",
        )
    idle = sorted(set(numbers) - served)
    if not idle or config.HasField("version_policy"):
        return None
    return (
        f"{member.field}: version {listed(map(str, idle))} of {member.name} will not be served, because "
        "Triton serves the newest only: state config.version_policy: {all: {}} or drop it"
    )
