"""`verify`: the cases of a built revision, put to a server that runs."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from ensemble_builder.commands import verify
from ensemble_builder.faults import FaultError
from ensemble_cli.exits import CommandError, Exit
from ensemble_cli.laptop.ports import HIGHEST
from ensemble_cli.laptop.serving import read_manifest
from ensemble_cli.printing import Format, console, output_option, print_data
from ensembles_api.contract import Fault
from ensembles_api.reasons import Reason
from ensembles_api.verification import CaseReport, VerificationReport

COLOURS = {"Passed": "green", "Failed": "red", "Unproven": "yellow"}


@click.command("verify")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the server runs.")
@click.option(
    "--port",
    type=click.IntRange(1, HIGHEST - 1),
    default=8000,
    show_default=True,
    help="As of serve: gRPC is asked on the next one.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds for waiting and asking together.",
)
@output_option
def command(*, folder: Path, host: str, port: int, timeout: float, output: Format) -> int:
    r"""Put the smoke test and spec.verification's cases to the server of a folder, as the cluster's Job does.

    \b
      kubectl ensemble build ensemble.yaml --to out
      kubectl ensemble serve out &
      kubectl ensemble verify out
    """
    manifest = read_manifest(folder)
    reports: list[VerificationReport] = []

    def keep(report: VerificationReport) -> str:
        reports.append(report)
        return ""

    try:
        result = verify.run(
            host=host,
            port=port + 1,
            replicas=1,
            files=folder,
            entrypoint=manifest.server.entrypoint,
            timeout=timeout,
            subject=verify.Subject(revision=manifest.digest()),
            save=keep,
        )
    except FaultError as error:
        raise _not_judged(error.fault, folder) from error
    report = reports[0]
    if output == "text":
        console().print(_table(report))
    else:
        print_data(report.model_dump(mode="json", exclude_defaults=True), output)
    return Exit.NO if result.fault else Exit.DONE


def _not_judged(fault: Fault, folder: Path) -> CommandError:
    if fault.code is Reason.SERVERS_NOT_READY:
        cure = f"start it: kubectl ensemble serve {folder}"
        return CommandError(fault.message, cure=cure, status=Exit.ABSENT)
    return CommandError(fault.message, cure=f"build again: kubectl ensemble build FILE --to {folder}")


def _table(report: VerificationReport) -> Table:
    table = Table("case", "model", "outcome", "seconds", "", box=None)
    for server in report.servers:
        for case in server.cases:
            outcome = f"[{COLOURS[case.outcome]}]{case.outcome}[/]"
            name = escape(case.case) or "smoke test"
            table.add_row(name, escape(case.model), outcome, f"{case.seconds:.3f}", escape(_told(case)))
    return table


def _told(case: CaseReport) -> str:
    if case.p50_milliseconds is None:
        return case.message
    figures = f"p50 {case.p50_milliseconds:.1f} ms, p99 {case.p99_milliseconds:.1f} ms"
    return f"{figures}; {case.message}" if case.message else figures
