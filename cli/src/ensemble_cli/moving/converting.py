"""From models of a repository to models of a spec that build to configs of the same meaning.

An ensemble becomes `ensemble.steps`. An ONNX or Python model of one version and nothing unusual becomes its
kind, so that its config can be checked against the model from now on. Everything else is taken as it is
(`files`), and left to the server's own completion where its config.pbtxt does not say all.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.compilers.onnx_graph import inspect
from ensemble_builder.faults import FaultError
from ensemble_builder.modelconfig.fields import EXACT_JSON_INTEGER, is_map
from ensemble_cli.moving.found import CONFIG, FoundModel, FoundRepository
from ensembles_api.names import API_VERSION, KIND

MOST_MODELS = 64
"""spec.models takes no more."""
PLACEHOLDERS = frozenset({".keep", ".gitkeep", ".gitignore", "README.md", ".DS_Store"})
"""Files that only keep an ensemble's version folder alive."""
ONNX_FILE, PYTHON_FILE = "1/model.onnx", "1/model.py"
EXTRA_PATH = re.compile(r"[A-Za-z0-9_.\-]+(/[A-Za-z0-9_.\-]+)*")
MOST_EXTRA_FILES = 32
"""What spec.models[].extraFiles takes."""
OWN_FIELDS = ("name", "backend", "platform", "max_batch_size", "ensemble_scheduling")
"""Fields of a config that the spec says in its own words."""


@dataclass(frozen=True)
class Upload:
    """A file of the repository and the object that it must become."""

    file: str
    uri: str


@dataclass(frozen=True)
class Imported:
    document: dict[str, Any]
    uploads: tuple[Upload, ...]
    notes: tuple[str, ...]


def import_repository(
    found: FoundRepository, *, name: str, uri: str, store: str, secret: str, entrypoint: str = ""
) -> Imported:
    """The resource, and what must be uploaded for it.

    Args:
        found: the repository, without troubles.
        name: metadata.name.
        uri: s3://bucket/prefix where the repository's folders are going to lie.
        store: spec.storage.uri.
        secret: spec.storage.secretName.
        entrypoint: the model clients ask; empty takes the ensemble that no other calls.
    """
    base = uri.rstrip("/")
    spec: dict[str, Any] = {"storage": {"uri": store, "secretName": secret}}
    notes: list[str] = []
    chosen = entrypoint or _entrypoint(found)
    if len(found.models) > MOST_MODELS:
        spec["repository"] = {"uri": f"{base}/"}
        notes.append(f"{len(found.models)} models are more than spec.models takes: taken as one repository")
        uploads = [
            Upload(f"{m.name}/{path}", f"{base}/{m.name}/{path}") for m in found.models for path in m.files
        ]
    else:
        spec["models"] = [_model(model, base) for model in found.models]
        uploads = [upload for model in found.models for upload in _uploads(model, base)]
    if chosen:
        spec["entrypoint"] = chosen
    else:
        notes.append("which model clients ask is not known: set spec.entrypoint")
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    return Imported(document, tuple(uploads), tuple(notes))


def _entrypoint(found: FoundRepository) -> str:
    called = {step.model_name for model in found.models for step in model.config.ensemble_scheduling.step}
    outermost = [model.name for model in found.models if model.is_ensemble and model.name not in called]
    if not outermost and len(found.models) == 1:
        return found.models[0].name
    return outermost[0] if len(outermost) == 1 else ""


def _model(model: FoundModel, base: str) -> dict[str, Any]:
    if model.exotic:
        return _as_is(model, base)
    if model.is_ensemble:
        return _ensemble(model, base)
    if _is_plain(model, ONNX_FILE, ("onnxruntime", "")) and _onnx_is_safe(model):
        return _typed(model, base, "onnxruntime", ONNX_FILE)
    if _is_plain(model, PYTHON_FILE, ("python",)) and _says_all(model):
        return _typed(model, base, "python", PYTHON_FILE)
    return _as_is(model, base)


def _uploads(model: FoundModel, base: str) -> list[Upload]:
    made = _model(model, base)
    taken = model.files if "files" in made else [path for path in model.files if path != CONFIG]
    if "ensemble" in made:
        taken = [path for path in taken if not _is_placeholder(path)]
    return [Upload(f"{model.name}/{path}", f"{base}/{model.name}/{path}") for path in taken]


