"""The hand-written configs are what Triton's own message takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig


def test_configs_parse_and_name_their_folders(prepared: Callable[[str], Path]) -> None:
    repository = prepared("hand-written-repository") / "model_repository"
    models = {folder.name for folder in repository.iterdir()}
    assert models == {"scale", "classifier", "photo_classes"}
    for name in models:
        config = text_format.Parse((repository / name / "config.pbtxt").read_text(), ModelConfig())
        assert config.name == name
        assert list((repository / name / "1").iterdir())
        for step in config.ensemble_scheduling.step:
            assert step.model_name in models
