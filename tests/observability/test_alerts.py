"""The alerts, judged by promtool: they parse, and each fires where it should and nowhere else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.go

HERE = Path(__file__).parent
ALERTS = HERE.parents[1] / "charts" / "ensemble-operator" / "files" / "alerts.yaml"
STORIES = HERE / "alerts_test.yaml"


def told(promtool: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool, *arguments], check=False, capture_output=True, text=True)


def test_the_rules_parse(promtool: Path) -> None:
    done = told(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(ALERTS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def summaries(tmp_path: Path) -> Path:
    """The rules with their summaries alone: promtool compares every annotation word for word."""
    document = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    for group in document["groups"]:
        for rule in group["rules"]:
            rule["annotations"] = {"summary": rule["annotations"]["summary"]}
    rules = tmp_path / "alerts.yaml"
    rules.write_text(yaml.safe_dump(document), encoding="utf-8")
    return rules


def test_the_rules_do_what_the_stories_say(promtool: Path, summaries: Path) -> None:
    stories = summaries.with_name("stories.yaml")
    stories.write_text(STORIES.read_text(encoding="utf-8"), encoding="utf-8")
    done = told(promtool, "test", "rules", str(stories))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_story_that_is_wrong_is_told(promtool: Path, summaries: Path) -> None:
    document = yaml.safe_load(STORIES.read_text(encoding="utf-8"))
    document["tests"][0]["alert_rule_test"][1]["exp_alerts"] = []
    stories = summaries.with_name("stories.yaml")
    stories.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert told(promtool, "test", "rules", str(stories)).returncode != 0


def test_every_alert_is_seen_to_fire_and_not_to_fire() -> None:
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    named = {rule["alert"] for group in rules for rule in group["rules"]}
    tests = yaml.safe_load(STORIES.read_text(encoding="utf-8"))["tests"]
    asked = [case for story in tests for case in story["alert_rule_test"]]
    assert {case["alertname"] for case in asked if case.get("exp_alerts")} == named
    assert {case["alertname"] for case in asked if not case.get("exp_alerts")} == named
