"""What every command has in common."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest
import yaml

from ensemble_cli import main as entry
from ensemble_cli.completing import run as complete
from ensemble_cli.exits import Exit
from ensemble_cli.main import COMMANDS, main, root
from ensemble_cli.printing import Format, print_data


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


@pytest.mark.parametrize("form", ["text", "json"])
def test_nobody_reads(form: str) -> None:
    """A pipe that is closed, and a standard output that never was open."""
    command = f"{sys.executable} -m ensemble_cli graph --repository $0 -o {form}"
    for script in (f"{command} | true; echo ${{PIPESTATUS[0]}} >&2", f"{command} >&-; echo $? >&2"):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "net/1").mkdir(parents=True)
            (Path(folder) / "net/1/model.py").touch()
            run = ["bash", "-c", script, folder]
            done = subprocess.run(run, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("", "0\n"), script


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_numbers_that_json_lacks(form: Format, capsys: pytest.CaptureFixture[str]) -> None:
    print_data({"values": [1.5, float("nan"), (float("inf"), -float("inf"))]}, form)
    shown = capsys.readouterr().out
    assert yaml.safe_load(shown) == {"values": [1.5, "NaN", ["Infinity", "-Infinity"]]}


@pytest.mark.parametrize(("no_color", "term"), [("", "xterm"), ("1", "xterm"), ("", "dumb")])
def test_no_color_on_a_terminal(no_color: str, term: str) -> None:
    near, far = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": term}
    command = [sys.executable, "-m", "ensemble_cli", "validate", "nowhere.yaml"]
    with subprocess.Popen(command, stdout=far, stderr=far, env=environment) as process:
        os.close(far)
        process.wait(60)
    shown = os.read(near, 4096)
    os.close(near)
    assert b"nowhere.yaml cannot be read" in shown
    assert (b"\x1b[" in shown) == (not no_color and term == "xterm")


def test_a_full_disk_and_a_name_that_is_no_text() -> None:
    full = f"{sys.executable} -m ensemble_cli completion bash > /dev/full"
    done = subprocess.run(["bash", "-c", full], capture_output=True, text=True, check=False)
    assert done.returncode == Exit.NO
    assert re.fullmatch(r"error: No space left on device; check .*\n", done.stderr)
    bad = f"PYTHONUTF8=1 {sys.executable} -m ensemble_cli validate $'caf\\xe9.yaml'"
    done = subprocess.run(["bash", "-c", bad], capture_output=True, text=True, check=False)
    assert done.returncode == Exit.USAGE
    assert re.fullmatch(r"error: caf\\udce9.yaml cannot be read: No such file.*\n", done.stderr)


def test_who_names_a_server_waits_for_no_kubernetes_client() -> None:
    """All of the API's types take a second to import."""
    commands = ", ".join(f"ensemble_cli.commands.{name}" for name in ("graph", "infer", "bench"))
    code = f"import sys, {commands}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ensemble_cli.cluster.forwarding" in done.stdout.split()
    assert "kubernetes.client.api.core_v1_api" not in done.stdout.split()


BASH = """
source <(kubectl-ensemble completion bash)
COMP_WORDS=(kubectl-ensemble {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_kubectl_ensemble_completion kubectl-ensemble
echo "${{COMPREPLY[@]}}"
"""
ZSH = """
autoload -Uz compinit && compinit -u -D
source <(kubectl-ensemble completion zsh)
[[ $_comps[kubectl-ensemble] == _kubectl_ensemble_completion ]] || exit 1
export COMP_WORDS="kubectl-ensemble {words}" COMP_CWORD={count}
_KUBECTL_ENSEMBLE_COMPLETE=zsh_complete kubectl-ensemble | sed -n 2p
"""
FISH = """
kubectl-ensemble completion fish | source
complete -C "kubectl-ensemble {words}" | cut -f 1
"""


@pytest.mark.parametrize(
    ("shell", "script"),
    [(["bash", "-c"], BASH), (["zsh", "-fc"], ZSH), (["fish", "--no-config", "-c"], FISH)],
    ids=["bash", "zsh", "fish"],
)
@pytest.mark.parametrize(
    ("words", "completed"), [("val", "validate"), ("validate --outp", "--output"), ("why -o y", "yaml")]
)
def test_shells_complete(shell: list[str], script: str, words: str, completed: str, tmp_path: Path) -> None:
    program = shutil.which(shell[0])
    if program is None:
        pytest.skip(f"{shell[0]} is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [program, *shell[1:], script.format(words=words, count=len(words.split()))],
        env={**os.environ, "PATH": path, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [completed]
