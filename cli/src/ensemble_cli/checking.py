"""What is wrong with files of Kubernetes resources, said with file, line, column and field."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ensemble_cli.documents import Document, DocumentError, Position, read_documents
from ensemble_cli.exits import CommandError, Exit
from ensembles_api.names import GROUP, KIND
from ensembles_api.validation import Problem, validate

STDIN = "-"
SUFFIXES = frozenset({".yaml", ".yml", ".json"})
LARGEST = 16 * 1024 * 1024
"""Bytes of a file: an API server takes a few MiB a resource, and to read more takes minutes."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong; line and column from 1."""

    file: str
    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        return f"{self.file}:{self.line}:{self.column}: {field}{self.message}"


@dataclass(frozen=True)
class Checked:
    """One InferenceEnsemble that was looked at."""

    file: str
    line: int
    namespace: str
    name: str
    valid: bool


@dataclass(frozen=True)
class Report:
    resources: tuple[Checked, ...]
    problems: tuple[Fault, ...]
    ignored: int
    """Resources of other kinds."""

    @property
    def valid(self) -> bool:
        return not self.problems

    def data(self) -> dict[str, Any]:
        return {"valid": self.valid, **asdict(self)}


@dataclass(frozen=True)
class Text:
    """A file's name, as messages give it, and what it holds."""

    file: str
    content: str


def read_texts(names: Iterable[str]) -> Iterator[Text]:
    """The texts of files, of the YAML and JSON files of folders, and of standard input for "-".

    Raises:
        CommandError: one of them cannot be read.
    """
    for name in names:
        if name == STDIN:
            yield _standard_input()
        else:
            yield from map(_read, _files(Path(name)))


def _standard_input() -> Text:
    if sys.stdin is None:  # closed by whoever started us
        raise CommandError("standard input is closed", cure="name a file", status=Exit.USAGE)
    return _text("standard input", sys.stdin.buffer.read(LARGEST + 1))


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and not file.is_dir())
    except OSError as error:
        raise _unreadable(path, error) from error
    if not files:
        raise CommandError(f"{path} holds no .yaml or .json file", cure="name the file", status=Exit.USAGE)
    return files


def _read(file: Path) -> Text:
    try:
        with file.open("rb") as stream:
            return _text(str(file), stream.read(LARGEST + 1))
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(path: Path, error: OSError) -> CommandError:
    return CommandError(
        f"{path} cannot be read: {error.strerror}", cure="check the path and your rights", status=Exit.USAGE
    )


def _text(name: str, content: bytes) -> Text:
    if len(content) > LARGEST:
        message = f"{name} has more than {LARGEST >> 20} MiB"
        raise CommandError(message, cure="name a file of Kubernetes resources", status=Exit.USAGE)
    try:
        return Text(name, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CommandError(
            f"{name}:{line}: is not UTF-8", cure="save it as UTF-8", status=Exit.USAGE
        ) from None


def check(texts: Iterable[Text]) -> Report:
    """Every InferenceEnsemble of the texts against every rule; resources of other kinds are counted."""
    resources: list[Checked] = []
    problems: list[Fault] = []
    ignored = 0
    for text in texts:
        seen: set[tuple[str, str]] = set()
        try:
            for document in read_documents(text.content):
                if not is_ensemble(document.data):
                    ignored += 1
                    continue
                found = _problems(document) or _twice(document, seen)
                resources.append(_checked(text.file, document, valid=not found))
                problems += [_fault(text.file, document, problem) for problem in found]
        except DocumentError as error:
            at = error.position
            problems.append(Fault(text.file, at.line, at.column, "", str(error)))
    return Report(tuple(resources), tuple(problems), ignored)


def is_ensemble(data: Any) -> bool:
    """Meant to be one of ours, by kind or by API group; what is no Kubernetes object is ours to refuse."""
    if not isinstance(data, dict):
        return True
    kind, api_version = data.get("kind"), data.get("apiVersion")
    if kind is None and api_version is None:
        return True
    return kind == KIND or str(api_version).startswith(f"{GROUP}/")


def _problems(document: Document) -> list[Problem]:
    data = document.data
    if not isinstance(data, dict) or not {"kind", "apiVersion"} & data.keys():
        return [Problem("", f"is no Kubernetes resource: it has neither apiVersion nor kind {KIND}")]
    return validate(data)


def _twice(document: Document, seen: set[tuple[str, str]]) -> list[Problem]:
    """Of two documents of one file that name the same resource, kubectl would leave the last alone."""
    metadata = document.data["metadata"]
    named = (metadata.get("namespace") or "", metadata["name"])
    if named in seen:
        return [Problem("metadata.name", f"{named[1]!r} stands twice in this file: rename or remove one")]
    seen.add(named)
    return []


def _fault(file: str, document: Document, problem: Problem) -> Fault:
    # Rules of an object begin their message with the field they speak of.
    spoken_of = f"{problem.field}.{problem.message.partition(':')[0]}".lstrip(".")
    at = document.position(spoken_of if spoken_of in document.positions else problem.field)
    return Fault(file, at.line, at.column, problem.field, problem.message)


def _checked(file: str, document: Document, *, valid: bool) -> Checked:
    metadata = document.data.get("metadata") if isinstance(document.data, dict) else None
    known = metadata if isinstance(metadata, dict) else {}
    at: Position = document.position("")
    return Checked(file, at.line, str(known.get("namespace", "")), str(known.get("name", "")), valid)
