from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble_builder.artifacts import layout

PART = st.text(st.sampled_from("ab."), min_size=1, max_size=3)
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # a busy machine is no defect
@given(st.lists(PATH, max_size=8))
def test_a_conflict_is_found_exactly_where_there_is_one(paths: list[str]) -> None:
    there = any(other.startswith(f"{path}/") for path in paths for other in paths)
    found = layout.folder_conflict(paths)
    assert (found is not None) == there
    if found:
        assert found[1].startswith(f"{found[0]}/")


def test_no_path_of_the_layout_is_a_folder_of_another() -> None:
    digest = "a" * 64
    revision = layout.revision("ns", "name", digest)
    paths = [
        layout.blob(digest),
        layout.artifact("dali", digest),
        layout.lock(digest),
        layout.pin(digest),
        layout.onnx_facts(digest, 1),
        layout.owner("ns", "name"),
        layout.manifest("ns", "name", digest),
        layout.provenance("ns", "name", digest),
        f"{revision}default/{layout.CASES}",
        f"{revision}default/{layout.MODELS}/m/config.pbtxt",
        f"{revision}manifest/{layout.MODELS}/m/config.pbtxt",
        layout.owner("ns", "revisions"),
    ]
    assert layout.folder_conflict(paths) is None


@pytest.mark.parametrize("path", ["a", "a/b.c", "ä/ö", "a b", "..a", "a../b"])
def test_ordinary_paths_are_safe(path: str) -> None:
    assert layout.is_safe(path)


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "a\nb", "a\0b", "x" * 256]
)
def test_paths_that_leave_their_folder_or_have_two_spellings_are_not(path: str) -> None:
    assert not layout.is_safe(path)
