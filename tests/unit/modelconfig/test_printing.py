"""config.pbtxt says exactly what the message says, in a fixed order."""

from __future__ import annotations

import re

import pytest
from google.protobuf import json_format, text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.fields import parse_stated
from ensemble_builder.modelconfig.merge import overlay
from ensemble_builder.modelconfig.printing import print_config
from tests.unit.modelconfig.messages import messages

ANY_CONFIG = st.builds(ModelConfig).flatmap(messages)


@settings(max_examples=100, deadline=None)
@given(ANY_CONFIG)
def test_text_parses_back_to_the_same_message(config: ModelConfig) -> None:
    text = print_config(config)
    assert text_format.Parse(text, ModelConfig()) == config
    assert print_config(text_format.Parse(text, ModelConfig())) == text


@settings(max_examples=100, deadline=None)
@given(ANY_CONFIG)
def test_every_message_can_be_stated_as_json(config: ModelConfig) -> None:
    stated = json_format.MessageToDict(config, preserving_proto_field_name=True)
    assert parse_stated(stated, "spec.models[0].config") == config
    laid_over_nothing = ModelConfig()
    overlay(laid_over_nothing, stated)
    assert laid_over_nothing == config


@pytest.mark.parametrize("size", [0, 8])
def test_batch_size_is_always_printed_before_anything_nested(size: int) -> None:
    text = print_config(ModelConfig(name="m", backend="dali", max_batch_size=size))
    assert text == f'name: "m"\nbackend: "dali"\nmax_batch_size: {size}\n'


def test_batch_size_is_left_to_the_server_only_on_request() -> None:
    assert print_config(ModelConfig(name="m"), state_batch_size=False) == 'name: "m"\n'


def test_order_is_that_of_reading() -> None:
    config = ModelConfig(name="m", backend="python", platform="p")
    config.output.add(name="o")
    config.input.add(name="i")
    config.parameters["b"].string_value = "2"
    config.parameters["a"].string_value = "1"
    config.dynamic_batching.SetInParent()
    heads = re.findall(r"^(\w+)", print_config(config), flags=re.MULTILINE)
    assert heads == [
        "name",
        "platform",
        "backend",
        "max_batch_size",
        "input",
        "output",
        "dynamic_batching",
        "parameters",
        "parameters",
    ]
    assert print_config(config).index('key: "a"') < print_config(config).index('key: "b"')


def test_names_are_quoted_and_escaped() -> None:
    config = ModelConfig(name='a"b\\c')
    config.input.add(name="größe\n")
    text = print_config(config)
    assert '"größe\\n"' in text
    assert text_format.Parse(text, ModelConfig()) == config


def test_negative_zero_is_not_the_default() -> None:
    config = ModelConfig()
    config.sequence_batching.direct.minimum_slot_utilization = -0.0
    assert text_format.Parse(print_config(config), ModelConfig()) == config
