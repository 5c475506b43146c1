"""What tritonserver refuses about a single model's config (core: model_config_utils.cc, Validate...).

The server says so only when it loads the model; here the field of the resource is named.
"""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2 as pb

from ensemble_builder.modelconfig.errors import invalid_config
from ensemble_builder.modelconfig.tensors import ANY, reshape_problem

TENSORRT = "tensorrt_plan"
IMAGE_RANK = 3


def check_config(config: pb.ModelConfig, field: str) -> None:
    """Runs all checks.

    Args:
        config: a complete config.
        field: path of the config in the resource.

    Raises:
        FaultError: InvalidConfig.
    """
    for check in (
        _tensors,
        _batch_size,
        _dynamic_batching,
        _sequence_batching,
        _instance_groups,
        _cache,
        _batch_io,
    ):
        check(config, field)


def _tensors(config: pb.ModelConfig, field: str) -> None:
    for key in ("input", "output"):
        names: set[str] = set()
        for index, tensor in enumerate(getattr(config, key)):
            where = f"{field}.{key}[{index}]"
            if tensor.name in names:
                raise invalid_config(
                    f"{where}.name", f"{key} {tensor.name} stands twice: rename or remove one"
                )
            names.add(tensor.name)
            _tensor(config, tensor, where)
        for index, tensor in enumerate(config.input if key == "input" else ()):
            if tensor.format != pb.ModelInput.FORMAT_NONE and len(tensor.dims) != IMAGE_RANK:
                raise invalid_config(
                    f"{field}.input[{index}].format",
                    f"an image format needs 3 dims, found {list(tensor.dims)}",
                )


def _tensor(config: pb.ModelConfig, tensor: pb.ModelInput | pb.ModelOutput, where: str) -> None:
    for part, sizes in (("dims", tensor.dims), ("reshape.shape", tensor.reshape.shape)):
        for size in sizes:
            if size < 1 and size != ANY:
                raise invalid_config(
                    f"{where}.{part}",
                    f"{tensor.name} has a size of {size}: sizes are 1 or more, or -1 for any size",
                )
    if tensor.HasField("reshape"):
        problem = reshape_problem(tensor.dims, tensor.reshape.shape, batching=config.max_batch_size > 0)
        if problem:
            raise invalid_config(f"{where}.reshape", f"{tensor.name}: {problem}")
    for flag in ("is_shape_tensor", "is_non_linear_format_io"):
        if getattr(tensor, flag) and config.platform != TENSORRT:
            raise invalid_config(f"{where}.{flag}", "only TensorRT models have such tensors: remove it")


def _batch_size(config: pb.ModelConfig, field: str) -> None:
    if config.max_batch_size < 0:
        raise invalid_config(f"{field}.max_batch_size", "must be 0 (no batching) or more")


def _dynamic_batching(config: pb.ModelConfig, field: str) -> None:
    batching = config.dynamic_batching
    where = f"{field}.dynamic_batching"
    _preferred(batching.preferred_batch_size, config, f"{where}.preferred_batch_size")
    levels = batching.priority_levels
    if levels and not 1 <= batching.default_priority_level <= levels:
        raise invalid_config(
            f"{where}.default_priority_level", f"state a level from 1 to priority_levels ({levels})"
        )
    for level in batching.priority_queue_policy:
        if not 1 <= level <= levels:
            raise invalid_config(
                f"{where}.priority_queue_policy.{level}", f"levels go from 1 to priority_levels ({levels})"
            )
    if batching.preserve_ordering and levels > 1:
        raise invalid_config(
            f"{where}.preserve_ordering", "does not go with several priority levels: drop one"
        )
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    delayed = any(
        policy.default_timeout_microseconds and policy.timeout_action == pb.ModelQueuePolicy.DELAY
        for policy in policies
    )
    if batching.preserve_ordering and delayed:
        raise invalid_config(f"{where}.preserve_ordering", "does not go with timeout_action DELAY: drop one")


def _preferred(sizes: list[int], config: pb.ModelConfig, where: str) -> None:
    for size in sizes:
        if not 1 <= size <= config.max_batch_size:
            raise invalid_config(
                where, f"holds {size}: preferred sizes go from 1 to max_batch_size ({config.max_batch_size})"
            )


def _sequence_batching(config: pb.ModelConfig, field: str) -> None:
    if not config.HasField("sequence_batching"):
        return
    where = f"{field}.sequence_batching"
    batching = config.sequence_batching
    _preferred(batching.oldest.preferred_batch_size, config, f"{where}.oldest.preferred_batch_size")
    if not 0 <= batching.direct.minimum_slot_utilization <= 1:
        raise invalid_config(f"{where}.direct.minimum_slot_utilization", "must lie between 0 and 1")


def _instance_groups(config: pb.ModelConfig, field: str) -> None:
    for index, group in enumerate(config.instance_group):
        where = f"{field}.instance_group[{index}]"
        if group.gpus and group.kind in (pb.ModelInstanceGroup.KIND_CPU, pb.ModelInstanceGroup.KIND_MODEL):
            kind = pb.ModelInstanceGroup.Kind.Name(group.kind)
            raise invalid_config(f"{where}.gpus", f"a group of {kind} names no GPUs: remove gpus or the kind")
        if group.kind == pb.ModelInstanceGroup.KIND_CPU and config.platform == TENSORRT:
            raise invalid_config(f"{where}.kind", "TensorRT engines run on GPUs only: use KIND_GPU")
        if group.profile and config.platform != TENSORRT:
            raise invalid_config(f"{where}.profile", "only TensorRT models have profiles: remove it")
        for profile in group.profile:
            if not profile.isdecimal():
                raise invalid_config(f"{where}.profile", f"holds {profile!r}: profiles are numbers from 0 on")


def _cache(config: pb.ModelConfig, field: str) -> None:
    if not config.response_cache.enable:
        return
    for what, holds in (
        ("sequence batching", config.HasField("sequence_batching")),
        ("decoupled responses", config.model_transaction_policy.decoupled),
    ):
        if holds:
            raise invalid_config(f"{field}.response_cache", f"does not go with {what}: turn one off")


def _batch_io(config: pb.ModelConfig, field: str) -> None:
    inputs = {tensor.name for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    for key in ("batch_input", "batch_output"):
        for index, entry in enumerate(getattr(config, key)):
            where = f"{field}.{key}[{index}]"
            if len(entry.source_input) != 1:
                raise invalid_config(f"{where}.source_input", "name exactly one input")
            if entry.source_input[0] not in inputs:
                raise invalid_config(
                    f"{where}.source_input", f"the model has no input {entry.source_input[0]}"
                )
            for name in entry.target_name if key == "batch_output" else ():
                if name not in outputs:
                    raise invalid_config(f"{where}.target_name", f"the model has no output {name}")
