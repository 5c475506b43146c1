"""The cluster of a kubeconfig (or the one we run in), asked in JSON; every failure is a CommandError."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import config
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from ensemble_cli.exits import CommandError, Exit

TIMEOUT = (5, 30)
"""Seconds to connect and to wait for an answer."""
ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
NOT_FOUND = 404
MERGE = "application/merge-patch+json"

Json = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """One API server and the namespace that commands mean."""

    api: ApiClient
    namespace: str
    from_inside: bool = False
    """Reached as a pod reaches its own cluster, whose Services answer it."""

    @property
    def host(self) -> str:
        return str(self.api.configuration.host)

    def get(self, path: str, **query: str) -> Json:
        """A JSON answer.

        Raises:
            MissingError: 404.
            CommandError: everything else that is no answer.
        """
        answer: Json = json.loads(self._send("GET", path, query).read())
        return answer

    def patch(self, path: str, change: Json, **query: str) -> Json:
        """Merge a change into an object; the object as it is then."""
        answer: Json = json.loads(self._send("PATCH", path, query, body=change, content_type=MERGE).read())
        return answer

    def dry_apply(self, path: str, document: Mapping[str, Any], *, manager: str) -> Json:
        """What server-side apply of a document would make of an object; nothing is written."""
        query = {"dryRun": "All", "fieldManager": manager, "force": "true"}
        content_type = "application/apply-patch+yaml"
        body = dict(document)
        answer: Json = json.loads(
            self._send("PATCH", path, query, body=body, content_type=content_type).read()
        )
        return answer

    @contextmanager
    def lines(self, path: str, **query: str) -> Iterator[Iterator[str]]:
        """A text answer as it comes, line by line; closing ends the request."""
        response = self._send("GET", path, query, stream=True).response
        try:
            yield _lines(response)
        finally:
            response.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        body: Json | None = None,
        content_type: str = "application/json",
        stream: bool = False,
    ) -> Any:
        headers = {"Accept": "*/*" if stream else "application/json", "Content-Type": content_type}
        request = self.api.param_serialize(
            method, path, query_params=list(query.items()), header_params=headers, body=body,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        try:
            response = self.api.call_api(*request, _request_timeout=(TIMEOUT[0], None) if stream else TIMEOUT)
        except (HTTPError, ApiException, OSError) as error:
            raise _silent(self.host, error) from error
        if response.status >= 400:  # noqa: PLR2004 - HTTP's errors begin here
            raise _refused(response.status, response.read())
        return response


class MissingError(CommandError):
    """404. `named` where the API server knows the kind, and just the object is not there."""

    def __init__(self, message: str, *, named: bool) -> None:
        super().__init__(message, status=Exit.ABSENT)
        self.named = named


def connect(*, kubeconfig: str | None = None, context: str | None = None, namespace: str = "") -> Cluster:
    """The cluster that kubectl would ask.

    Raises:
        CommandError: there is no configuration, or it cannot be read.
    """
    settings = Configuration()
    settings.retries = False  # a person waits
    try:
        if kubeconfig is None and context is None and _in_pod():
            config.load_incluster_config(client_configuration=settings)
            found = namespace or ACCOUNT_NAMESPACE.read_text().strip()
            return Cluster(ApiClient(settings), found, from_inside=True)
        api = config.new_client_from_config(
            config_file=kubeconfig, context=context, client_configuration=settings
        )
        found = namespace or _namespace(kubeconfig, context)
    except ConfigException as error:
        raise CommandError(
            f"no cluster: {_one_line(error)}",
            cure="name a kubeconfig by KUBECONFIG or --kubeconfig; kubectl config get-contexts lists it",
            status=Exit.CLUSTER,
        ) from error
    except (yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CommandError(
            f"the kubeconfig cannot be read: {_one_line(error)}",
            cure="kubectl config view shows what is in it",
            status=Exit.CLUSTER,
        ) from error
    return Cluster(api, found)


def _in_pod() -> bool:
    """Whether this is a pod that was given no kubeconfig."""
    default = Path(config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION.split(":")[0]).expanduser()
    return ACCOUNT_NAMESPACE.exists() and not default.exists()


def _namespace(kubeconfig: str | None, context: str | None) -> str:
    contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)
    chosen = next((each for each in contexts if each["name"] == context), active) if context else active
    return str(chosen["context"].get("namespace") or "default")


def _silent(host: str, error: Exception) -> CommandError:
    return CommandError(
        f"the API server at {host} does not answer: {_one_line(error)}",
        cure="check the cluster and the context: kubectl config current-context",
        status=Exit.CLUSTER,
    )


def _refused(status: int, body: bytes) -> CommandError:
    document = _document(body)
    message = str(document.get("message") or body[:300].decode(errors="replace") or f"HTTP {status}")
    match status:
        case 401:
            return CommandError(
                "the API server does not know you", cure="log in again: kubectl auth whoami",
                status=Exit.CLUSTER,
            )  # fmt: skip
        case 403:
            cure = "ask for the permission, or give another --namespace or --context"
            return CommandError(message, cure=cure, status=Exit.CLUSTER)
        case 404:
            return MissingError(message, named=bool((document.get("details") or {}).get("name")))
    return CommandError(message)


def _document(body: bytes) -> Json:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _lines(response: Any) -> Iterator[str]:
    rest = b""
    for chunk in response.stream(decode_content=True):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
