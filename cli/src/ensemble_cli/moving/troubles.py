"""What tritonserver would refuse about the models of a repository."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ensemble_builder.modelconfig.backends import BACKEND_OF_FILE, PLATFORMS
from ensemble_cli.moving.found import CONFIG, FoundModel, Trouble

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
"""What spec.models[].name takes."""
STRICT_BACKENDS = ("tensorrt", "onnxruntime", "python", "dali")
"""Those that take no other file than their default one where the config names none."""
BACKEND_OF_PLATFORM = {platform: backend for backend, platform in PLATFORMS.items()}
FILES_BY_SERVER = ("model.savedmodel", "model.graphdef")
"""Further files from which a server concludes the backend."""


def troubles_of(models: Sequence[FoundModel]) -> Iterator[Trouble]:
    """Each with its file and cure."""
    known = {model.name: model for model in models}
    for model in models:
        yield from _names(model)
        if model.is_ensemble:
            yield from _steps(model, known)
        else:
            yield from _versions(model)
    yield from _circle(known)


def _names(model: FoundModel) -> Iterator[Trouble]:
    config = model.folder / CONFIG
    if not NAME.fullmatch(model.name):
        yield Trouble(model.folder, "the name has characters that a model's cannot have: rename the folder")
    if model.config.name and model.config.name != model.name:
        message = f"names the model {model.config.name!r}, but its folder is {model.name!r}: make them equal"
        yield Trouble(config, message)
    if model.config.max_batch_size < 0:
        yield Trouble(config, "max_batch_size is negative: write 0 for a model that does not batch")


def _versions(model: FoundModel) -> Iterator[Trouble]:
    if not model.versions:
        named = next((head for head in model.heads if _holds_a_model(model, head)), "")
        cure = f"rename {named}/ to 1/" if named else "put the model's files into 1/"
        message = f"has no version folder with files (versions are numbers, not beginning with 0): {cure}"
        yield Trouble(model.folder, message)
        return
    wanted = _main_files(model)
    if wanted and not any(_has(model, version, name) for version in model.versions for name in wanted):
        places = " or ".join(f"{model.versions[-1]}/{name}" for name in wanted)
        yield Trouble(model.folder, f"has no {places}: put the model there, or name its file in {CONFIG}")
    if not wanted and not _backend(model) and not model.exotic and not _tells_backend(model):
        yield Trouble(model.folder / CONFIG, "names no backend, and no file tells which it is: set backend")


def _holds_a_model(model: FoundModel, head: str) -> bool:
    return any(_has(model, head, name) for name in (*BACKEND_OF_FILE, *FILES_BY_SERVER))


def _has(model: FoundModel, folder: str, name: str) -> bool:
    """A file, or a folder with files: some formats are folders."""
    path = f"{folder}/{name}"
    return path in model.files or any(file.startswith(f"{path}/") for file in model.files)


def _backend(model: FoundModel) -> str:
    platform = str(model.config.platform)
    return str(model.config.backend) or BACKEND_OF_PLATFORM.get(platform, platform)


def _main_files(model: FoundModel) -> list[str]:
    """One of these must be in a version's folder; empty where that is not known."""
    config = model.config
    if model.exotic or config.cc_model_filenames:
        return []
    if config.default_model_filename:
        return [config.default_model_filename]
    backend = _backend(model)
    return [name for name, of in BACKEND_OF_FILE.items() if of == backend and backend in STRICT_BACKENDS]


def _tells_backend(model: FoundModel) -> bool:
    named = model.config.default_model_filename in BACKEND_OF_FILE
    return named or any(_holds_a_model(model, version) for version in model.versions)


def _steps(model: FoundModel, known: Mapping[str, FoundModel]) -> Iterator[Trouble]:
    config, steps = model.folder / CONFIG, model.config.ensemble_scheduling.step
    if not steps:
        yield Trouble(config, "is an ensemble without steps: add ensemble_scheduling { step [ ... ] }")
    for step in steps:
        called = known.get(step.model_name)
        if called is None:
            message = f"a step calls {step.model_name!r}, which is no model of the repository: add it"
            yield Trouble(config, message)
            continue
        if not (step.input_map and step.output_map):
            yield Trouble(config, f"a step calls {step.model_name!r} without input_map or output_map: add it")
        version = step.model_version
        if version > 0 and not called.is_ensemble and str(version) not in called.versions:
            there = ", ".join(called.versions) or "none"
            message = (
                f"a step asks version {version} of {step.model_name!r}, which has {there}: name one of them"
            )
            yield Trouble(config, message)


def _circle(known: Mapping[str, FoundModel]) -> Iterator[Trouble]:
    """The first circle that is found; every ensemble is looked at once."""
    done: set[str] = set()
    for name in known:
        found = _way_back(name, known, (), done)
        if found:
            yield Trouble(
                known[found[0]].folder / CONFIG,
                f"ensembles call each other in a circle: {' -> '.join(found)}: break it",
            )
            return


def _way_back(
    name: str, known: Mapping[str, FoundModel], way: tuple[str, ...], done: set[str]
) -> tuple[str, ...]:
    if name in way:
        return (*way[way.index(name) :], name)
    if name in done or name not in known:
        return ()
    for step in known[name].config.ensemble_scheduling.step:
        if found := _way_back(step.model_name, known, (*way, name), done):
            return found
    done.add(name)
    return ()
