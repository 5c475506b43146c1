"""Reading from the API server over one kept connection.

Tests look again and again while they wait. A kubectl for every look costs a tenth of a second of CPU time,
and many stories at once cannot afford it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

Json = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    kind: str
    path: str
    """Of the group and version: /api/v1 or /apis/GROUP/VERSION."""
    plural: str
    namespaced: bool

    def url(self, *, namespace: str, name: str) -> str:
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.path}{scope}/{self.plural}{f'/{name}' if name else ''}"


@dataclass(frozen=True)
class Api:
    """An API server, by its kubeconfig."""

    connection: client.ApiClient
    known: dict[str, Resource]
    """By plural, singular, short name, and plural with the group, in lower case."""

    def read(self, kind: str, *, name: str = "", namespace: str = "", **query: str) -> Json:
        """One object, or the list of those that fit the query (labelSelector, fieldSelector).

        Raises:
            AssertionError: as kubectl would say it.
        """
        resource = self._resource(kind)
        found = self._get(resource.url(namespace=namespace, name=name), query)
        for item in found.get("items", ()):
            item.setdefault("kind", resource.kind)
        return found

    def _resource(self, kind: str) -> Resource:
        if kind.lower() not in self.known:
            self.known.update(self._discovered())
        if kind.lower() not in self.known:
            raise AssertionError(f"the server doesn't have a resource type {kind!r}")
        return self.known[kind.lower()]

    def _discovered(self) -> dict[str, Resource]:
        found: dict[str, Resource] = {}
        groups = self._get("/apis", {})["groups"]
        for path in ("/api/v1", *(f"/apis/{each['preferredVersion']['groupVersion']}" for each in groups)):
            try:
                entries = self._get(path, {})["resources"]
            except AssertionError:
                continue  # of an API service that is away
            for entry in (entry for entry in entries if "/" not in entry["name"]):
                resource = Resource(entry["kind"], path, entry["name"], entry["namespaced"])
                names = (entry["name"], entry["singularName"], *entry.get("shortNames", ()))
                for name in filter(None, names):
                    found.setdefault(name.lower(), resource)
                group_name = path.split("/")[2] if path.startswith("/apis") else ""
                version = path.rpartition("/")[2]
                found[f"{entry['name']}.{group_name}"] = resource
                found[f"{entry['name']}.{version}.{group_name}"] = resource
        return found

    def _get(self, path: str, query: Mapping[str, str]) -> Json:
        try:
            answer = self.connection.call_api(
                *self.connection.param_serialize(
                    "GET",
                    path,
                    query_params=list(query.items()),
                    header_params={"Accept": "application/json"},
                    auth_settings=["BearerToken"],
                )
            )
            text = answer.read()
        except urllib3.exceptions.HTTPError as error:
            raise AssertionError(f"GET {path}: {error}") from error
        except ApiException as error:
            raise AssertionError(f"GET {path}: {error.reason}: {error.body}") from error
        found: Json = json.loads(text)
        if answer.status >= 400:
            raise AssertionError(f"Error from server ({found.get('reason')}): {found.get('message')}")
        return found


@cache
def api(kubeconfig: str) -> Api:
    """The API server that a kubeconfig names; one for all tests of a process."""
    return Api(config.new_client_from_config(config_file=kubeconfig), {})
