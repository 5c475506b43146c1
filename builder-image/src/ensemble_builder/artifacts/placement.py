"""Which files stand where in a model's folder.

Triton reads <model>/config.pbtxt, <model>/<version>/... and files beside the version folders that configs
name (docs/user_guide/model_repository.md of the server).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ensemble_builder.artifacts.layout import CONFIG, KEEP, folder_conflict, is_safe
from ensemble_builder.artifacts.sources import Locked, Version, is_folder, model_versions
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault, LockedFile, LockedSource
from ensembles_api.reasons import Reason
from ensembles_api.spec import Model, Python

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
EMPTY = LockedFile(path=KEEP, sha256=EMPTY_SHA256, size=0)
ENVIRONMENT = "environment.tar.gz"
TOP_FOLDERS = frozenset({"configs", "warmup", "initial_state"})
"""Folders that Triton looks for beside the version folders."""
TOP_NAMES = frozenset({"triton_python_backend_stub", ENVIRONMENT})
CONFIG_LIMIT = 4 << 20
"""Bytes; a bigger file called config.pbtxt is no config."""
DEFAULT_NAMES: Mapping[str, str] = {
    "dali": "model.dali",
    "tensorrt": "model.plan",
    "onnxruntime": "model.onnx",
    "python": "model.py",
}


@dataclass(frozen=True)
class ModelFolder:
    """Files of one model by path below its folder, config.pbtxt apart."""

    files: Mapping[str, LockedFile]
    given_config: LockedFile | None = None
    label_files: Mapping[str, str] = field(default_factory=dict)
    """Output name -> file name."""

    def version_files(self) -> tuple[str, ...]:
        """Names in the version folders."""
        return tuple(
            sorted({rest for head, slash, rest in map(_split, self.files) if slash and _is_version(head)})
        )

    def version_numbers(self) -> tuple[int, ...]:
        return tuple(
            sorted({int(head) for head, slash, _ in map(_split, self.files) if slash and _is_version(head)})
        )


def file_name(model: Model, kind: str) -> str:
    """The name of a model's main file in its version folder."""
    stated = (model.config or {}).get("default_model_filename")
    return str(stated) if stated else DEFAULT_NAMES[kind]


def onnx_main(version: Version, source: LockedSource) -> LockedFile:
    """The .onnx file of a source.

    Raises:
        FaultError: InvalidModel where a folder holds none or several.
    """
    if version.export or not version.is_folder:
        return source.files[0]
    found = [file for file in source.files if file.path.endswith(".onnx")]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(file.path for file in found[:5]) or "none"
    raise _fault(
        Reason.INVALID_MODEL,
        version.source_field,
        f"{version.origin} must hold one .onnx file, and holds {len(found)} ({listed}): name the file, "
        "or keep one in the folder",
    )


def external_files(
    version: Version, source: LockedSource, external_data: Mapping[str, int]
) -> tuple[LockedFile, ...]:
    """The files in which an ONNX graph says its weights lie.

    Args:
        version: of the model.
        source: the .onnx file and what lies beside it.
        external_data: path relative to the .onnx file -> bytes that the graph reads of it.

    Raises:
        FaultError: InvalidModel where one is not in the source, or is too short.
    """
    if not external_data:
        return ()
    base = PurePosixPath(onnx_main(version, source).path).parent
    present = {
        str(PurePosixPath(file.path).relative_to(base)): file
        for file in (source.files if version.is_folder else ())
        if PurePosixPath(file.path).is_relative_to(base)
    }
    missing = [path for path in external_data if path not in present]
    if not missing:
        _check_sizes(version, present, external_data)
        return tuple(present[path].model_copy(update={"path": path}) for path in external_data)
    if not version.is_folder:
        cure = "put it beside the .onnx file and give the folder: a uri ending in /"
    else:
        cure = f"upload it to {version.origin}"
    raise _fault(
        Reason.INVALID_MODEL,
        version.source_field,
        f"the model keeps weights in {missing[0]!r}, which the source does not hold: {cure}",
    )


