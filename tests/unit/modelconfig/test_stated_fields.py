"""spec.models[].config: every mistake is named with its path and its cure."""

from __future__ import annotations

from typing import Any

import pytest

from ensemble_builder.faults import FaultError
from ensemble_builder.modelconfig.fields import parse_stated
from ensembles_api.reasons import Reason

FIELD = "spec.models[2].config"

MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a misspelt field": (
        {"dynamic_batchin": {}},
        "dynamic_batchin",
        "ModelConfig has no field dynamic_batchin; did you mean dynamic_batching?",
    ),
    "a field nobody could guess": ({"zzz": 1}, "zzz", "fields: name, platform"),
    "camelCase": ({"dynamicBatching": {}}, "dynamicBatching", "write dynamic_batching"),
    "camelCase below": (
        {"dynamic_batching": {"maxQueueDelayMicroseconds": 5}},
        "dynamic_batching.maxQueueDelayMicroseconds",
        "write max_queue_delay_microseconds",
    ),
    "a misspelt field in a list": (
        {"instance_group": [{"count": 1}, {"cuont": 2}]},
        "instance_group[1].cuont",
        "did you mean count?",
    ),
    "a misspelt field in a map": (
        {"parameters": {"a": {"string_valu": "x"}}},
        "parameters.a.string_valu",
        "did you mean string_value?",
    ),
    "a number above 2^53": (
        {"dynamic_batching": {"max_queue_delay_microseconds": 2**53 + 1}},
        "dynamic_batching.max_queue_delay_microseconds",
        "quote it",
    ),
    "a negative unsigned": (
        {"dynamic_batching": {"max_queue_delay_microseconds": -1}},
        "dynamic_batching.max_queue_delay_microseconds",
        "outside of 0 to",
    ),
    "an int32 too large": ({"max_batch_size": 2**31}, "max_batch_size", "outside of"),
    "half a number": ({"max_batch_size": 1.5}, "max_batch_size", "whole number"),
    "a truth as a number": ({"max_batch_size": True}, "max_batch_size", "whole number, found true"),
    "a number as a truth": (
        {"response_cache": {"enable": 1}},
        "response_cache.enable",
        "true or false, found 1",
    ),
    "a number as a text": (
        {"parameters": {"num_threads": {"string_value": 4}}},
        "parameters.num_threads.string_value",
        "quote it",
    ),
    "a text as a float": (
        {"sequence_batching": {"direct": {"minimum_slot_utilization": "much"}}},
        "sequence_batching.direct.minimum_slot_utilization",
        'expected a number, found "much"',
    ),
    "a type without its prefix": (
        {"input": [{"name": "x", "data_type": "FP32"}]},
        "input[0].data_type",
        "did you mean TYPE_FP32?",
    ),
    "a kind without its prefix": (
        {"instance_group": [{"kind": "gpu"}]},
        "instance_group[0].kind",
        "did you mean KIND_GPU?",
    ),
    "an enum by number": (
        {"input": [{"data_type": 11}]},
        "input[0].data_type",
        "a name of DataType, found 11",
    ),
    "a scalar for a list": ({"input": [{"dims": 3}]}, "input[0].dims", "put it in brackets"),
    "a scalar for an object": ({"dynamic_batching": True}, "dynamic_batching", "an object with fields of"),
    "a list for a map": ({"parameters": [{"key": "a"}]}, "parameters", "names and values, found a list"),
    "a map key that is no number": (
        {"dynamic_batching": {"priority_queue_policy": {"one": {}}}},
        "dynamic_batching.priority_queue_policy.one",
        "whole number",
    ),
    "two schedulers": (
        {"dynamic_batching": {}, "sequence_batching": {}},
        "sequence_batching",
        "dynamic_batching is stated as well",
    ),
}


@pytest.mark.parametrize(("stated", "path", "part"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_named(stated: dict[str, Any], path: str, part: str) -> None:
    with pytest.raises(FaultError) as caught:
        parse_stated(stated, FIELD)
    fault = caught.value.fault
    assert (fault.code, fault.field) == (Reason.INVALID_CONFIG, f"{FIELD}.{path}")
    assert part in fault.message


def test_empty_messages_count() -> None:
    config = parse_stated({"dynamic_batching": {}, "version_policy": {"all": {}}}, FIELD)
    assert config.HasField("dynamic_batching")
    assert config.version_policy.WhichOneof("policy_choice") == "all"


@pytest.mark.parametrize("number", [500, "500", 500.0])
def test_64_bit_numbers_in_any_notation(number: object) -> None:
    config = parse_stated({"dynamic_batching": {"max_queue_delay_microseconds": number}}, FIELD)
    assert config.dynamic_batching.max_queue_delay_microseconds == 500


def test_quoted_numbers_above_2_to_the_53_keep_all_digits() -> None:
    config = parse_stated(
        {"dynamic_batching": {"default_queue_policy": {"default_timeout_microseconds": str(2**64 - 1)}}},
        FIELD,
    )
    assert config.dynamic_batching.default_queue_policy.default_timeout_microseconds == 2**64 - 1


def test_absent_and_null_are_the_same() -> None:
    assert parse_stated({"max_batch_size": None, "dynamic_batching": None}, FIELD) == parse_stated({}, FIELD)


def test_placeholders_stay_verbatim() -> None:
    config = parse_stated({"parameters": {"p": {"string_value": "${HOME}/$$TRITON_MODEL_DIRECTORY"}}}, FIELD)
    assert config.parameters["p"].string_value == "${HOME}/$$TRITON_MODEL_DIRECTORY"


def test_mapped_priorities_are_read_from_text_keys() -> None:
    stated = {"dynamic_batching": {"priority_queue_policy": {"2": {"max_queue_size": 7}}}}
    assert parse_stated(stated, FIELD).dynamic_batching.priority_queue_policy[2].max_queue_size == 7
