"""A repository as a whole: hand-written models, the entry point, and what the server needs."""

from __future__ import annotations

import pytest

from ensembles_api.reasons import Reason
from tests.unit.modelconfig.repository import (
    CLASSIFIER,
    built,
    chain,
    classifier,
    decoder,
    fault_of,
    given,
    io,
    miswired,
    model,
    python,
    refused,
    step,
    steps,
    tensor,
)

TEXT = """# written by hand
name: "hand"
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "y" data_type: TYPE_FP32 dims: [ 2 ] }
"""
PIPELINE = """name: "hand"
backend: "dali"
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output [ { name: "y" data_type: TYPE_FP32 dims: 2 }, { name: "z" data_type: TYPE_FP32 dims: 2 } ]
"""
ENSEMBLE = """name: "flow"
platform: "ensemble"
input { name: "IN" data_type: TYPE_FP32 dims: 4 }
output { name: "OUT" data_type: TYPE_FP32 dims: [ 2 ] }
ensemble_scheduling { step [ {
  model_name: "hand" model_version: -1
  input_map { key: "x" value: "IN" } output_map { key: "y" value: "OUT" } } ] }
"""
SMALL = python("small", [tensor("a", "FP32", 1)], [tensor("b", "FP32", 1)])


class TestHandWritten:
    def test_is_published_byte_for_byte(self) -> None:
        repository = built(given("hand", TEXT), given("flow", ENSEMBLE))
        assert repository.configs == {"hand": TEXT, "flow": ENSEMBLE}
        assert repository.parsed["flow"].ensemble_scheduling.step[0].model_name == "hand"
        assert repository.entrypoint == "flow"

    def test_may_be_called_by_an_ensemble_of_the_spec(self) -> None:
        config = built(given("hand", TEXT), steps("e", step("hand", {"x": "i"}, {"y": "o"}))).parsed["e"]
        assert [list(item.dims) for item in (*config.input, *config.output)] == [[4], [2]]

    def test_fields_newer_than_the_builder_are_passed_on(self) -> None:
        newer = f"{TEXT}field_of_tomorrow {{ a: 1 }}\n"
        assert built(given("hand", newer)).configs["hand"] == newer

    def test_keeps_the_servers_own_completion(self) -> None:
        assert "--disable-auto-complete-config" not in built(given("hand", TEXT)).server.args

    @pytest.mark.parametrize(
        ("old", "new", "field", "part"),
        [
            ('key: "x"', 'key: "z"', "ensemble_scheduling.step[0].input_map.z", "hand has no input z"),
            ('key: "y"', 'key: "z"', "ensemble_scheduling.step[0].output_map.z", "hand has no output z"),
            ('"hand"', '"hund"', "ensemble_scheduling.step[0].model", "did you mean hand?"),
            (
                'value: "IN"',
                'value: "IM"',
                "ensemble_scheduling.step[0].input_map.x",
                "written by no step and no input of flow",
            ),
            (
                'value: "OUT"',
                'value: "O"',
                "ensemble_scheduling.step[0].output_map.y",
                "read by no step and no output of flow",
            ),
            ("dims: 4", "dims: 5", "ensemble_scheduling.step[0].input_map.x", "input IN of flow is FP32[5]"),
            (
                "dims: [ 2 ]",
                "dims: [ 3 ]",
                "ensemble_scheduling.step[0].output_map.y",
                "output OUT of flow is FP32[3]",
            ),
            (
                "platform",
                'input { name: "n" data_type: TYPE_FP32 dims: 1 } platform',
                "input",
                "n of flow is read by no step",
            ),
            (
                "platform",
                'output { name: "n" data_type: TYPE_FP32 dims: 1 } platform',
                "output",
                "n of flow is written by no step",
            ),
        ],
    )
    def test_ensembles_are_checked(self, old: str, new: str, field: str, part: str) -> None:
        fault = fault_of(given("hand", TEXT), given("flow", ENSEMBLE.replace(old, new, 1)))
        miswired(fault, "spec.models[1]", f"config.pbtxt of flow, {field}: ", part)

    def test_an_ensemble_that_leaves_out_a_dali_output(self) -> None:
        fault = fault_of(given("hand", PIPELINE), given("flow", ENSEMBLE))
        miswired(
            fault,
            "spec.models[1]",
            "config.pbtxt of flow, ensemble_scheduling.step[0].output_map: ",
            "output z of the DALI pipeline",
        )

    def test_an_ensemble_with_too_large_batches(self) -> None:
        fault = fault_of(
            given("hand", f"{TEXT}max_batch_size: 4"), given("flow", f"{ENSEMBLE}max_batch_size: 8")
        )
        miswired(fault, "spec.models[1]", "config.pbtxt of flow, max_batch_size: ", "at most 4")

    def test_unreadable(self) -> None:
        refused(
            fault_of(given("hand", "name: hand {")), "spec.models[0]", "config.pbtxt of hand cannot be read"
        )


