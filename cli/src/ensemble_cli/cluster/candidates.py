"""What a shell offers for names that only the cluster knows."""

from __future__ import annotations

from collections.abc import Iterator

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


def _rollouts(context: click.Context) -> Iterator[CompletionItem]:
    from ensemble_cli.cluster.connection import connect  # noqa: PLC0415 - --help needs no client
    from ensemble_cli.cluster.going_back import SERVED  # noqa: PLC0415
    from ensemble_cli.cluster.reading import find  # noqa: PLC0415

    asked = context.params
    cluster = connect(
        kubeconfig=asked.get("kubeconfig") or None,
        context=asked.get("context"),
        namespace=asked.get("namespace") or "",
    )
    for record in find(cluster, str(asked.get("name"))).status.get("history", []):
        if record["outcome"] in SERVED:
            text = f"{record['revision'][:12]} {record['outcome']} {record.get('changes', '')}"
            yield CompletionItem(str(record["number"]), help=text.strip())
