"""One model's config: what the artifact says, what the server would conclude, and what the user states.

Where tritonserver completes a config itself it does so from the same facts; stating only a part would change
its conclusions (a stated input turns off ONNX Runtime's automatic batching), so that the conclusion itself is
stated. Sources: onnxruntime_backend onnxruntime.cc, tensorrt_backend model_state.cc, dali_backend
config_tools.cc (each AutoCompleteConfig or AutofillConfig), core model_config_utils.cc
(AutoCompleteBackendFields).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.backends import derive_backend, state_backend
from ensemble_builder.modelconfig.declare import Declaration, declare
from ensemble_builder.modelconfig.errors import invalid_config, invalid_spec, listed, nearest
from ensemble_builder.modelconfig.fields import parse_stated
from ensemble_builder.modelconfig.members import Member, VersionKind
from ensemble_builder.modelconfig.merge import TENSOR_LISTS, overlay
from ensemble_builder.modelconfig.versions import agreed_io
from ensembles_api.contract import ModelIO
from ensembles_api.spec import AutoComplete

ONNX_DEFAULT_BATCH = 4
"""onnxruntime_backend's default-max-batch-size."""
DALI_DEFAULT_BATCH = 64
"""Where neither the spec nor the pipeline states a batch size; a pipeline's buffers grow with it."""
ENVIRONMENT_FILE = "environment.tar.gz"
"""Name of a packed Python environment in the model's folder."""


@dataclass(frozen=True)
class Completed:
    """A model other than an ensemble."""

    config: ModelConfig
    """What the server will work with."""
    text_config: ModelConfig | None
    """What is published; None: nothing, or the given text as it is."""
    state_batch_size: bool = True
    inputs_known: bool = True
    """config.input lists all inputs with type and shape."""
    outputs_known: bool = True
    batch_known: bool = True


def complete(member: Member, *, partial: bool) -> Completed:
    """The config of a model that is not an ensemble.

    Args:
        member: the model.
        partial: unknown tensors are left out instead of being an error.

    Raises:
        FaultError: InvalidConfig (or InvalidSpec) naming the field and the cure.
    """
    stated: Mapping[str, Any] = member.model.config or {}
    field = f"{member.field}.config"
    parse_stated(stated, field)
    _refuse_ensemble_parts(member, stated, field)
    given = parse_given(member)
    config = ModelConfig()
    config.CopyFrom(given)
    kind = kind_of(member)
    overlay(config, stated, leave_out=TENSOR_LISTS)
    config.name = _checked_name(member, stated, given)
    state_backend(config, kind, member, stated)
    if member.left_to_server:
        return _left_to_server(member, kind, config, given, stated)
    io = agreed_io(member, stated)
    return _finish(member, kind, config, stated, io, partial=partial)


def kind_of(member: Member) -> VersionKind:
    kinds = {version.kind for version in member.versions}
    if len(kinds) > 1:
        raise invalid_spec(
            f"{member.field}.versions",
            f"versions of one model share its backend, but these are {listed(sorted(kinds))}: make them "
            "separate models",
        )
    return next(iter(kinds), "files")


