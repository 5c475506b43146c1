"""CPU architectures: the usual one is not written down, so that no document of before changes."""

from __future__ import annotations

import pytest

from ensembles_api.architectures import architecture_of, stated_architecture


@pytest.mark.parametrize(
    ("machine", "name"), [("x86_64", ""), ("AMD64", ""), ("aarch64", "arm64"), ("arm64", "arm64")]
)
def test_machines_by_the_names_of_the_node_label(machine: str, name: str) -> None:
    assert architecture_of(machine) == name


@pytest.mark.parametrize(
    ("selector", "name"),
    [
        ({}, ""),
        ({"kubernetes.io/arch": "amd64"}, ""),
        ({"kubernetes.io/arch": "arm64", "zone": "a"}, "arm64"),
    ],
)
def test_selectors_state_one(selector: dict[str, str], name: str) -> None:
    assert stated_architecture(selector) == name
