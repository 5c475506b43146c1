"""Runs the user's pipeline file and serialises its pipeline: a process of its own, for user code.

    python -m ensemble_builder.compilers.dali.author JOB

JOB is a JSON file (`Job`); report.json (`Report`) and, without a fault, pipeline.dali are written beside it.
"""

from __future__ import annotations

import difflib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ensemble_builder.compilers.dali.serialized import SOURCE_NAME, parse
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Document, Fault
from ensembles_api.reasons import Reason

DEFAULT_BATCH_SIZE = 64
"""Where neither the resource nor the file states one: DALI allocates for batches seen, not for the limit."""
DECOUPLED_BATCH_SIZE = 1
"""For fn.inputs operators, whose batch is the number of sequences in a response; several may be unequal."""
MODULE = "pipeline"
STARTED = "started"
"""File beside the job that tells an end in user code from a failure of this process before it."""
_OWN_PARAMETERS = ("batch_size", "num_threads", "device_id")


class Job(Document):
    """`field`: path of the model's dali in the resource. `max_batch_size`: None or 0 takes the file's own."""

    source: str
    field: str
    function: str | None
    args: dict[str, Any]
    autoserialize: bool
    threads: int
    max_batch_size: int | None
    dali_version: str
    plugins: tuple[str, ...] = ()


class Report(Document):
    """`own_device`: the GPU that the file itself asks for, if any."""

    fault: Fault | None = None
    function: str = ""
    dali_version: str = ""
    own_device: int | None = None


def main() -> None:
    path = Path(sys.argv[1])
    job = Job.model_validate_json(path.read_bytes())
    sys.argv = [MODULE + ".py"]
    path.with_name(STARTED).touch()
    try:
        report, serialized = _author(job)
        path.with_name("pipeline.dali").write_bytes(serialized)
    except FaultError as error:
        report = Report(fault=error.fault)
    path.with_name("report.json").write_text(report.model_dump_json())


def _author(job: Job) -> tuple[Report, bytes]:
    version = _dali_version(job)
    _load_plugins(job, version)
    module = _load(job)
    name, function = _pipeline_function(module, job)
    arguments = _arguments(function, job)
    with _UserCode(job.field):
        # With Autoserialize the server calls the function as it is; only its device cannot be had here.
        own = function(**arguments)
        settings = {} if job.autoserialize else {"num_threads": job.threads}
        stated = job.max_batch_size or _batch_size(own)
        if not job.autoserialize:
            settings["batch_size"] = stated or DEFAULT_BATCH_SIZE
        elif not _batch_size(own):
            raise _invalid(
                f"{job.field}.source",
                f"the server calls {name} as it is: give @pipeline_def a batch_size, or use mode Serialized",
            )
        serialized = _serialize(function, arguments, settings)
        if not stated and not job.autoserialize and parse(serialized).decoupled:
            settings["batch_size"] = DECOUPLED_BATCH_SIZE
            serialized = _serialize(function, arguments, settings)
    report = Report(
        function=name,
        dali_version=version,
        own_device=own._device_id,  # noqa: SLF001 - the property is missing in older releases
    )
    return report, serialized


def _serialize(function: Callable[..., Any], arguments: dict[str, Any], settings: dict[str, int]) -> bytes:
    return bytes(function(**arguments, **settings, device_id=None).serialize())


def _batch_size(pipeline: Any) -> int | None:
    """What the file states; None where it does not."""
    number: int | None = pipeline._max_batch_size  # noqa: SLF001 - the property raises where none is set
    return number if number and number > 0 else None


def _invalid(field: str, message: str) -> FaultError:
    return FaultError(Fault(code=Reason.INVALID_PIPELINE, field=field, message=message))