class TestLeftToTheServer:
    def test_dali_needs_its_backend_named(self) -> None:
        text = built(decoder(autoComplete="Server")).configs["preprocess"]
        assert text.startswith('name: "preprocess"\nbackend: "dali"\nmax_batch_size: 64\n')
        assert "input" not in text

    def test_stated_tensors_stay_alone(self) -> None:
        stated = {"output": [{"name": "logits", "dims": [1000], "data_type": "TYPE_FP32"}]}
        repository = built(classifier(autoComplete="Server", config=stated))
        assert "input" not in repository.configs["classifier"]
        assert "dynamic_batching" not in repository.configs["classifier"]
        assert "max_batch_size" not in repository.configs["classifier"]
        assert [item.name for item in repository.parsed["classifier"].input] == ["input"]

    def test_a_given_config_is_published_as_it_is(self) -> None:
        text = "# mine\n" + TEXT
        entry = model("files", "hand", autoComplete="Server", more={"given_config": text})
        assert built(entry).configs["hand"] == text
        entry = model("files", "hand", autoComplete="Server", more={"given_config": text}, maxBatchSize=2)
        assert "max_batch_size: 2" in built(entry).configs["hand"]

    def test_an_ensemble_over_an_unknown_batch_size_states_its_own(self) -> None:
        text = TEXT.replace('"python"', '"tensorrt"')
        items = step("hand", {"x": "i"}, {"y": "o"})
        fault = fault_of(given("hand", text), steps("e", items))
        miswired(
            fault,
            "spec.models[1].maxBatchSize",
            "hand leaves its batch size to the server",
            "0 for no batching",
        )
        assert built(given("hand", text), steps("e", items, maxBatchSize=4)).parsed["e"].max_batch_size == 4
        stated = f"{text}max_batch_size: 0 # none\n"
        assert built(given("hand", stated), steps("e", items)).parsed["e"].max_batch_size == 0


class TestNames:
    def test_must_differ(self) -> None:
        fault = fault_of(classifier("a"), classifier("a"))
        refused(
            fault, "spec.models[1].name", "spec.models[0] has the name a already", code=Reason.INVALID_SPEC
        )

    def test_may_hold_dots_underscores_and_capitals(self) -> None:
        assert 'name: "Res_Net.v1-5"' in built(classifier("Res_Net.v1-5")).configs["Res_Net.v1-5"]


class TestEntrypoint:
    def test_is_the_last_ensemble(self) -> None:
        entries = (classifier(), chain("one", "classifier"), chain("two", "classifier"), SMALL)
        assert built(*entries).entrypoint == built(*entries).server.entrypoint == "two"

    def test_or_the_last_model(self) -> None:
        assert built(classifier(), SMALL).entrypoint == "small"

    def test_or_the_one_named(self) -> None:
        assert built(classifier(), SMALL, entrypoint="classifier").entrypoint == "classifier"

    def test_must_exist(self) -> None:
        fault = fault_of(classifier(), entrypoint="clasifier")
        refused(fault, "spec.entrypoint", "did you mean classifier?", code=Reason.INVALID_SPEC)


class TestServer:
    def test_of_complete_configs(self) -> None:
        server = built(classifier()).server
        assert server.args == ("--disable-auto-complete-config",)
        assert (server.shared_memory_mib, server.gpu, server.sticky_sessions) == (1024, False, False)

    def test_response_cache(self) -> None:
        cached = classifier(config={"response_cache": {"enable": True}})
        assert "--cache-config=local,size=67108864" in built(cached).server.args
        off = classifier(config={"response_cache": {"enable": False}})
        assert not [arg for arg in built(off).server.args if "cache" in arg]

    def test_response_cache_of_an_ensemble(self) -> None:
        entry = chain("e", "classifier", config={"response_cache": {"enable": True}})
        assert [arg for arg in built(classifier(), entry).server.args if arg.startswith("--cache-config")]

    def test_rate_limiter(self) -> None:
        limited = classifier(config={"instance_group": [{"count": 1, "rate_limiter": {}}]})
        assert "--rate-limit=execution_count" in built(limited).server.args

    def test_metrics_of_a_model(self) -> None:
        family = {"family": "nv_inference_first_response_histogram_ms"}
        control = {"metric_identifier": family, "histogram_options": {"buckets": [1, 10]}}
        measured = classifier(config={"model_metrics": {"metric_control": [control]}})
        assert "--metrics-config=histogram_latencies=true" in built(measured).server.args

    @pytest.mark.parametrize(
        ("groups", "instances"),
        [([], 1), ([{"count": 3}], 3), ([{"count": 2, "gpus": [0, 1]}], 4), ([{"count": 1}, {}], 2)],
    )
    def test_shared_memory_of_python_instances(self, groups: list[dict[str, object]], instances: int) -> None:
        entry = python(
            "p", [tensor("a", "FP32", 1)], [tensor("b", "FP32", 1)], config={"instance_group": groups}
        )
        assert built(entry).server.shared_memory_mib == 1024 + 16 * instances

    def test_gpu(self) -> None:
        assert built(classifier(config={"instance_group": [{"kind": "KIND_GPU"}]})).server.gpu
        assert built(model("tensorrt", "t", CLASSIFIER)).server.gpu
        assert not built(classifier(config={"instance_group": [{"kind": "KIND_CPU"}]})).server.gpu

    def test_sequences_stick_to_a_replica(self) -> None:
        sequence = classifier(
            tensors=io(CLASSIFIER.inputs, CLASSIFIER.outputs), config={"sequence_batching": {}}
        )
        assert built(sequence).server.sticky_sessions