def _check_sizes(
    version: Version, present: Mapping[str, LockedFile], external_data: Mapping[str, int]
) -> None:
    for path, size in external_data.items():
        if present[path].size < size:
            raise _fault(
                Reason.INVALID_MODEL,
                version.source_field,
                f"{path!r} has {present[path].size} bytes, the model reads {size} of it: it was cut short, "
                "or is of another export; upload both files again",
            )


def place(
    index: int,
    model: Model,
    locked: Locked,
    *,
    external_data: Mapping[str, Mapping[str, int]],
    built: Mapping[str, Sequence[LockedFile]],
    texts: Mapping[str, str],
) -> ModelFolder:
    """A model's folder.

    Args:
        index: its place in spec.models.
        model: the model.
        locked: all sources by field.
        external_data: source field -> an ONNX file's external data, see `external_files`.
        built: field of a model version -> its artifact's files.
        texts: digest -> text of each config.pbtxt among the sources (`given_configs`).

    Raises:
        FaultError: InvalidModel or InvalidSpec naming the source that does not fit.
    """
    files: dict[str, LockedFile] = {}
    given: LockedFile | None = None
    for version in model_versions(index, model):
        if version.kind == "files":
            files, given = _as_is(locked[version.field], texts, single=not version.is_folder)
            continue
        for path, file in _version_files(version, locked, external_data, built).items():
            files[f"{version.number}/{path}"] = file
        if isinstance(version.definition, Python):
            environment = locked.get(f"{version.field}.environment.source")
            packed = environment.files if environment else built.get(f"{version.field}.environment", ())
            if packed:
                files[ENVIRONMENT] = packed[0]
    labels = _labels(index, model, locked)
    for path, file in (*_label_files(index, model, locked, labels), *_extra_files(index, model, locked)):
        if path in files and files[path].sha256 != file.sha256:
            raise _fault(
                Reason.INVALID_SPEC,
                f"spec.models[{index}].extraFiles",
                f"{path} stands in the model's folder already; choose another path",
            )
        files[path] = file
    return _checked(ModelFolder(with_version(files), given, labels), f"spec.models[{index}]")


def with_version(files: Mapping[str, LockedFile]) -> dict[str, LockedFile]:
    """The files, with an empty one in 1/ where no version folder would exist (ensembles on S3 need one)."""
    if any(_is_version(path.split("/", 1)[0]) and "/" in path for path in files):
        return dict(files)
    return {**files, f"1/{KEEP}": EMPTY}


def _version_files(
    version: Version,
    locked: Locked,
    external_data: Mapping[str, Mapping[str, int]],
    built: Mapping[str, Sequence[LockedFile]],
) -> dict[str, LockedFile]:
    source = locked.get(version.source_field)
    if source is None:  # an export that is not built yet
        return {}
    name = file_name(version.model, version.kind)
    match version.kind:
        case "dali" | "tensorrt":
            made = built.get(version.field, ())
            # An autoserialised pipeline is found by its own name, whatever the config says.
            return {file.path if file.path.endswith(".py") else name: file for file in made}
        case "onnxruntime":
            beside = external_files(version, source, external_data.get(version.source_field, {}))
            return {name: onnx_main(version, source), **{file.path: file for file in beside}}
        case "python" if version.is_folder:
            return _python_folder(version, source, name)
        case _:
            return {name: source.files[0]}


def _python_folder(version: Version, source: LockedSource, name: str) -> dict[str, LockedFile]:
    files = {file.path: file for file in source.files}
    if name in files:
        return files
    if any(re.fullmatch(rf"\d+/{re.escape(name)}", path) for path in files):
        cure = f"the folder becomes the version folder: give the folder in which {name} lies, or use `files`"
    else:
        cure = f"upload {name}, or name it in config.default_model_filename"
    message = f"{version.origin} holds no {name}: {cure}"
    raise _fault(Reason.INVALID_MODEL, version.source_field, message)


