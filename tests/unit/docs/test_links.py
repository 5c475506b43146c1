"""Links between pages, and to files of the repository, lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.docs.blocks import PAGES, REPOSITORY

CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Path and anchor of each link that stays in the repository."""
    for found in LINK.finditer(CODE.sub("", page.read_text(encoding="utf-8"))):
        yield found[1], found[2] or ""


def anchors(page: Path) -> set[str]:
    """Headings as they are linked to."""
    lines = [line.lstrip("# ") for line in page.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_page_is_reached_from_the_index() -> None:
    docs = REPOSITORY / "docs"
    seen, todo = set(), [docs / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        todo += [(page.parent / path).resolve() for path, _ in links(page) if path]
    assert set(docs.rglob("*.md")) <= seen