def _dali_version(job: Job) -> str:
    try:
        import nvidia.dali  # noqa: PLC0415 - absent from images that cannot compile pipelines
    except ImportError as error:
        raise FaultError(
            Fault(
                code=Reason.NOT_SUPPORTED,
                message=f"this builder image cannot compile DALI pipelines: {error}; use the builder image "
                "of a release, or install the DALI of the server image",
            )
        ) from error
    version: str = nvidia.dali.__version__
    if job.dali_version and version.split("+", maxsplit=1)[0] != job.dali_version:
        raise FaultError(
            Fault(
                code=Reason.RELEASE_MISMATCH,
                field="spec.runtime",
                message=f"the builder image has DALI {version}, the server has {job.dali_version}: a "
                "pipeline fits only the DALI it was made with; use the builder image of the server's release",
            )
        )
    return version


def _load_plugins(job: Job, version: str) -> None:
    from nvidia.dali import plugin_manager  # noqa: PLC0415 - as above

    place = 0
    try:
        for place, plugin in enumerate(job.plugins):  # noqa: B007 - the one that fails is named
            plugin_manager.load_library(plugin)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:300]
        message = f"DALI {version} cannot load it: {said}; build it against this DALI, for this CPU"
        raise _invalid(f"{job.field}.plugins[{place}]", message) from error


class _Loader(importlib.abc.SourceLoader):
    """Gives the user's text a path that is the same everywhere, and its lines to whoever asks."""

    def __init__(self, source: bytes) -> None:
        self._source = source

    def get_filename(self, _fullname: str) -> str:
        return SOURCE_NAME

    def get_data(self, _path: object) -> bytes:
        return self._source


def _load(job: Job) -> ModuleType:
    source = Path(job.source).read_bytes()
    loader = _Loader(source)
    spec = importlib.util.spec_from_loader(MODULE, loader, origin=SOURCE_NAME)
    if spec is None:
        raise AssertionError("a module spec needs nothing but a loader")
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    _check_encoding(source, job.field)
    with _UserCode(job.field):
        loader.exec_module(module)
    return module


def _check_encoding(source: bytes, field: str) -> None:
    """Of the file as Python reads it: UTF-8, unless its first lines name another encoding."""
    try:
        importlib.util.decode_source(source)
    except (UnicodeDecodeError, SyntaxError) as error:
        message = f"the file is no text in the encoding that Python expects of it: {error}; save it as UTF-8"
        raise _invalid(f"{field}.source", message) from error


class _UserCode:
    """Turns what user code raises into a fault that quotes the user's line."""

    def __init__(self, field: str) -> None:
        self._field = field

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(error, FaultError):
            return
        traceback.print_exception(error)
        raise _invalid(f"{self._field}.source", f"{_where(error)}{_what(error)}") from error


def _short(text: str, limit: int = 600) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[:limit].rstrip() + "…"


_CONVERTED = re.compile(rf'File "{re.escape(SOURCE_NAME)}", line (\d+), in \S+ .*\n\s+(.+)')
"""A user's line in the errors of enable_conditionals, where DALI runs a rewritten copy of the function."""
_NOT_SERIALIZABLE = re.compile(r"Could not serialize the operator: `([^`]+)`")


def _what(error: BaseException) -> str:
    text = str(error)
    if operator := _NOT_SERIALIZABLE.search(text):
        return f"{operator[1]} cannot be served: use DALI's operators, or a model of kind python beside it"
    if _CONVERTED.search(text):
        return text.strip().rsplit("\n", 1)[-1].strip()
    if isinstance(error, NotImplementedError) and not _where(error):  # DALI's, where `return` is missing
        return "the function returns no outputs of operators: end it with return"
    return f"{type(error).__name__}: {_short(text)}"


def _where(error: BaseException) -> str:
    """`line 12 `x = ...`: `, or nothing where the error lies elsewhere."""
    if isinstance(error, SyntaxError) and error.filename == SOURCE_NAME:
        return f"line {error.lineno} `{(error.text or '').strip()}`: "
    if converted := _CONVERTED.findall(str(error)):
        return f"line {converted[-1][0]} `{converted[-1][1].strip()}`: "
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == SOURCE_NAME]
    return f"line {frames[-1].lineno} `{_short(frames[-1].line or '', 200)}`: " if frames else ""