def parse_given(member: Member) -> ModelConfig:
    """The config.pbtxt that came with the files; fields that are newer than this builder are skipped."""
    try:
        return text_format.Parse(member.given_config or "", ModelConfig(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise invalid_config(
            member.field, f"config.pbtxt of {member.name} cannot be read: {error}"
        ) from error


def _refuse_ensemble_parts(member: Member, stated: Mapping[str, Any], field: str) -> None:
    if "ensemble_scheduling" in stated:
        raise invalid_config(
            f"{field}.ensemble_scheduling",
            f"{member.name} is not an ensemble: describe ensembles as models of their own, with "
            "ensemble.steps",
        )


def _checked_name(member: Member, stated: Mapping[str, Any], given: ModelConfig) -> str:
    if stated.get("name") not in (None, member.name):
        raise invalid_config(
            f"{member.field}.config.name", f"differs from the model's name {member.name}: remove it"
        )
    if given.name and given.name != member.name:
        raise invalid_config(
            member.field,
            f"config.pbtxt names the model {given.name}, but its folder is {member.name}: make them equal",
        )
    return member.name


def _finish(
    member: Member, kind: VersionKind, config: ModelConfig, stated: Mapping[str, Any],
    io: ModelIO | None, *, partial: bool,
) -> Completed:  # fmt: skip
    batch_known = _state_batch_size(member, kind, config, stated, io, partial=partial)
    tensors = Declaration(kind, io, config.max_batch_size > 0, f"{member.field}.config")
    declare(tensors, config, stated, supplied_tensors(config))
    _ragged_dali_inputs(kind, config, stated, io)
    _state_scheduler(member, kind, config, io)
    _state_profiles(config, stated, io)
    _state_parameters(member, kind, config)
    if io is not None and io.decoupled:
        config.model_transaction_policy.decoupled = True
    _state_labels(member, config)
    known = {key: _all_known(config, key, io) for key in TENSOR_LISTS}
    awaited = kind in ("dali", "tensorrt", "onnxruntime") and partial
    if not awaited:
        _require_tensors(member, kind, config, known)
    return Completed(
        config, config, inputs_known=known["input"], outputs_known=known["output"], batch_known=batch_known
    )


def _all_known(config: ModelConfig, key: str, io: ModelIO | None) -> bool:
    entries = getattr(config, key)
    return io is not None or (bool(entries) and all(entry.data_type and entry.dims for entry in entries))


def _require_tensors(
    member: Member, kind: VersionKind, config: ModelConfig, known: Mapping[str, bool]
) -> None:
    for key in TENSOR_LISTS:
        if known[key]:
            continue
        for index, entry in enumerate(getattr(config, key)):
            if not entry.data_type or not entry.dims:
                missing = "dims" if entry.data_type else "data_type"
                raise invalid_config(
                    f"{member.field}.config.{key}[{index}].{missing}",
                    f"nothing but the config can tell {missing} of {key} {entry.name}: state it",
                )
        raise invalid_config(
            f"{member.field}.config.{key}",
            f"the {key}s of {member.name} cannot be read from its files (kind {kind}): state {key}: "
            f"[{{name, data_type, dims}}], or set autoComplete: Server if the model completes its config "
            "itself",
        )


def _state_batch_size(
    member: Member,
    kind: VersionKind,
    config: ModelConfig,
    stated: Mapping[str, Any],
    io: ModelIO | None,
    *,
    partial: bool,
) -> bool:
    """Sets max_batch_size; False where it depends on an artifact that is not there yet."""
    spec, own = member.model.max_batch_size, stated.get("max_batch_size")
    if spec is not None and own is not None and spec != config.max_batch_size:
        raise invalid_config(
            f"{member.field}.config.max_batch_size",
            f"is {config.max_batch_size}, but {member.field}.maxBatchSize is {spec}: remove one",
        )
    if spec is not None:
        config.max_batch_size = spec
    elif own is None and kind != "files":
        size = _default_batch_size(kind, io)
        # an engine's limit is unknown until it is built, but that it batches is not
        batches = io is not None and io.batchable
        config.max_batch_size = size if size is not None else int(batches)
        return size is not None or (batches and not partial)
    field = f"{member.field}.{'config.max_batch_size' if spec is None else 'maxBatchSize'}"
    _check_batch_size(kind, config, io, field)
    return True


def _default_batch_size(kind: VersionKind, io: ModelIO | None) -> int | None:
    if kind == "python":
        return 0
    if io is None:
        return None
    if not io.batchable:
        return 0
    if kind == "onnxruntime":
        return ONNX_DEFAULT_BATCH
    return io.max_batch_size or (DALI_DEFAULT_BATCH if kind == "dali" else None)


def _check_batch_size(kind: VersionKind, config: ModelConfig, io: ModelIO | None, field: str) -> None:
    size = config.max_batch_size
    if io is None or size == 0 or _batches_by_itself(config):
        return
    if not io.batchable:
        raise invalid_config(
            field,
            f"is {size}, but the model does not batch, because the first axis is not free in every input and "
            "output: re-export with a dynamic first axis, or set 0",
        )
    if kind != "dali" and io.max_batch_size is not None and size > io.max_batch_size:
        raise invalid_config(
            field,
            f"is {size}, but the model was built for batches of at most {io.max_batch_size}: set that or "
            "less",
        )


def _batches_by_itself(config: ModelConfig) -> bool:
    """Ragged batching: the server concatenates requests and tells the model where they begin."""
    return bool(config.batch_input or config.batch_output)


def supplied_tensors(config: ModelConfig) -> frozenset[str]:
    """Tensors of the model that requests do not carry, because the server fills or keeps them."""
    sequence = config.sequence_batching
    names = [name for batch_input in config.batch_input for name in batch_input.target_name]
    names += [control.name for control in sequence.control_input]
    names += [name for state in sequence.state for name in (state.input_name, state.output_name)]
    return frozenset(names)


def _ragged_dali_inputs(
    kind: VersionKind, config: ModelConfig, stated: Mapping[str, Any], io: ModelIO | None
) -> None:
    """Inputs that only the config declares are ragged as well, unless it says otherwise."""
    if kind != "dali" or io is not None or config.max_batch_size == 0:
        return
    told = {entry["name"] for entry in stated.get("input") or [] if "allow_ragged_batch" in entry}
    for entry in config.input:
        if entry.name not in told:
            entry.allow_ragged_batch = True


def _state_scheduler(member: Member, kind: VersionKind, config: ModelConfig, io: ModelIO | None) -> None:
    if member.model.auto_complete is AutoComplete.DECLARED or config.WhichOneof("scheduling_choice"):
        return
    size = config.max_batch_size
    limit = size if io is None or io.max_batch_size is None else io.max_batch_size
    concluded = {
        "dali": size > 0,
        "onnxruntime": size > 1 and not _batches_by_itself(config),
        "tensorrt": size > 0 and limit > 1,
    }
    if concluded.get(kind, False):
        config.dynamic_batching.SetInParent()


def _state_profiles(config: ModelConfig, stated: Mapping[str, Any], io: ModelIO | None) -> None:
    """A TensorRT instance uses profile 0 alone unless its group lists others."""
    if io is None or len(io.profiles) < 2:  # noqa: PLR2004 - one profile is the default one
        return
    groups = stated.get("instance_group") or []
    if not groups:
        config.instance_group.add()
    for index, group in enumerate(config.instance_group):
        if index >= len(groups) or "profile" not in groups[index]:
            group.profile[:] = io.profiles


def _state_parameters(member: Member, kind: VersionKind, config: ModelConfig) -> None:
    model = member.model
    versions = model.versions or []
    if kind == "dali" and "num_threads" not in config.parameters:
        sources = [model.dali, *(version.dali for version in versions)]
        threads = max((dali.threads for dali in sources if dali is not None), default=None)
        if threads is not None:
            config.parameters["num_threads"].string_value = str(threads)
    _state_environment(member, config)


def _state_environment(member: Member, config: ModelConfig) -> None:
    versions = member.model.versions or []
    sources = [member.model.python, *(version.python for version in versions)]
    if any(python is not None and python.environment is not None for python in sources):
        parameter = config.parameters["EXECUTION_ENV_PATH"]
        parameter.string_value = parameter.string_value or f"$$TRITON_MODEL_DIRECTORY/{ENVIRONMENT_FILE}"


def _state_labels(member: Member, config: ModelConfig) -> None:
    outputs = {output.name: output for output in config.output}
    for index, (name, file) in enumerate(member.label_files.items()):
        where = f"{member.field}.labels[{index}].output"
        if name not in outputs:
            if not outputs:
                continue
            raise invalid_config(
                where,
                f"the model has no output {name}: it has {listed(outputs)}{nearest(name, list(outputs))}",
            )
        if outputs[name].label_filename not in ("", file):
            raise invalid_config(
                where,
                f"the config names another label file, {outputs[name].label_filename}: remove one of them",
            )
        outputs[name].label_filename = file


def _left_to_server(
    member: Member, kind: VersionKind, config: ModelConfig, given: ModelConfig, stated: Mapping[str, Any]
) -> Completed:
    """Publishes only what is stated; the config to reckon with is completed as the server will do it."""
    spec = member.model.max_batch_size
    size_stated = (
        spec is not None or "max_batch_size" in stated or states_batch_size(member.given_config or "")
    )
    if spec is not None:
        config.max_batch_size = spec
    bare = ModelConfig()
    bare.CopyFrom(given)
    bare.name, bare.backend, bare.platform = config.name, config.backend, config.platform
    field = f"{member.field}.config"
    declare(Declaration(kind, None, config.max_batch_size > 0, field), config, stated, frozenset())
    _state_labels(member, config)
    if not member.untouched:
        _state_environment(member, config)
    text = ModelConfig()
    text.CopyFrom(config)
    # the server finds out every backend but DALI's by the names of the files
    silent = member.untouched or (text == bare and spec is None and kind != "dali")
    derive_backend(config, member)
    io = member.newest.io if member.newest is not None else None
    if io is not None and not (config.input and config.output):
        if not size_stated:
            config.max_batch_size = _default_batch_size(kind, io) or 0
        batching = config.max_batch_size > 0
        declare(Declaration(kind, io, batching, field), config, {}, supplied_tensors(config))
    return Completed(
        config,
        None if silent else text,
        state_batch_size=size_stated,
        inputs_known=_all_known(config, "input", None),
        outputs_known=_all_known(config, "output", None),
        batch_known=size_stated or io is not None or _batch_size_is_zero(config),
    )


_STRINGS_AND_COMMENTS = re.compile(r"""\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\#.*""")


def states_batch_size(text: str) -> bool:
    """Whether a config.pbtxt holds a max_batch_size, be it 0, which the parsed message cannot tell."""
    return bool(re.search(r"\bmax_batch_size\s*:", _STRINGS_AND_COMMENTS.sub("''", text)))


def _batch_size_is_zero(config: ModelConfig) -> bool:
    """Whether an unstated batch size stays 0; these two backends would still take the artifact's."""
    return bool(config.input) and config.backend not in ("dali", "tensorrt")