def _is_plain(model: FoundModel, main: str, backends: tuple[str, ...]) -> bool:
    """One version with just its main file, and beside it nothing but label files that the config names."""
    labels = {output.label_filename for output in model.config.output}
    if model.config.backend not in backends or set(model.files) - {CONFIG, main} - labels:
        return False
    platform = model.config.platform
    return main in model.files and platform in {"", "onnxruntime_onnx"} and not _has_variants(model.config)


def _has_variants(config: ModelConfig) -> bool:
    return bool(config.default_model_filename or config.cc_model_filenames)


def _onnx_is_safe(model: FoundModel) -> bool:
    """The builder concludes the same from the graph as the server would: I/O all stated, or not at all."""
    config = model.config
    if not config.backend and not config.platform and config.ByteSize():
        return False
    if not config.input and not config.output:
        return True
    return _says_all(model) and _states_the_graph(model)


def _states_the_graph(model: FoundModel) -> bool:
    """The config names the graph's tensors, and no initializer, which a server takes as an input as well."""
    try:
        io = inspect(model.folder / ONNX_FILE, field=model.name).io
    except FaultError:
        return False
    inputs, outputs = ({each.name for each in part} for part in (model.config.input, model.config.output))
    return inputs == {each.name for each in io.inputs} and outputs <= {each.name for each in io.outputs}


def _says_all(model: FoundModel) -> bool:
    """The server has nothing to complete, and does not ask the model to."""
    config = model.config
    tensors = [*config.input, *config.output]
    if not (config.input and config.output) or not all(each.data_type and each.dims for each in tensors):
        return False
    if config.backend == "python":
        sources = [path for path in model.files if path.endswith(".py")]
        return not any("auto_complete_config" in model.text(path) for path in sources)
    # These backends add a scheduler to what batches and names none.
    scheduled = config.WhichOneof("scheduling_choice") is not None
    return bool(config.backend or config.platform) and (scheduled or config.max_batch_size <= 1)


def _typed(model: FoundModel, base: str, kind: str, main: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": model.name}
    if model.stated_batch:
        made["maxBatchSize"] = model.config.max_batch_size
    made[kind] = {"source": {"uri": f"{base}/{model.name}/{main}"}}
    return made | _rest(model, base)


def _ensemble(model: FoundModel, base: str) -> dict[str, Any]:
    steps = [
        {
            "model": step.model_name,
            "version": step.model_version,
            "inputs": [{"name": key, "from": step.input_map[key]} for key in sorted(step.input_map)],
            "outputs": [{"name": key, "to": step.output_map[key]} for key in sorted(step.output_map)],
        }
        for step in model.config.ensemble_scheduling.step
    ]
    beside = _beside(model)
    if any(step.model_namespace for step in model.config.ensemble_scheduling.step) or (
        len(beside) > MOST_EXTRA_FILES or not all(map(EXTRA_PATH.fullmatch, beside))
    ):
        return _as_is(model, base)
    made = {"name": model.name, "maxBatchSize": model.config.max_batch_size, "ensemble": {"steps": steps}}
    return made | _rest(model, base)


def _rest(model: FoundModel, base: str) -> dict[str, Any]:
    """What the config says beyond the spec's own words, and the files that it names."""
    config = {key: value for key, value in message_data(model.config).items() if key not in OWN_FIELDS}
    extra = [{"path": path, "source": {"uri": f"{base}/{model.name}/{path}"}} for path in _beside(model)]
    return {**({"config": config} if config else {}), **({"extraFiles": extra} if extra else {})}


def _beside(model: FoundModel) -> list[str]:
    known = {CONFIG, ONNX_FILE, PYTHON_FILE}
    return [path for path in model.files if path not in known and not _is_placeholder(path)]


def _is_placeholder(path: str) -> bool:
    return path.rpartition("/")[2] in PLACEHOLDERS


def _as_is(model: FoundModel, base: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": model.name, "files": {"uri": f"{base}/{model.name}/"}}
    if not model.is_ensemble and (model.exotic or not _says_all(model)):
        made["autoComplete"] = "Server"
    return made


def message_data(message: Message) -> dict[str, Any]:
    """A message as `config` of the spec takes it: fields by their own names, what is unset left out."""
    return {field.name: _field_data(field, value) for field, value in message.ListFields()}


def _field_data(field: FieldDescriptor, value: Any) -> Any:
    if is_map(field):
        values = field.message_type.fields_by_name["value"]
        items: Mapping[Any, Any] = value
        return {str(key): _single(values, items[key]) for key in sorted(items)}
    if field.is_repeated:
        return [_single(field, item) for item in value]
    return _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return message_data(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > EXACT_JSON_INTEGER:
        return str(value)
    return value
