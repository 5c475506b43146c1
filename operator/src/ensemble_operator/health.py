"""Liveness and readiness over HTTP, from a thread of their own: a stuck event loop gets an answer, too."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Heartbeats:
    """What must go on, with the time it last did. Usable from several threads.

    Args:
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._beats: dict[str, tuple[float, float]] = {}
        self._faults: dict[str, str] = {}
        self._ready = False

    def beat(self, name: str, *, within: float) -> None:
        """`name` goes on, and will say so again within so many seconds."""
        with self._lock:
            self._beats[name] = (self._monotonic(), within)

    def stop(self, name: str) -> None:
        """`name` has ended as it should."""
        with self._lock:
            self._beats.pop(name, None)

    def fault(self, name: str, problem: str) -> None:
        """`name` was found not to work; an empty problem takes that back."""
        with self._lock:
            if problem:
                self._faults[name] = problem
            else:
                self._faults.pop(name, None)

    def set_ready(self, *, ready: bool) -> None:
        with self._lock:
            self._ready = ready

    @property
    def ready(self) -> bool:
        with self._lock:
            return self._ready

    def ages(self) -> dict[str, float]:
        """Seconds since each last beat."""
        now = self._monotonic()
        with self._lock:
            return {name: now - at for name, (at, _) in self._beats.items()}

    def problems(self) -> list[str]:
        """What does not go on, in words; empty where all is well."""
        now = self._monotonic()
        with self._lock:
            late = [
                f"{name}: no sign of life for {now - at:.0f} s (limit {within:.0f} s)"
                for name, (at, within) in self._beats.items()
                if now - at > within
            ]
            return late + [f"{name}: {problem}" for name, problem in self._faults.items()]


def serve(heartbeats: Heartbeats, *, port: int) -> ThreadingHTTPServer:
    """Serve /healthz and /readyz; port 0 picks a free one. The caller shuts the server down."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/healthz":
                    problems = heartbeats.problems()
                    ages = {name: round(age, 1) for name, age in sorted(heartbeats.ages().items())}
                    self._answer(500 if problems else 200, {"problems": problems, "ages": ages})
                case "/readyz":
                    ready = heartbeats.ready
                    self._answer(200 if ready else 503, {"ready": ready})
                case _:
                    self._answer(404, {"paths": ["/healthz", "/readyz"]})

        def _answer(self, status: int, document: dict[str, object]) -> None:
            body = json.dumps(document).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes every few seconds are not worth a line."""

    server = ThreadingHTTPServer(("", port), Handler)  # all addresses: the kubelet comes from outside
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