def _pipeline_function(module: ModuleType, job: Job) -> tuple[str, Callable[..., Any]]:
    found = dict(_defined(module))
    if job.function is not None:
        return job.function, _named(module, job, found)
    if job.autoserialize:
        found = {name: function for name, function in found.items() if _is_autoserialize(function)}
        if not found:
            raise _invalid(
                job.field,
                "mode Autoserialize needs a function with @autoserialize (nvidia.dali.plugin.triton) above "
                "@pipeline_def: add it, or use mode Serialized",
            )
    if not found:
        raise _invalid(
            f"{job.field}.source",
            "the file defines no pipeline: decorate its function with @pipeline_def (nvidia.dali)",
        )
    if len(found) > 1:
        cure = (
            "leave @autoserialize on one of them, as the server demands"
            if job.autoserialize
            else "name one of them here"
        )
        raise _invalid(
            f"{job.field}.function", f"the file defines several pipelines, {', '.join(found)}: {cure}"
        )
    return next(iter(found.items()))


def _defined(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Pipeline functions of the module by name, each once, in the order of the file."""
    seen: set[int] = set()
    for name, value in vars(module).items():
        if callable(value) and getattr(value, "_is_pipeline_def", False) and id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _is_autoserialize(function: Callable[..., Any]) -> bool:
    return bool(getattr(function, "_is_autoserialize", False))


def _named(module: ModuleType, job: Job, found: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    name = job.function or ""
    if name in found or getattr(vars(module).get(name), "_is_pipeline_def", False):
        function: Callable[..., Any] = vars(module)[name]
        if job.autoserialize and not _is_autoserialize(function):
            raise _invalid(
                f"{job.field}.function",
                f"{name} is not decorated with @autoserialize, which is how the server finds it: add it, or "
                "use mode Serialized",
            )
        return function
    if callable(vars(module).get(name)):
        raise _invalid(
            f"{job.field}.function", f"{name} is not decorated with @pipeline_def: add the decorator"
        )
    raise _invalid(
        f"{job.field}.function",
        f"the file defines no pipeline {name!r}" + (f"; it has {', '.join(found)}" if found else ""),
    )


def _arguments(function: Callable[..., Any], job: Job) -> dict[str, Any]:
    """The function's keyword arguments, `types.X` resolved and every name checked against its signature."""
    parameters = inspect.signature(function).parameters
    hidden = [name for name in _OWN_PARAMETERS if name in parameters]
    if hidden:
        raise _invalid(
            job.field,
            f"the function's parameter {hidden[0]!r} hides the pipeline's own setting of that name, which "
            "comes from the resource: rename the parameter",
        )
    if job.args and job.autoserialize:
        raise _invalid(
            f"{job.field}.args",
            "mode Autoserialize calls the function without arguments: give them defaults in the file, or use "
            "mode Serialized",
        )
    for name in job.args:
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it takes {', '.join(parameters) or 'none'}"
            raise _invalid(f"{job.field}.args.{name}", f"the function has no argument {name!r}{hint}")
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        and name not in job.args
    ]
    if missing:
        where = "give it a default in the file" if job.autoserialize else "state it here"
        raise _invalid(
            f"{job.field}.args.{missing[0]}", f"the function needs argument {missing[0]!r}: {where}"
        )
    return {name: _resolve(value, f"{job.field}.args.{name}") for name, value in job.args.items()}


def _resolve(value: Any, field: str) -> Any:
    if isinstance(value, dict):
        return {name: _resolve(entry, f"{field}.{name}") for name, entry in value.items()}
    if isinstance(value, list):
        return [_resolve(entry, f"{field}[{index}]") for index, entry in enumerate(value)]
    if not (isinstance(value, str) and value.startswith("types.")):
        return value
    from nvidia.dali import types  # noqa: PLC0415 - absent from images that cannot compile pipelines

    name = value.removeprefix("types.")
    if not hasattr(types, name):
        near = difflib.get_close_matches(name, dir(types), n=1)
        raise _invalid(
            field,
            f"nvidia.dali.types has no member {name!r}"
            + (f"; did you mean types.{near[0]}?" if near else ""),
        )
    return getattr(types, name)


if __name__ == "__main__":
    main()
