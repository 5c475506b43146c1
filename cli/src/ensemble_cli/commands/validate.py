"""`validate`: what the API server would say, without one."""

from __future__ import annotations

import sys

import click

from ensemble_cli.checking import STDIN, Report, check, read_texts
from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.printing import Format, output_option, print_data
from ensembles_api.names import KIND


@click.command("validate")
@click.argument("files", nargs=-1, metavar="[FILE|FOLDER|-]...")
@output_option
def command(files: tuple[str, ...], output: Format) -> int:
    r"""Check InferenceEnsembles offline: types, defaults and every CEL rule of the CRD.

    Reads YAML and JSON with several documents, Lists, and the output of kustomize or helm on standard input;
    resources of other kinds are passed over. Each problem is one line: FILE:LINE:COLUMN: FIELD: what, and how
    to mend it. Ends with 1 where there is one.

    \b
      kubectl ensemble validate ensemble.yaml
      kustomize build overlays/prod | kubectl ensemble validate
      helm template ./chart | kubectl ensemble validate -o json
    """
    report = check(read_texts(files or _piped()))
    if not report.resources and not report.problems:
        raise CommandError(f"no {KIND} among {report.ignored} resources", cure="name the file that holds one")
    if output == "text":
        _print(report)
    else:
        print_data(report.data(), output)
    return Exit.DONE if report.valid else Exit.NO


def _piped() -> tuple[str, ...]:
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError("name a file, a folder, or - for standard input")
    return (STDIN,)


def _print(report: Report) -> None:
    for problem in report.problems:
        click.echo(str(problem))
    for resource in report.resources:
        if resource.valid:
            click.echo(f"{resource.file}:{resource.line}: {resource.name} is valid")
    if report.problems:
        count = len(report.problems)
        click.echo(f"{count} problem{'s' if count > 1 else ''} found", err=True)
