"""What every command has in common."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest

from ensemble_cli import main as entry
from ensemble_cli.completing import run as complete
from ensemble_cli.exits import Exit
from ensemble_cli.main import COMMANDS, main, root


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == Exit.DONE
    assert re.match(rf"Usage: .* {name}", capsys.readouterr().out)


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == Exit.DONE
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vlidate"]) == Exit.USAGE
    assert "No such command 'vlidate'" in capsys.readouterr().err


def test_a_fault_of_ours_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command("broken")
    def broken() -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr(entry.Commands, "get_command", lambda *_: broken)
    assert main(["broken"]) == Exit.BUG
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "error: ValueError: two lines; this is a fault of the program: ENSEMBLES_DEBUG=1 shows where"
    )


def test_kubectl_completes_commands_and_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kubectl_complete-ensemble", "validate", "--out"])
    complete()
    shown = capsys.readouterr().out
    assert shown.startswith("--output\t")
    assert shown.endswith("\n:4\n")
    assert isinstance(root, click.Group)


def test_a_reader_that_has_seen_enough() -> None:
    text = "kind: Pod\napiVersion: v1\n---\n" * 2 + "kind: InferenceEnsemble\n---\n" * 5000
    command = f"{sys.executable} -m ensemble_cli validate - | head -n 1"
    done = subprocess.run(["bash", "-c", command], input=text, capture_output=True, text=True, check=False)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")
