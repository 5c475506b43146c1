"""Kubeconfigs that lead to no API server, and URLs that lead to no tritonserver: one line, no traceback."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ensemble_cli.exits import Exit
from ensemble_cli.main import main
from tests.ports import free_port

NOT_KUBERNETES = [
    (200, b"<html>welcome</html>"), (200, b"[]"), (200, b'{"hello": 1}'), (200, b""), (302, b""),
    (404, b"<html>not here</html>"), (405, b"{}"),
]  # fmt: skip
COMMANDS = [
    ["status"], ["status", "--watch"], ["why"], ["history"], ["promote"], ["rollback"], ["unpin"], ["logs"],
    ["infer", "--random"], ["graph"], ["bench", "--random"], ["pause"], ["resume"],
]  # fmt: skip


class Web(ThreadingHTTPServer):
    """A web server that knows nothing of Kubernetes or Triton, and says always the same."""

    answer = (200, b"")
    short = False
    """Breaks off before the end it has promised."""


class Handler(BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + 100 * self.server.short))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    do_PATCH = do_POST = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    with Web(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def url(web: Web) -> str:
    return f"http://127.0.0.1:{web.server_port}"


def kubeconfig(folder: Path, server: str, **user: Any) -> str:
    file = folder / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return str(file)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert shown.out == ""
    assert "fault of the program" not in line
    assert "; " in line
    return line


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_says_so(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    web.answer = NOT_KUBERNETES[0]
    config = kubeconfig(tmp_path, url(web))
    assert main([command[0], "e", *command[1:], "--kubeconfig", config]) == Exit.CLUSTER
    assert f"{url(web)} does not answer as an API server does (HTTP 200: " in complaint(capsys)


@pytest.mark.parametrize("answer", NOT_KUBERNETES)
def test_whatever_it_says(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: tuple[int, bytes]
) -> None:
    web.answer = answer
    assert main(["why", "e", "--kubeconfig", kubeconfig(tmp_path, url(web))]) == Exit.CLUSTER
    assert f"does not answer as an API server does (HTTP {answer[0]}: " in complaint(capsys)


def test_busy_broken_off_and_unencrypted(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web.answer = (503, b"<h1>sorry</h1>\nno backend")
    assert main(["why", "e", "--kubeconfig", kubeconfig(tmp_path, url(web))]) == Exit.CLUSTER
    assert "cannot answer now (HTTP 503: <h1>sorry</h1> no backend); try again" in complaint(capsys)
    web.answer, web.short = (200, b'{"kind":'), True
    assert main(["why", "e", "--kubeconfig", kubeconfig(tmp_path, url(web))]) == Exit.CLUSTER
    assert "does not answer: " in complaint(capsys)
    web.short = False
    config = kubeconfig(tmp_path, url(web).replace("http", "https"))
    assert main(["why", "e", "--kubeconfig", config]) == Exit.CLUSTER
    assert "does not answer: " in complaint(capsys)


@pytest.mark.parametrize("server", ["", "ftp://x", "localhost"])
def test_a_cluster_without_a_url(tmp_path: Path, capsys: pytest.CaptureFixture[str], server: str) -> None:
    assert main(["why", "e", "--kubeconfig", kubeconfig(tmp_path, server)]) == Exit.CLUSTER
    assert "the context's cluster has no URL" in complaint(capsys)


@pytest.mark.parametrize(
    ("command", "message"),
    [("no-such-plugin", "No such file"), ("false", "returned 1"), ("echo", "failed to decode")],
)
def test_a_credential_plugin_that_fails(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never",
    }  # fmt: skip
    config = kubeconfig(tmp_path, url(web), exec=plugin)
    assert main(["why", "e", "--kubeconfig", config]) == Exit.CLUSTER
    assert re.search(f"no credentials: .*{message}.*; users", complaint(capsys))


@pytest.mark.parametrize("names", [["../pods"], [""], ["e", "-n", "../x"], ["E"]])
def test_names_that_are_none(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    assert main(["why", *names, "--kubeconfig", kubeconfig(tmp_path, url(web))]) == Exit.USAGE
    assert " is no name" in complaint(capsys)


def test_completion_says_nothing_where_nobody_answers(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensemble_cli.completing import run  # noqa: PLC0415 - it builds all commands

    config = kubeconfig(tmp_path, url(web))
    monkeypatch.setattr("sys.argv", ["kubectl_complete-ensemble", "why", "--kubeconfig", config, ""])
    web.answer = NOT_KUBERNETES[0]
    run()
    assert capsys.readouterr() == (":0\n", "")
    items = [{"metadata": {"name": name}} for name in ("net", "other")]
    web.answer = (200, json.dumps({"kind": "InferenceEnsembleList", "items": items}).encode())
    run()
    assert capsys.readouterr() == ("net\nother\n:4\n", "")


@pytest.mark.parametrize("answer", [*NOT_KUBERNETES[:4], (500, b"<h1>no\nway</h1>")])
@pytest.mark.parametrize("command", ["infer", "graph", "bench"])
def test_no_tritonserver(
    web: Web, capsys: pytest.CaptureFixture[str], command: str, answer: tuple[int, bytes]
) -> None:
    web.answer = answer
    more = [] if command == "graph" else ["--random"]
    status = main([command, "--url", url(web), "--model", "m", *more])
    line = complaint(capsys)
    if answer[0] == 200:
        assert (status, "does not answer as tritonserver does; give the HTTP port" in line) == (
            Exit.ABSENT,
            True,
        )
    else:
        assert (status, "the server says: <h1>no way</h1>; look" in line) == (Exit.NO, True)


@pytest.mark.parametrize("grpc", [[], ["--grpc"]])
def test_nobody_there(capsys: pytest.CaptureFixture[str], grpc: list[str]) -> None:
    port = free_port()
    assert main(["infer", "--url", f"localhost:{port}", "--model", "m", "--random", *grpc]) == Exit.ABSENT
    assert f"localhost:{port} does not answer: " in complaint(capsys)


def test_grpc_asked_of_an_http_port(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["infer", "--url", url(web), "--model", "m", "--random", "--grpc"]
    assert main(arguments) == Exit.ABSENT
    assert "check that the server is up, and that this is its gRPC port" in complaint(capsys)


def test_http_asked_of_another_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            near, _ = server.accept()
            near.sendall(b"220 mail at your service\r\n")
            near.close()

        threading.Thread(target=talk, daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert main(["infer", "--url", address, "--model", "m", "--random"]) == Exit.ABSENT
    assert f"{address} does not answer: " in complaint(capsys)
