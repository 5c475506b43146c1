"""The command line's entry: which commands there are, and how every one of them ends."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import click

from ensemble_cli.colours import colours
from ensemble_cli.ending import listen
from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.program import COMPLETE_VARIABLE, PROGRAM

DEBUG_VARIABLE = "ENSEMBLES_DEBUG"


@dataclass(frozen=True)
class Entry:
    """A command, imported only when it is asked for: half of them need no Kubernetes client, others no S3."""

    module: str
    help: str
    attribute: str = "command"


COMMANDS = {
    "validate": Entry("validate", "Check files offline, as the API server would."),
    "render": Entry("render", "Show every config.pbtxt that would be published."),
    "diff": Entry("diff", "Compare a file with what the cluster has."),
    "import": Entry("importing", "Turn a model repository into an InferenceEnsemble."),
    "build": Entry("build", "Build a model repository into a folder, without a cluster."),
    "serve": Entry("serve", "Serve a folder that build filled."),
    "verify": Entry("verify", "Put an ensemble's cases to a server on this machine."),
    "status": Entry("status", "Show what an ensemble is made of and where it stands."),
    "why": Entry("why", "Say what an ensemble waits for, and what to do."),
    "history": Entry("history", "List the rollouts of an ensemble."),
    "promote": Entry("promote", "Approve the present step of a canary."),
    "rollback": Entry("rollback", "Serve an earlier revision again, without building.", "rollback"),
    "unpin": Entry("rollback", "Serve again what the spec asks for.", "unpin"),
    "logs": Entry("logs", "Print the servers' logs, or those of a model's build."),
    "infer": Entry("infer", "Ask an ensemble once, and show its answer."),
    "graph": Entry("graph", "Draw an ensemble: models, tensors, types and shapes."),
    "bench": Entry("bench", "Load an ensemble for a few seconds: rate and latencies."),
    "pause": Entry("pause", "Start no rollout, and take no further step of one.", "pause"),
    "resume": Entry("pause", "Let the operator work on an ensemble again.", "resume"),
    "completion": Entry("completion", "Print a shell's completion script."),
}


class Commands(click.Group):
    """A group whose commands live in modules of their own, one each."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"ensemble_cli.commands.{entry.module}")
        command: click.Command = getattr(module, entry.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ensemble-cli")
def root() -> None:
    """Inference ensembles: check, build, serve, watch and ask them."""


def main(arguments: Sequence[str] | None = None) -> Exit:
    """Run one command; every expected failure becomes one line on standard error."""
    try:
        status = root.main(
            args=arguments, prog_name=_name(), complete_var=COMPLETE_VARIABLE, standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        return Exit(error.exit_code)
    except CommandError as error:
        _complain(str(error))
        return error.status
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # The reader, `head` perhaps, has seen enough; click and rich make it a SystemExit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except OSError as error:
        _complain(_about_files(error))
        return Exit.NO
    except Exception as error:  # noqa: BLE001 - people are not shown tracebacks
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        text = " ".join(f"{type(error).__name__}: {error}".split())
        _complain(f"{text}; this is a fault of the program: {DEBUG_VARIABLE}=1 shows where")
        return Exit.BUG
    return Exit(status or 0)


def run() -> None:
    """Console script."""
    listen()
    if sys.stdout is None:  # closed by whoever started us: the exit status still says something
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    sys.exit(main())


def _name() -> str:
    return "kubectl ensemble" if sys.argv[0].endswith(PROGRAM) else "python -m ensemble_cli"


def _about_files(error: OSError) -> str:
    """What this machine refuses where no command says it better: a full disk, a folder without rights."""
    file = f"{error.filename}: " if error.filename else ""
    return f"{file}{error.strerror or error}; check the path, your rights there and the space left"


def _complain(text: str) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {text}", err=True, color=colours())