def _as_is(
    source: LockedSource, texts: Mapping[str, str], *, single: bool
) -> tuple[dict[str, LockedFile], LockedFile | None]:
    """A folder taken over as the model's folder.

    Without a numeric version folder everything moves to 1/, except config.pbtxt, the files it names, and what
    Triton looks for beside the version folders.
    """
    files = {file.path: file for file in source.files}
    given = None if single else files.pop(CONFIG, None)
    if any("/" in path and _is_version(path.split("/", 1)[0]) for path in files):
        return files, given
    top = TOP_NAMES | _named_files(texts.get(given.sha256, "") if given else "")
    placed = {}
    for path, file in files.items():
        stays = not single and (path in top or path.split("/", 1)[0] in TOP_FOLDERS)
        placed[path if stays else f"1/{path}"] = file
    return placed, given


def _named_files(config: str) -> frozenset[str]:
    """Files beside the version folders that a config names: labels, and paths from
    $$TRITON_MODEL_DIRECTORY.
    """
    labels = re.findall(r'label_filename\s*:\s*"([^"]+)"', config)
    others = re.findall(r'"\$\$TRITON_MODEL_DIRECTORY/([^"]+)"', config)
    return frozenset([*labels, *others])


def given_configs(locked: Iterable[LockedSource]) -> tuple[LockedFile, ...]:
    """Every config.pbtxt among the sources: its text decides, so that it has to be read."""
    return tuple(
        file
        for source in locked
        for file in source.files
        if file.path.rpartition("/")[2] == CONFIG and file.size <= CONFIG_LIMIT
    )


def _split(path: str) -> tuple[str, str, str]:
    return path.partition("/")


def _is_version(part: str) -> bool:
    return part.isascii() and part.isdigit() and int(part) > 0


def _labels(index: int, model: Model, locked: Locked) -> dict[str, str]:
    """Output -> file name: labels.txt, or one for each digest where there are several."""
    digests = {
        label.output: locked[f"spec.models[{index}].labels[{place}].source"].files[0].sha256
        for place, label in enumerate(model.labels)
    }
    if len(set(digests.values())) == 1:
        return dict.fromkeys(digests, "labels.txt")
    return {output: f"labels-{digest[:12]}.txt" for output, digest in digests.items()}


def _label_files(
    index: int, model: Model, locked: Locked, names: Mapping[str, str]
) -> list[tuple[str, LockedFile]]:
    return [
        (names[label.output], locked[f"spec.models[{index}].labels[{place}].source"].files[0])
        for place, label in enumerate(model.labels)
    ]


def _extra_files(index: int, model: Model, locked: Locked) -> list[tuple[str, LockedFile]]:
    found = []
    for place, extra in enumerate(model.extra_files):
        at = f"spec.models[{index}].extraFiles[{place}]"
        if extra.path == CONFIG or not is_safe(extra.path):
            message = f"{extra.path!r} cannot be given as a file; use spec.models[{index}].config"
            raise _fault(Reason.INVALID_SPEC, f"{at}.path", message)
        files = locked[f"{at}.source"].files
        if is_folder(extra.source):
            found += [(f"{extra.path}/{file.path}", file) for file in files]
        else:
            found.append((extra.path, files[0]))
    return found


def _checked(folder: ModelFolder, at: str) -> ModelFolder:
    if unsafe := [path for path in folder.files if not is_safe(path)]:
        message = f"{unsafe[0]!r} leaves the model's folder, or cannot be a file's name: rename it"
        raise _fault(Reason.INVALID_SPEC, at, message)
    if conflict := folder_conflict([*folder.files, CONFIG]):
        message = f"{conflict[0]} would be a file and the folder of {conflict[1]}: rename one"
        raise _fault(Reason.INVALID_SPEC, at, message)
    return folder


def _fault(code: Reason, at: str, message: str) -> FaultError:
    return FaultError(Fault(code=code, field=at, message=message))
