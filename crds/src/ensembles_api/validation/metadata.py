"""What an API server asks of `metadata`, which the CRD's schema leaves to it.

Source of the rules: ObjectMeta and the label and annotation rules of Kubernetes (apimachinery's validation).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ensembles_api.validation.problems import Problem, path, unknown

FIELDS = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation",
    "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations",
    "ownerReferences", "finalizers", "managedFields",
)  # fmt: skip
LISTS = ("ownerReferences", "finalizers", "managedFields")
MOST_ANNOTATED = 256 * 1024
"""Bytes of all annotations, keys included."""
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?")
_KEY_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.\-]{0,61}[A-Za-z0-9])?")
_KEY_PREFIX = re.compile(r"[a-z0-9]([a-z0-9\-.]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.\-]{0,61}[A-Za-z0-9])?)?")


def metadata_problems(document: dict[str, Any]) -> Iterator[Problem]:
    """The faults of a document's metadata; a name that is a string is left to the CEL rule about it."""
    metadata = document.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        yield Problem("metadata", "must be an object")
        return
    found = metadata or {}
    yield from _name(found)
    for field in found:
        if field not in FIELDS:
            yield Problem(path(["metadata", str(field)]), unknown(str(field), FIELDS))
    namespace = found.get("namespace", "default")
    if not isinstance(namespace, str):
        yield Problem("metadata.namespace", "must be a string; quote it")
    elif namespace and not _NAMESPACE.fullmatch(namespace):
        cure = "use at most 63 lower-case letters, digits and hyphens"
        yield Problem("metadata.namespace", f"{namespace!r} is no namespace: {cure}")
    yield from _texts("labels", found.get("labels"))
    yield from _texts("annotations", found.get("annotations"))
    for field in LISTS:
        if not isinstance(found.get(field, []), list):
            yield Problem(f"metadata.{field}", "must be a list")


def _name(metadata: dict[str, Any]) -> Iterator[Problem]:
    name = metadata.get("name")
    if name is None:
        yield Problem("metadata.name", "required; name the resource")
    elif not isinstance(name, str):
        yield Problem("metadata.name", "must be a string; quote it")


def _texts(field: str, texts: Any) -> Iterator[Problem]:
    if texts is None:
        return
    if not isinstance(texts, dict):
        yield Problem(f"metadata.{field}", "must be an object of strings, as in KEY: VALUE")
        return
    for key, text in texts.items():
        at = path(["metadata", field, str(key)])
        if not _is_key(str(key)):
            yield Problem(at, f"{key!r} is no key: write NAME or DOMAIN/NAME, of letters, digits, - _ and .")
        if not isinstance(text, str) and text is not None:
            yield Problem(at, "must be a string; quote it")
        elif field == "labels" and not _LABEL.fullmatch(text or ""):
            cure = "use at most 63 letters, digits, - _ and ., or an annotation"
            yield Problem(at, f"{text!r} is no label's value: {cure}")
    size = sum(len(f"{key}{text}".encode(errors="surrogatepass")) for key, text in texts.items())
    if field == "annotations" and size > MOST_ANNOTATED:
        yield Problem("metadata.annotations", f"has {size} bytes, more than {MOST_ANNOTATED}: shorten it")


def _is_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return bool(_KEY_NAME.fullmatch(name) and (not slash or _KEY_PREFIX.fullmatch(prefix)))
