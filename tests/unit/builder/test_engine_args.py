"""tritonserver options that follow from engines."""

from __future__ import annotations

from ensemble_builder.artifacts.manifest import engine_args
from ensembles_api.contract import BuildOrder


def order(**builder: object) -> BuildOrder:
    return BuildOrder(
        kind="tensorrt",
        key="0" * 64,
        model="net",
        version=1,
        field="spec.models[0].tensorrt",
        inputs=(),
        parameters={"precision": "fp16", **({"builder": builder} if builder else {})},
    )


def test_a_version_compatible_engine_needs_the_servers_consent() -> None:
    assert engine_args([order(), order(optimization_level=5)]) == ()
    consent = ("--backend-config=tensorrt,version-compatible=true",)
    assert engine_args([order(), order(version_compatible=True)]) == consent
