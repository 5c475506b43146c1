"""Hand-written repositories: folders that are models already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ensemble_builder.artifacts.layout import CONFIG
from ensemble_builder.artifacts.placement import ModelFolder, with_version
from ensemble_builder.artifacts.sources import REPOSITORY
from ensemble_builder.faults import FaultError
from ensembles_api.contract import Fault, LockedFile, LockedSource
from ensembles_api.reasons import Reason

MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


def repository_models(source: LockedSource, *, taken: Iterable[str]) -> Mapping[str, ModelFolder]:
    """Model name -> its folder, nothing moved.

    Args:
        source: the prefix's files.
        taken: names of spec.models.

    Raises:
        FaultError: InvalidSpec where the prefix holds no model, or one whose name is taken or unusable.
    """
    folders: dict[str, dict[str, LockedFile]] = {}
    for file in source.files:
        model, slash, path = file.path.partition("/")
        if slash:
            folders.setdefault(model, {})[path] = file
    if not folders:
        raise _fault(
            "the prefix holds no model folder: its folders must be models, as in <uri>/my_model/1/model.onnx"
        )
    if all(name.isdigit() for name in folders):
        raise _fault("the prefix is a model, not a repository: give the folder above, or use models[].files")
    for name in folders:
        if not MODEL_NAME.fullmatch(name):
            raise _fault(f"folder {name!r} cannot be a model's name: use letters, digits, _ . and -")
        if name in set(taken):
            raise _fault(f"model {name!r} stands in spec.models as well: rename one")
    return {name: _folder(files) for name, files in sorted(folders.items())}


def _folder(files: dict[str, LockedFile]) -> ModelFolder:
    given = files.pop(CONFIG, None)
    return ModelFolder(with_version(files), given)


def _fault(message: str) -> FaultError:
    return FaultError(Fault(code=Reason.INVALID_SPEC, field=f"{REPOSITORY}.uri", message=message))
