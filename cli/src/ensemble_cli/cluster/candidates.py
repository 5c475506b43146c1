"""What a shell offers for names that only the cluster knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from ensemble_cli.exits import CommandError


def complete_rollouts(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's signature
    incomplete: str,
) -> list[CompletionItem]:
    """Numbers of the rollouts that served; nothing where the cluster does not answer."""
    try:
        return [item for item in _rollouts(context) if item.value.startswith(incomplete)]
    except CommandError:
        return []


def complete_ensembles(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 - click's signature
    incomplete: str,
) -> list[CompletionItem]:
    """Names of the ensembles in the namespace; nothing where the cluster does not answer."""
    from ensemble_cli.cluster.reading import names_of  # noqa: PLC0415 - --help needs no client

    try:
        return [CompletionItem(name) for name in names_of(_cluster(context)) if name.startswith(incomplete)]
    except CommandError:
        return []


def _rollouts(context: click.Context) -> Iterator[CompletionItem]:
    from ensemble_cli.cluster.going_back import SERVED  # noqa: PLC0415
    from ensemble_cli.cluster.reading import find  # noqa: PLC0415

    for record in find(_cluster(context), str(context.params.get("name"))).status.get("history", []):
        if record["outcome"] in SERVED:
            text = f"{record['revision'][:12]} {record['outcome']} {record.get('changes', '')}"
            yield CompletionItem(str(record["number"]), help=text.strip())


def _cluster(context: click.Context) -> Any:
    from ensemble_cli.cluster.kubeconfig import connect  # noqa: PLC0415

    asked = context.params
    return connect(
        kubeconfig=asked.get("kubeconfig") or None,
        context=asked.get("context"),
        namespace=asked.get("namespace") or "",
    )
