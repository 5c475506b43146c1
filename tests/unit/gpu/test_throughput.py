"""The report of throughput: medians, ranges, and the ensemble beside what is underneath."""

from __future__ import annotations

from typing import Any

from gpumachine import throughput


def figures() -> list[dict[str, Any]]:
    """Three turns; each way is a little faster in each, and E half as fast as C1, two thirds of T."""
    base = {"A": 900.0, "B": 9000.0, "C1": 800.0, "C2": 700.0, "T": 600.0, "E": 400.0}
    return [
        {"turn": turn, "way": way, "batch": batch, "per_second": rate * (1 + turn)}
        for turn in range(3)
        for way, rate in base.items()
        for batch in throughput.BATCHES
    ]


def report(**changed: Any) -> str:
    clocks = [{"clocks.sm": "345"}, {"clocks.sm": "1980"}, {"clocks.sm": "1980"}]
    return throughput.markdown({"figures": figures(), "clocks": clocks, "turns": 3, **changed})


def test_the_ensemble_stands_beside_what_is_underneath() -> None:
    text = report()
    assert "| **A** DALI alone | 1,800 (900 to 2,700) |" in text
    assert "| E / min(C2, T) | 0.67 |" in text
    assert "| E / C1 | 0.50 |" in text
    assert "SM clock 345 to 1980 MHz, median 1980" in text


def test_what_was_not_measured_is_no_figure() -> None:
    text = report(figures=[figure for figure in figures() if figure["way"] != "T"], clocks=[])
    assert "| E / C1 | nan |" in text
    assert "SM clock" not in text


def test_the_ensemble_and_its_idle_twin_answer_the_same_request() -> None:
    models = {model["name"]: model for model in throughput.document()["spec"]["models"]}
    assert {model["maxBatchSize"] for name, model in models.items() if "ensemble" not in model} == {
        throughput.BATCHES[-1]
    }
    idle = models["idle_preprocess"]["config"]["output"], models["idle_classifier"]["config"]["input"]
    assert idle[0] == idle[1]
