"""`covers` sees every edit of what we wrote, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble_operator.resources.drift import KEY_DEFAULTS, LIST_KEYS, covers

Path = tuple[str | int, ...]

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Generating documents takes its time on a busy machine."""

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
fields = st.sampled_from([*LIST_KEYS, "requests", "limits", "emptyDir", "args", "name", "spec", "replicas"])
documents = st.dictionaries(
    fields,
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=4)
    ),
)


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path


def parent_of(document: Any, path: Path) -> Any:
    for step in path[:-1]:
        document = document[step]
    return document


def edited(document: dict[str, Any], path: Path) -> dict[str, Any]:
    live = copy.deepcopy(document)
    parent, last = parent_of(live, path), path[-1]
    value = parent[last]
    if isinstance(value, bool):
        parent[last] = not value
    elif isinstance(value, int):
        parent[last] = value + 1
    elif isinstance(value, str):
        parent[last] = "7" + value
    else:
        parent[last] = "other"
    return live


def test_covers_itself(manifest: dict[str, Any]) -> None:
    assert covers(copy.deepcopy(manifest), manifest)


def test_sees_every_edited_value(manifest: dict[str, Any]) -> None:
    unseen = [path for path in leaves(manifest) if covers(edited(manifest, path), manifest)]
    assert not unseen


def test_sees_every_removed_value(manifest: dict[str, Any]) -> None:
    unseen = []
    for path in leaves(manifest):
        live = copy.deepcopy(manifest)
        value = parent_of(live, path).pop(path[-1])
        defaulted = isinstance(path[-1], str) and KEY_DEFAULTS.get(path[-1]) == value and "ports" in path
        empty = value in ("", [], {}) and path[-1] != "emptyDir"
        if not empty and not defaulted and covers(live, manifest):
            unseen.append(path)
    assert not unseen


def test_others_may_add_fields_and_items(manifest: dict[str, Any]) -> None:
    live = copy.deepcopy(manifest)
    live["status"] = {"replicas": 1}
    live["metadata"]["uid"] = "u"
    live["metadata"].setdefault("annotations", {})["theirs"] = "1"
    live["metadata"].get("ownerReferences", []).insert(0, {"uid": "another", "kind": "InferenceEnsemble"})
    template = live.get("spec", {}).get("template")
    if template:
        pod = template["spec"]
        pod["dnsPolicy"] = "ClusterFirst"
        pod["containers"].insert(0, {"name": "sidecar", "image": "proxy"})
        pod["volumes"].insert(0, {"name": "sidecar", "emptyDir": {}})
        pod["containers"][1].setdefault("env", []).append({"name": "THEIRS", "value": "1"})
        pod["containers"][1]["volumeMounts"].reverse()
    assert covers(live, manifest)


@unhurried
@given(documents)
def test_any_document_covers_itself(document: dict[str, Any]) -> None:
    assert covers(copy.deepcopy(document), document)


@unhurried
@given(documents, st.dictionaries(st.text(min_size=20, max_size=25), scalars))
def test_any_further_field_is_somebody_elses(document: dict[str, Any], more: dict[str, Any]) -> None:
    assert covers({**document, **more}, document)


@pytest.mark.parametrize(
    ("live", "wanted", "same"),
    [
        ("1", "1000m", True),
        ("1", 1, True),
        ("1Gi", "1024Mi", True),
        ("1000m", "1500m", False),
        ("1", "1Ki", False),
    ],
)
def test_quantities_are_compared_by_value(live: str, wanted: str | int, same: bool) -> None:  # noqa: FBT001
    def container(quantity: str | int) -> dict[str, Any]:
        return {"containers": [{"name": "a", "resources": {"limits": {"cpu": quantity}}}]}

    assert covers(container(live), container(wanted)) is same
    volume = {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": live}}]}
    assert covers(volume, {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": wanted}}]}) is same


def test_only_quantities_are_compared_by_value() -> None:
    assert not covers({"value": "1"}, {"value": "1000m"})
    assert not covers({"value": "1"}, {"value": 1})
    assert not covers({"value": 1}, {"value": True})


def test_a_list_without_keys_is_compared_as_a_whole() -> None:
    wanted = {"args": ["--a", "--b"]}
    assert not covers({"args": ["--a", "--b", "--model-control-mode=explicit"]}, wanted)
    assert not covers({"args": ["--b", "--a"]}, wanted)
    assert not covers({"args": "--a"}, wanted)


def test_a_volume_that_became_another_kind_is_seen() -> None:
    wanted = {"volumes": [{"name": "work", "emptyDir": {}}]}
    assert not covers({"volumes": [{"name": "work", "configMap": {"name": "x"}}]}, wanted)
    assert covers({"volumes": [{"name": "work", "emptyDir": {}}]}, wanted)


def test_what_the_api_server_leaves_out_when_empty_is_no_drift() -> None:
    assert covers({}, {"nodeSelector": {}, "tolerations": [], "value": "", "affinity": None})


def test_absence_is_neither_false_nor_zero() -> None:
    """An absent automountServiceAccountToken means true."""
    assert not covers({}, {"automountServiceAccountToken": False})
    assert not covers({}, {"terminationGracePeriodSeconds": 0})


def test_ports_differ_by_protocol() -> None:
    wanted = {"ports": [{"containerPort": 8000, "name": "http"}]}
    assert covers({"ports": [{"containerPort": 8000, "name": "http", "protocol": "TCP"}]}, wanted)
    assert not covers({"ports": [{"containerPort": 8000, "name": "http", "protocol": "UDP"}]}, wanted)


def test_ignored_paths_are_others() -> None:
    wanted = {"spec": {"replicas": 2, "paused": True}}
    ignore = frozenset({"spec.replicas"})
    assert covers({"spec": {"replicas": 5, "paused": True}}, wanted, ignore=ignore)
    assert covers({"spec": {"paused": True}}, wanted, ignore=ignore)
    assert not covers({"spec": {"replicas": 5, "paused": False}}, wanted, ignore=ignore)
