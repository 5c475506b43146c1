"""The generated files are up to date, and the generator says so when they are not."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest
import yaml

from ensembles_api.generate import reasons_page, reference
from ensembles_api.generate.__main__ import FILES, main, stale
from ensembles_api.generate.symptoms import SYMPTOMS
from ensembles_api.reasons import REASONS, Condition, Nature, Reason

REPOSITORY = Path(__file__).parents[3]


def test_the_repository_is_up_to_date() -> None:
    assert stale(REPOSITORY) == [], "run `python -m ensembles_api.generate`"


def an_empty_repository(folder: Path) -> Path:
    (folder / "crds").mkdir()
    (folder / "crds" / "pyproject.toml").touch()
    return folder


def test_check_names_what_is_stale_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = an_empty_repository(tmp_path)
    assert main(["--root", str(root)]) == 0
    (root / "docs" / "reasons.md").write_text("old", encoding="utf-8")
    capsys.readouterr()
    assert main(["--check", "--root", str(root)]) == 1
    assert capsys.readouterr().err == (
        "docs/reasons.md is out of date: run `python -m ensembles_api.generate`\n"
    )
    assert (root / "docs" / "reasons.md").read_text(encoding="utf-8") == "old"


def test_writing_twice_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = an_empty_repository(tmp_path)
    main(["--root", str(root)])
    assert len(capsys.readouterr().out.splitlines()) == len(FILES)
    assert main(["--root", str(root)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["--check", "--root", str(root)]) == 0


def test_elsewhere_it_says_where_to_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--root", str(tmp_path)])
    assert "is not the repository" in capsys.readouterr().err


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_meaning_and_cure_on_the_page(reason: Reason) -> None:
    info = REASONS[reason]
    assert info.reason is reason
    assert info.meaning.endswith(".")
    assert info.cure or info.nature is Nature.PROGRESS
    assert f"| `{reason.value}` | {info.meaning} |" in reasons_page.page()


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_a_section_with_an_example_of_status(reason: Reason) -> None:
    section = reasons_page.page().partition(f"\n### {reason.value}\n")[2].partition("\n#")[0]
    assert REASONS[reason].cure in section
    assert REASONS[reason].nature is Nature.PROGRESS or "**Usual causes.**" in section
    (condition,) = yaml.safe_load(section.partition("```yaml\n")[2].partition("```")[0])
    assert condition["reason"] == reason.value
    assert condition["message"] == SYMPTOMS[reason].says


@pytest.mark.parametrize("reason", [each for each, symptom in SYMPTOMS.items() if not symptom.quotes])
def test_the_example_is_in_the_words_of_the_program(reason: Reason) -> None:
    """Some run of words that stands in the source between two values stands in the example."""
    says = " ".join(SYMPTOMS[reason].says.split())
    assert any(words in says for words in texts_of_the_source()), says


@functools.cache
def texts_of_the_source() -> list[str]:
    """Constant parts of at least two words of the strings in the program."""
    found = set()
    for folder in ("operator", "builder-image"):
        for file in (REPOSITORY / folder / "src").rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(" ".join(node.value.split()))
    return [text for text in found if len(text) > 5]


@pytest.mark.parametrize("condition", Condition)
def test_each_condition_is_on_the_page(condition: Condition) -> None:
    assert f"| `{condition.value}` |" in reasons_page.page()


@pytest.mark.parametrize("nature", Nature)
def test_each_nature_has_a_section(nature: Nature) -> None:
    assert f"## {reasons_page.NATURES[nature][0]}" in reasons_page.page()


def test_reference_links_lead_somewhere() -> None:
    page = reference.page()
    headings = {
        "".join(c for c in line.removeprefix("## ").lower() if c.isalnum() or c in "-_ ").replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("## ")
    }
    links = [part.split(")")[0] for part in page.split("](#")[1:]]
    assert len(links) > 20
    assert set(links) <= headings


def test_reference_has_the_deepest_field() -> None:
    page = reference.page()
    assert "## spec.models[].tensorrt.profiles[].shapes[]" in page
    assert '| `precision` | string | `"tf32"` |' in page
