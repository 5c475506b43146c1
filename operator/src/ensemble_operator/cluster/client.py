"""Kubernetes API requests on plain JSON documents, each with a deadline and typed failures.

The typed models of the official client would drop fields that its version does not know; plain documents keep
what the API server sent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import urllib3
from kubernetes import client as kubernetes_client
from kubernetes import config as kubernetes_config
from urllib3.util import Retry

from ensemble_operator.cluster.errors import ExpiredError, UnavailableError, error_from
from ensemble_operator.cluster.kinds import Kind

Object = Mapping[str, Any]

FIELD_MANAGER = "ensemble-operator"

CONNECT_SECONDS = 5.0
READ_SECONDS = 25.0
PAGE = 500

_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_PATCH_TYPES = {
    "apply": "application/apply-patch+yaml",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}

PatchType = Literal["merge", "strategic", "json"]


@dataclass(frozen=True)
class Listing:
    """A complete list and the version of the collection it shows."""

    items: tuple[Object, ...]
    resource_version: str


class KubernetesApi:
    """Requests to one cluster; usable from several threads.

    Every method raises a subtype of `ensemble_operator.cluster.errors.ApiError`.

    Args:
        client: connections and credentials.
        failed: told of each request that failed, by method and HTTP status (0: no answer).
    """

    def __init__(
        self,
        client: kubernetes_client.ApiClient,
        *,
        failed: Callable[[str, int], None] = lambda _method, _code: None,
    ) -> None:
        self._client = client
        self._failed = failed

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        return self._request("GET", kind.path(namespace, name))

    def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> Listing:
        """All objects of a kind, in one namespace or in all; `metadata_only` leaves out all the rest."""
        try:
            return self._list(
                kind, namespace, label_selector=label_selector, field_selector=field_selector,
                metadata_only=metadata_only, page=PAGE,
            )  # fmt: skip
        except ExpiredError:
            return self._list(
                kind, namespace, label_selector=label_selector, field_selector=field_selector,
                metadata_only=metadata_only, page=0,
            )  # fmt: skip

    def _list(
        self, kind: Kind, namespace: str | None, *, label_selector: str, field_selector: str,
        metadata_only: bool, page: int,
    ) -> Listing:  # fmt: skip
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        if page:
            query["limit"] = str(page)
        accept = _METADATA_ONLY if metadata_only else "application/json"
        items: list[Object] = []
        while True:
            answer = self._request("GET", kind.path(namespace), query=query, accept=accept)
            # Items of a list come without their type; an empty list of metadata comes as null.
            found = answer["items"] or ()
            items += [{**item, "apiVersion": kind.api_version, "kind": kind.name} for item in found]
            if not (following := answer["metadata"].get("continue")):
                return Listing(tuple(items), answer["metadata"].get("resourceVersion", ""))
            query["continue"] = following

    def create(self, kind: Kind, manifest: Object) -> Object:
        path = kind.path(manifest["metadata"]["namespace"])
        # Strict: a misspelt field in a user's affinity or toleration would be dropped without a word.
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return self._request("POST", path, body=manifest, query=query)

    def replace(self, kind: Kind, manifest: Object) -> Object:
        """PUT; refused with ConflictError where metadata.resourceVersion is not the newest."""
        metadata = manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"])
        return self._request("PUT", path, body=manifest, query={"fieldManager": FIELD_MANAGER})

    def apply(self, kind: Kind, manifest: Object, *, field_manager: str = FIELD_MANAGER) -> Object:
        """Server-side apply with force; metadata.uid in the manifest is a precondition."""
        metadata = manifest["metadata"]
        return self._request(
            "PATCH",
            kind.path(metadata["namespace"], metadata["name"]),
            body=manifest,
            content_type=_PATCH_TYPES["apply"],
            query={"fieldManager": field_manager, "force": "true", "fieldValidation": "Strict"},
        )

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Any,
        *,
        patch_type: PatchType = "merge",
        subresource: str | None = None,
    ) -> Object:
        return self._request(
            "PATCH",
            kind.path(namespace, name, subresource),
            body=body,
            content_type=_PATCH_TYPES[patch_type],
            query={"fieldManager": FIELD_MANAGER},
        )

    def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, resource_version: str | None = None
    ) -> Object:
        """DELETE of exactly that object; dependents go in the background.

        Returns:
            The object where something still holds it, else a Status document.
        """
        preconditions = {"uid": uid}
        if resource_version is not None:
            preconditions["resourceVersion"] = resource_version
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": preconditions,
        }
        return self._request("DELETE", kind.path(namespace, name), body=options)

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> Object:
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        query_params = [(name, value) for name, value in (query or {}).items() if value]
        line = f"{method} {path}"
        _, url, sent_headers, _, _ = self._client.param_serialize(
            method, path, query_params=query_params, header_params=headers, auth_settings=["BearerToken"]
        )
        try:
            # Not through the client's own request(): it would encode the body once more, in its own way.
            response = self._client.rest_client.pool_manager.request(
                method,
                url,
                body=None if body is None else _encode(body),
                headers=sent_headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            )
            content = cast("bytes", response.data)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._failed(method, 0)
            raise UnavailableError(f"no answer: {error}", request=line) from error
        if response.status >= 400:  # noqa: PLR2004
            self._failed(method, response.status)
            raise error_from(
                status=response.status,
                body=content,
                request=line,
                retry_after=response.headers.get("Retry-After"),
            )
        return cast("Object", json.loads(content))


def _encode(body: Any) -> bytes:
    """JSON as the API server itself writes it: sorted, compact, HTML characters escaped.

    A ControllerRevision keeps its data as the bytes that were sent. A later patch of its annotations encodes
    them anew, and the server takes any difference for a change of what must not change.
    """
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def find_cluster(kubeconfig: Path | None = None) -> kubernetes_client.Configuration:
    """Address and credentials: of the file, else of the pod's service account, else of $KUBECONFIG.

    Raises:
        kubernetes.config.ConfigException: there are none.
    """
    configuration = kubernetes_client.Configuration()
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        kubernetes_config.load_incluster_config(client_configuration=configuration)
    else:
        kubernetes_config.load_kube_config(
            config_file=None if kubeconfig is None else str(kubeconfig), client_configuration=configuration
        )
    return configuration


def connect(
    configuration: kubernetes_client.Configuration,
    *,
    connections: int = 16,
    failed: Callable[[str, int], None] = lambda _method, _code: None,
) -> KubernetesApi:
    """A client of that cluster, with so many connections kept open; `failed` as in KubernetesApi."""
    configuration.connection_pool_maxsize = connections
    # A pooled connection that the server closed is worth one more try; waiting is the work queue's task.
    configuration.retries = Retry(total=1, connect=1, read=1, redirect=0, status=0, backoff_factor=0)
    return KubernetesApi(kubernetes_client.ApiClient(configuration), failed=failed)


def metadata(manifest: Object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", manifest["metadata"])


def labels(manifest: Object) -> Mapping[str, str]:
    return cast("Mapping[str, str]", metadata(manifest).get("labels") or {})


def owners(manifest: Object) -> Iterator[Mapping[str, Any]]:
    """The owner references of an object."""
    yield from metadata(manifest).get("ownerReferences") or ()
