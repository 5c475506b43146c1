"""One InferenceEnsemble out of files, valid, with the ConfigMaps that stand beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ensemble_cli.checking import Text, check, is_ensemble
from ensemble_cli.documents import read_documents
from ensemble_cli.exits import CommandError, Exit
from ensembles_api.spec import InferenceEnsembleSpec
from ensembles_api.validation import parse_spec

DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True)
class Ensemble:
    """A resource that passed every check. `config_maps`: name -> its data, of the same files."""

    name: str
    namespace: str
    document: Mapping[str, Any]
    spec: InferenceEnsembleSpec
    config_maps: Mapping[str, Mapping[str, str]]


def one_ensemble(texts: Iterable[Text], *, name: str = "") -> Ensemble:
    """The ensemble of that name, or the only one.

    Raises:
        CommandError: it is not valid, is not there, or there are several.
    """
    read = tuple(texts)
    report = check(read)
    if not report.valid:
        raise CommandError("\n".join(["not valid", *map(str, report.problems)]))
    documents = [document.data for text in read for document in read_documents(text.content)]
    ensembles = {found["metadata"]["name"]: found for found in documents if is_ensemble(found)}
    names = ", ".join(ensembles) or "none"
    if name and name not in ensembles:
        raise CommandError(f"no ensemble {name!r} there", cure=f"there is: {names}", status=Exit.USAGE)
    if not name and len(ensembles) != 1:
        cure = f"choose one with --name: {names}" if ensembles else "name the file that holds one"
        raise CommandError(f"{len(ensembles)} ensembles there", cure=cure, status=Exit.USAGE)
    document = ensembles[name] if name else next(iter(ensembles.values()))
    return Ensemble(
        name=document["metadata"]["name"],
        namespace=document["metadata"].get("namespace", DEFAULT_NAMESPACE),
        document=document,
        spec=parse_spec(document["spec"]),
        config_maps=dict(_config_maps(documents)),
    )


def _config_maps(documents: Iterable[Any]) -> Iterator[tuple[str, Mapping[str, str]]]:
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "ConfigMap":
            name = (document.get("metadata") or {}).get("name", "")
            yield name, {key: str(text) for key, text in (document.get("data") or {}).items()}
