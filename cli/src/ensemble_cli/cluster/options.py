"""Options of the commands that ask a cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `function` an argument `cluster`."""

    @functools.wraps(function)
    def with_cluster(connect: Callable[[], Any], **others: Any) -> Any:
        return function(cluster=connect(), **others)

    return lazy_cluster_options(with_cluster)


def lazy_cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `function` an argument `connect`, for commands that may need no cluster at all."""

    @click.option("-n", "--namespace", default="", help="Default: that of the context.")
    @click.option("--context", help="Of the kubeconfig; default: the current one.")
    @click.option("--kubeconfig", envvar="KUBECONFIG", help="Default: as kubectl's.")
    @functools.wraps(function)
    def with_options(namespace: str, context: str | None, kubeconfig: str | None, **others: Any) -> Any:
        from ensemble_cli.cluster.kubeconfig import connect  # noqa: PLC0415 - --help needs no client

        def to_cluster() -> Any:
            return connect(kubeconfig=kubeconfig or None, context=context, namespace=namespace)

        return function(connect=to_cluster, **others)

    return with_options
