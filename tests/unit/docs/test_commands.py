"""Every command of the documentation is run by a test, or says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.docs import blocks

NOT_RUN = "not run: "


@pytest.mark.parametrize("page", blocks.PAGES, ids=lambda page: str(page.relative_to(blocks.REPOSITORY)))
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks.blocks(page):
        known = block.mark in {blocks.OFFLINE, blocks.CLUSTER} or block.mark.startswith(NOT_RUN)
        marks = f"<!-- {blocks.OFFLINE} -->, <!-- {blocks.CLUSTER} --> or <!-- {NOT_RUN}REASON -->"
        assert known, f"{block.place}: put {marks} above it"
        assert len(block.mark) > len(NOT_RUN), f"{block.place} gives no reason"


def test_some_are_run() -> None:
    assert len(blocks.pages_with(blocks.OFFLINE)) >= 4
    assert len(blocks.pages_with(blocks.CLUSTER)) >= 2


@pytest.mark.parametrize(
    "page", blocks.pages_with(blocks.OFFLINE), ids=lambda page: str(page.relative_to(blocks.REPOSITORY))
)
def test_offline_commands(page: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "kubectl").write_text(blocks.KUBECTL)
    (programs / "kubectl").chmod(0o755)
    (tmp_path / "checkout").mkdir()
    folder = blocks.checkout(tmp_path / "checkout")
    text = blocks.script(page, blocks.OFFLINE)
    assert blocks.run_script(text, folder=folder, programs=programs, seconds=500)


@pytest.mark.parametrize(
    "text",
    ["```sh\nls\n```\n", "<!-- run sometimes -->\n```sh\nls\n```\n", "<!-- not run:  -->\n```sh\nls\n```\n"],
)
def test_a_block_without_a_word_is_found(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "REPOSITORY", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError, match=r"page\.md:"):
        test_every_block_is_run_or_says_why_not(page)


def test_a_command_that_fails_fails_the_page(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no-such-file"):
        blocks.run_script(
            "set -euo pipefail\ncat no-such-file\necho on", folder=tmp_path, programs=tmp_path, seconds=10
        )
