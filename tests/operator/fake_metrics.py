"""A fake of a metrics adapter: external metrics with the values that a test says, aggregated for real."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from ensemble_operator.cluster.client import KubernetesApi

API = "/apis/external.metrics.k8s.io/v1beta1"
NAME = "v1beta1.external.metrics.k8s.io"
SERVICE = "fake-metrics-adapter"


@dataclass
class FakeMetricsAdapter:
    """Values by metric; and the label selectors that were asked for."""

    values: dict[str, str] = field(default_factory=dict)
    asked: dict[str, set[str]] = field(default_factory=dict)

    def answer(self, path: str) -> dict[str, object]:
        url = urlsplit(path)
        if url.path == API:
            resources = [
                {"name": name, "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
                for name in self.values
            ]
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": "external.metrics.k8s.io/v1beta1",
                "resources": resources,
            }
        name = url.path.rpartition("/")[2]
        self.asked.setdefault(name, set()).update(parse_qs(url.query).get("labelSelector", []))
        found = [self.values[name]] if name in self.values else []
        items = [
            {"metricName": name, "metricLabels": {}, "timestamp": "2026-01-01T00:00:00Z", "value": value}
            for value in found
        ]
        return {
            "kind": "ExternalMetricValueList",
            "apiVersion": "external.metrics.k8s.io/v1beta1",
            "metadata": {},
            "items": items,
        }


@contextmanager
def fake_adapter(api: KubernetesApi, folder: Path) -> Iterator[FakeMetricsAdapter]:
    """Registered with the API server, which reaches it by a Service of an external name, within the block."""
    fake = FakeMetricsAdapter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(fake.answer(self.path)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = _context(folder).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    services, registrations = (
        "/api/v1/namespaces/kube-system/services",
        "/apis/apiregistration.k8s.io/v1/apiservices",
    )
    api._request("POST", services, body=_service())
    api._request("POST", registrations, body=_registration(server.server_address[1]))
    try:
        yield fake
    finally:
        api._request("DELETE", f"{registrations}/{NAME}")
        api._request("DELETE", f"{services}/{SERVICE}")
        server.shutdown()
        server.server_close()


def _context(folder: Path) -> ssl.SSLContext:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ("-subj", "/CN=localhost", "-days", "2")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject)
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _service() -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": "kube-system"},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }


def _registration(port: int) -> dict[str, object]:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": NAME},
        "spec": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": SERVICE, "namespace": "kube-system", "port": port},
        },
    }
