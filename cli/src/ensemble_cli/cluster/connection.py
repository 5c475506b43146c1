"""An API server, asked in JSON; every failure is a CommandError."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from ensemble_cli.exits import CommandError, Exit

TIMEOUT = (5, 30)
"""Seconds to connect and to wait for an answer."""
NO_SUCH_PATH = b"404 page not found"
"""What an API server says of a group that it does not know."""
OVERLOADED = frozenset({429, 500, 502, 503, 504})
"""Statuses of an API server, or a proxy before it, that may be well in a moment."""
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
        return self._document("GET", path, query)

    def patch(self, path: str, change: Json, **query: str) -> Json:
        """Merge a change into an object; the object as it is then."""
        return self._document("PATCH", path, query, body=change, content_type=MERGE)

    def dry_apply(self, path: str, document: Mapping[str, Any], *, manager: str) -> Json:
        """What server-side apply of a document would make of an object; nothing is written."""
        query = {"dryRun": "All", "fieldManager": manager, "force": "true"}
        body = dict(document)
        return self._document("PATCH", path, query, body=body, content_type="application/apply-patch+yaml")

    @contextmanager
    def lines(self, path: str, **query: str) -> Iterator[Iterator[str]]:
        """A text answer as it comes, line by line; closing ends the request."""
        response = self._send("GET", path, query, stream=True).response
        try:
            yield self._lines(response)
        finally:
            response.close()

    def _lines(self, response: Any) -> Iterator[str]:
        rest = b""
        try:
            for chunk in response.stream(decode_content=True):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line.decode(errors="replace")
        except (HTTPError, OSError) as error:
            raise _silent(self.host, error) from error
        if rest:
            yield rest.decode(errors="replace")

    def _document(self, method: str, path: str, query: Mapping[str, str], **more: Any) -> Json:
        response = self._send(method, path, query, **more)
        try:
            content = response.read()
        except (HTTPError, OSError) as error:
            raise _silent(self.host, error) from error
        answer = _document(content)
        if "kind" not in answer:
            raise _no_api_server(self.host, response.status, content)
        return answer

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
            raise self._refused(response)
        return response

    def _refused(self, response: Any) -> CommandError:
        try:
            body = response.read()
        except (HTTPError, OSError) as error:
            return _silent(self.host, error)
        status = _document(body)
        if response.status in OVERLOADED:
            return _overloaded(self.host, response.status, str(status.get("message") or _text(body)))
        if status.get("kind") == "Status" or body.strip() == NO_SUCH_PATH:
            return _refused(response.status, status)
        return _no_api_server(self.host, response.status, body)


class MissingError(CommandError):
    """404. `named` where the API server knows the kind, and just the object is not there."""

    def __init__(self, message: str, *, named: bool) -> None:
        super().__init__(message, status=Exit.ABSENT)
        self.named = named


class ForbiddenError(CommandError):
    """403."""


def _silent(host: str, error: Exception) -> CommandError:
    return CommandError(
        f"the API server at {host} does not answer: {one_line(error)}",
        cure="check the cluster and the context: kubectl config current-context",
        status=Exit.CLUSTER,
    )


def _no_api_server(host: str, status: int, body: bytes) -> CommandError:
    return CommandError(
        f"{host} does not answer as an API server does (HTTP {status}: {_text(body)!r})",
        cure="check the context's server, and proxies before it: kubectl config view --minify",
        status=Exit.CLUSTER,
    )


def _overloaded(host: str, status: int, message: str) -> CommandError:
    said = " ".join(message.split())
    return CommandError(
        f"the API server at {host} cannot answer now (HTTP {status}: {said})",
        cure="try again; kubectl get --raw /readyz?verbose says what is the matter",
        status=Exit.CLUSTER,
    )


def _text(body: bytes) -> str:
    return " ".join(body[:100].decode(errors="replace").split())


def _refused(code: int, status: Json) -> CommandError:
    message = " ".join(str(status.get("message") or f"HTTP {code}").split())
    match code:
        case 401:
            return CommandError(
                "the API server does not know you", cure="log in again: kubectl auth whoami",
                status=Exit.CLUSTER,
            )  # fmt: skip
        case 403:
            cure = "ask for the permission, or give another --namespace or --context"
            return ForbiddenError(message, cure=cure, status=Exit.CLUSTER)
        case 404:
            return MissingError(message, named=bool((status.get("details") or {}).get("name")))
        case 409:
            return CommandError(message, cure="somebody else changed it at the same time: try again")
    return CommandError(message)


def _document(body: bytes) -> Json:
    """The object that a body is; empty where it is none."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
