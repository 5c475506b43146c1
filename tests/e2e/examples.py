"""The repository's examples, prepared by their own prepare.py and applied to a test's namespace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e import live

EXAMPLES = live.ROOT / "examples"


def apply_examples(
    space: live.Namespace, names: Iterable[str], folders: pytest.TempPathFactory, **serving: Any
) -> None:
    """All of them at once; `serving` goes into spec.serving."""
    documents = []
    for name in names:
        prepare_example(name, space, folders.mktemp(name))
        document = example_document(name, space)
        document["spec"]["serving"].update(serving)
        documents.append(document)
    space.kubectl("apply", "-f", "-", text=yaml.safe_dump_all(documents))


def example_document(name: str, space: live.Namespace) -> dict[str, Any]:
    """An example's ensemble, but for namespace, uris and what it asks of the node."""
    document: dict[str, Any] = _moved(yaml.safe_load((EXAMPLES / name / "ensemble.yaml").read_text()), space)
    document["metadata"]["namespace"] = space.name
    document["spec"]["serving"] = {"resources": live.SMALL}
    return document


def prepare_example(example: str, space: live.Namespace, folder: Path) -> None:
    """Run the example's prepare.py and upload what it made."""
    subprocess.run([sys.executable, str(EXAMPLES / example / "prepare.py"), str(folder)], check=True)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            space.put(f"examples/{example}/{file.relative_to(folder)}", file.read_bytes())


def _moved(node: Any, space: live.Namespace) -> Any:
    """The manifest with every uri below the namespace's own prefix."""
    if isinstance(node, dict):
        return {key: _moved(value, space) for key, value in node.items()}
    if isinstance(node, list):
        return [_moved(value, space) for value in node]
    if isinstance(node, str):
        return node.replace(f"s3://{live.BUCKET}/", f"s3://{live.BUCKET}/{space.name}/")
    return node
