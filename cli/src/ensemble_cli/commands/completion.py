"""`completion`: a script for the shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ensemble_cli.program import COMPLETE_VARIABLE, PROGRAM


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    r"""Print the completion script of a shell, for `kubectl-ensemble`.

    `kubectl ensemble` itself is completed by kubectl's own completion, which asks kubectl_complete-ensemble;
    that is installed beside this program.

    \b
      source <(kubectl ensemble completion bash)
    """
    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(ctx.find_root().command, {}, PROGRAM, COMPLETE_VARIABLE).source())
