"""A fault injector in front of the real S3 server: passes bytes on, or spoils them as told.

It works on TCP, so that what the client meets is what a bad network or a broken server would give it.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum


class Trouble(Enum):
    NONE = "pass everything on"
    HANG = "accept, then never answer"
    CLOSE = "accept, then close"
    BUSY = "answer 503 SlowDown"
    BROKEN = "answer 500 InternalError"
    TRUNCATE = "close in the middle of a body"
    CORRUPT = "change one byte of a body"
    SLOW = "answer in drops"
    NO_CONDITIONS = "answer 501 to If-None-Match, as servers without conditional writes"
    NO_COPY = "answer 501 to copies inside the server"


BODY = b"<Error><Code>%s</Code><Message>fault injected</Message></Error>"
ANSWERS = {
    Trouble.BUSY: (b"503 Slow Down", b"SlowDown"),
    Trouble.BROKEN: (b"500 Internal Server Error", b"InternalError"),
}
NOT_IMPLEMENTED = (b"501 Not Implemented", b"NotImplemented")
UNSUPPORTED_HEADERS = {
    Trouble.NO_CONDITIONS: b"\r\nif-none-match:",
    Trouble.NO_COPY: b"\r\nx-amz-copy-source:",
}
LONG_BODY = 20_000
"""Answers of at least this many bytes are bodies worth spoiling; XML answers are shorter."""

Address = tuple[str, int]


@dataclass
class FaultProxy:
    """`trouble` befalls the next `times` connections (for ever where None); `seen` counts connections.

    only: where given, request lines that may meet trouble, and are counted; the others pass.
    hang: seconds that a hanging connection stays open.
    long_body: bytes from which a body is spoilt.
    """

    address: Address
    backend: Address
    trouble: Trouble = Trouble.NONE
    times: int | None = None
    seen: int = 0
    only: re.Pattern[bytes] | None = None
    hang: float = 5
    long_body: int = LONG_BODY
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def endpoint(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def befall(self, trouble: Trouble, *, times: int | None = None) -> None:
        with self._lock:
            self.trouble, self.times, self.seen = trouble, times, 0

    def next_trouble(self) -> Trouble:
        with self._lock:
            self.seen += 1
            if self.times is None:
                return self.trouble
            if self.times == 0:
                return Trouble.NONE
            self.times -= 1
            return self.trouble

    def serve(self, client: socket.socket) -> None:
        """Every connection carries one request: the answer says so, and the client opens another one."""
        with client:
            client.settimeout(30)
            try:
                request = _read_request(client) if self.only else b""
                concerned = self.only is None or self.only.search(request.partition(b"\r\n")[0])
                trouble = self.next_trouble() if concerned else Trouble.NONE
                if trouble is Trouble.HANG:
                    time.sleep(self.hang)
                elif trouble is not Trouble.CLOSE:
                    self._answer(client, request or _read_request(client), trouble)
            except OSError:
                return

    def _answer(self, client: socket.socket, request: bytes, trouble: Trouble) -> None:
        header = UNSUPPORTED_HEADERS.get(trouble)
        if trouble in ANSWERS:
            _refuse(client, *ANSWERS[trouble])
        elif header and header in request.partition(b"\r\n\r\n")[0].lower():
            _refuse(client, *NOT_IMPLEMENTED)
        else:
            self._pass_on(client, request, trouble)

    def _pass_on(self, client: socket.socket, request: bytes, trouble: Trouble) -> None:
        with socket.create_connection(self.backend, timeout=30) as backend:
            head, _, body = request.partition(b"\r\n\r\n")
            backend.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
            answer = b""
            while piece := backend.recv(1 << 20):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        long = len(body) >= self.long_body
        spoilt = _spoil(body, trouble, at=len(body) // 2 + self.seen % 100) if long and body else body
        client.sendall(head + b"\r\nConnection: close\r\n\r\n")
        if trouble is Trouble.SLOW and long:
            for start in range(0, len(spoilt), len(spoilt) // 5 + 1):
                client.sendall(spoilt[start : start + len(spoilt) // 5 + 1])
                time.sleep(0.5)
            return
        client.sendall(spoilt)


def _refuse(client: socket.socket, status: bytes, code: bytes) -> None:
    body = BODY % code
    head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body))
    client.sendall(head + body)


def _spoil(body: bytes, trouble: Trouble, *, at: int) -> bytes:
    if trouble is Trouble.TRUNCATE:
        return body[: len(body) // 2]
    if trouble is Trouble.CORRUPT:
        # Another byte each time, as hardware would.
        at = min(at, len(body) - 1)
        return body[:at] + bytes([body[at] ^ 0xFF]) + body[at + 1 :]
    return body


def _read_request(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += (piece := client.recv(1 << 16))
        if not piece:
            raise ConnectionError
    head, _, body = data.partition(b"\r\n\r\n")
    if b"100-continue" in head.lower():
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:")]
        head = b"\r\n".join(lines)
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += (piece := client.recv(1 << 20))
        if not piece:
            raise ConnectionError
    return head + b"\r\n\r\n" + body


@contextmanager
def fault_proxy(backend: Address, *, at: Address = ("127.0.0.1", 0)) -> Iterator[FaultProxy]:
    """A proxy before the server at `backend`, on a port of its own where that of `at` is 0."""
    with socket.create_server(at) as listener:
        proxy = FaultProxy(address=(at[0], listener.getsockname()[1]), backend=backend)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
