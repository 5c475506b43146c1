"""Which cluster is meant: of a kubeconfig, or the one this pod runs in."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from kubernetes import config
from kubernetes.client import ApiClient, Configuration
from kubernetes.config.config_exception import ConfigException

from ensemble_cli.cluster.connection import Cluster, one_line
from ensemble_cli.exits import CommandError, Exit

ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?")


def connect(*, kubeconfig: str | None = None, context: str | None = None, namespace: str = "") -> Cluster:
    """The cluster that kubectl would ask.

    Raises:
        CommandError: there is no configuration, or it cannot be used.
    """
    if namespace and not _NAMESPACE.fullmatch(namespace):
        raise CommandError(
            f"{namespace!r} is no namespace", cure="kubectl get namespaces lists them", status=Exit.USAGE
        )
    settings = Configuration()
    settings.retries = False  # a person waits
    try:
        if kubeconfig is None and context is None and _in_pod():
            config.load_incluster_config(client_configuration=settings)
            found = namespace or ACCOUNT_NAMESPACE.read_text().strip()
            return Cluster(ApiClient(settings), found, from_inside=True)
        with _credentials_or_error():
            api = config.new_client_from_config(
                config_file=kubeconfig, context=context, client_configuration=settings
            )
        found = namespace or _namespace(kubeconfig, context)
    except ConfigException as error:
        raise CommandError(
            f"no cluster: {one_line(error)}",
            cure="name a kubeconfig by KUBECONFIG or --kubeconfig; kubectl config get-contexts lists it",
            status=Exit.CLUSTER,
        ) from error
    except (yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CommandError(
            f"the kubeconfig cannot be read: {one_line(error)}",
            cure="kubectl config view shows what is in it",
            status=Exit.CLUSTER,
        ) from error
    if not str(api.configuration.host).startswith(("http://", "https://")):
        raise CommandError(
            f"the context's cluster has no URL, but {api.configuration.host!r}",
            cure="correct clusters[].cluster.server; kubectl config view --minify shows it",
            status=Exit.CLUSTER,
        )
    return Cluster(api, found)


def _in_pod() -> bool:
    """Whether this is a pod that was given no kubeconfig."""
    default = Path(config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION.split(":")[0]).expanduser()
    return ACCOUNT_NAMESPACE.exists() and not default.exists()


def _namespace(kubeconfig: str | None, context: str | None) -> str:
    contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)
    chosen = next((each for each in contexts if each["name"] == context), active) if context else active
    return str(chosen["context"].get("namespace") or "default")


class _Said(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _credentials_or_error() -> Iterator[None]:
    """The client only logs that a credential plugin failed, and goes on as nobody."""
    said, root = _Said(), logging.getLogger()
    root.addHandler(said)
    try:
        yield
    finally:
        root.removeHandler(said)
    if said.messages:
        raise CommandError(
            f"no credentials: {' '.join(said.messages[0].split())}",
            cure="users[].user.exec says how to get them; kubectl config view --minify shows it",
            status=Exit.CLUSTER,
        )
