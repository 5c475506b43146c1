"""Publication killed and run again, run by several at once, and pruned."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import Owner
from ensembles_api.contract import Manifest, Request, Result
from ensembles_api.reasons import Reason
from tests.storage.support.faultproxy import Trouble, fault_proxy
from tests.storage.support.killing import kill_after
from tests.storage.support.s3server import KEYS, Server
from tests.storage.support.workbench import Workbench, onnx_model

pytestmark = pytest.mark.s3


def many_files(bench: Workbench) -> Request:
    """A request whose publication takes long enough to be killed in the middle."""
    for number in range(60):
        bench.put(f"any/1/{number:03d}", os.urandom(100))
    uri = bench.store.root.access.uri(bench.store.key("sources/any/"))
    config = {
        "backend": "identity",
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
    }
    return bench.request({"name": "any", "files": {"uri": uri}, "config": config})


def command(bench: Workbench, request: Request, number: int = 0) -> tuple[list[str], Path]:
    file = bench.folder / f"request-{number}.json"
    result = bench.folder / f"outcome-{number}"
    file.write_text(json.dumps(request.model_dump(mode="json", by_alias=True)))
    program = [sys.executable, "-m", "ensemble_builder.cli", "assemble", "--request", str(file)]
    return [*program, *bench.storage, "--result", str(result)], result


def assert_whole(bench: Workbench, server: Server) -> None:
    """Every manifest in storage names files that are there with their bytes."""
    base = server.object("models", bench.store.key(layout.revisions("demo", "vision")))
    for path in base.glob("*/manifest.json"):
        manifest = Manifest.model_validate_json(path.read_bytes())
        assert manifest.digest() == path.parent.name
        for target, content in manifest.targets.items():
            for name, entry in content.files.items():
                assert (path.parent / target / name).stat().st_size == entry.size


def test_publication_killed_at_any_point_is_mended_by_the_next(bench: Workbench, server: Server) -> None:
    """The storage falls silent after some requests, and the process is killed while it waits."""
    request = many_files(bench)
    revisions = server.object("models", bench.store.key(layout.revisions("demo", "vision")))
    with fault_proxy(("127.0.0.1", server.port)) as proxy:
        location = bench.store.location.model_copy(update={"endpoint": proxy.endpoint})
        arguments, _ = command(bench, request)
        arguments[arguments.index("--storage") + 1] = location.model_dump_json()
        done = subprocess.run(arguments, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        total = proxy.seen
        assert total > 120, "every file is read once and copied once"
        whole = bench.assemble(request).revision
        for allowed in (total - 1, total - 20, total - 63, total - 100, 3):
            remove(revisions)
            kill_after(proxy, arguments, requests=allowed)
            assert not list(revisions.glob("*/manifest.json")), f"killed after {allowed} of {total} requests"
        proxy.befall(Trouble.NONE)
    files = bench.published(bench.assemble(request))
    assert bench.results[-2].revision == whole
    assert len([path for path in files if path.startswith("models/any/1/")]) == 60


def remove(folder: Path) -> None:
    """Again, where the server was still writing for a client that had been killed."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    pytest.fail(f"{folder} does not go away")


def test_the_remains_of_a_killed_publication_do_no_harm(bench: Workbench, server: Server) -> None:
    request = many_files(bench)
    first = bench.assemble(request)
    base = server.object("models", bench.store.key(layout.revision("demo", "vision", first.revision)))
    (base / "manifest.json").unlink()
    (base / "default/models/any/1/007").unlink()
    (base / "default/models/any/1/008").write_bytes(b"half")
    again = bench.assemble(request)
    assert again.revision == first.revision
    assert len(bench.published(again)["models/any/1/008"]) == 100


def test_sigterm_ends_a_command_at_once(bench: Workbench, server: Server) -> None:
    with fault_proxy(("127.0.0.1", server.port)) as proxy:
        proxy.befall(Trouble.HANG)
        location = bench.store.location.model_copy(update={"endpoint": proxy.endpoint})
        arguments, _ = command(
            bench, bench.request({"name": "m", "onnxruntime": {"source": {"inline": "x"}}})
        )
        arguments[arguments.index("--storage") + 1] = location.model_dump_json()
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not proxy.seen:
            time.sleep(0.02)
            assert process.poll() is None
        process.terminate()
        assert process.wait(3) == 143


@pytest.mark.parametrize("name", ["default/models/net/1/model.onnx", "manifest.json"])
def test_what_storage_loses_of_a_revision_is_published_again(bench: Workbench, name: str) -> None:
    source = {"uri": bench.put("net.onnx", onnx_model())}
    request = bench.request({"name": "net", "onnxruntime": {"source": source}})
    result = bench.assemble(request)
    bench.store.root.delete(bench.store.key(f"ensembles/demo/vision/revisions/{result.revision}/{name}"))
    what = ["--revision", result.revision, "--target", "default", "--to", str(bench.folder / "lost")]
    fault = bench.run("fetch", "revision", *bench.storage, *bench.ensemble, *what).fault
    assert fault is not None
    assert fault.code is Reason.ARTIFACT_VANISHED
    assert "ensembles.dev/requestedAt" in fault.message
    assert bench.assemble(request).revision == result.revision
    assert bench.published(result)["models/net/1/model.onnx"] == onnx_model()


def test_publishers_at_the_same_time_agree(bench: Workbench, server: Server) -> None:
    request = many_files(bench)
    started = [command(bench, request, number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ended = list(
            pool.map(lambda item: subprocess.run(item[0], capture_output=True, check=False), started)
        )
    assert [done.returncode for done in ended] == [0, 0, 0, 0], ended
    results = [Result.model_validate_json(path.read_bytes()) for _, path in started]
    assert len({(result.lock, result.revision) for result in results}) == 1
    assert_whole(bench, server)
    assert bench.published(results[0])


def relu(bench: Workbench, threshold: int) -> dict[str, Any]:
    uri = bench.put("net.onnx", onnx_model())
    return {"name": "relu", "maxBatchSize": threshold, "onnxruntime": {"source": {"uri": uri}}}


def revisions(bench: Workbench) -> set[str]:
    base = bench.store.key(layout.revisions("demo", bench.name))
    return {info.key.removeprefix(base).partition("/")[0] for info in bench.store.root.list(base)}


@pytest.fixture
def three(bench: Workbench) -> list[str]:
    return [bench.assemble(bench.request(relu(bench, size))).revision for size in (1, 2, 3)]


def prune(bench: Workbench, *what: str) -> Result:
    return bench.run("prune", *bench.storage, *bench.ensemble, *what)


def test_prune_keeps_what_it_is_told(bench: Workbench, three: list[str]) -> None:
    assert prune(bench, "--keep", ",".join(three[1:])).fault is None
    assert revisions(bench) == set(three[1:])


def test_prune_removes_what_it_is_told(bench: Workbench, three: list[str]) -> None:
    assert prune(bench, "--remove", f"{three[0]},{'0' * 64}").fault is None
    assert revisions(bench) == set(three[1:])
    assert prune(bench, "--remove", three[0]).fault is None


def test_prune_all_leaves_blobs_of_others(bench: Workbench, three: list[str]) -> None:
    assert three
    assert prune(bench, "--all").fault is None
    assert revisions(bench) == set()
    assert bench.store.root.head(bench.store.key(layout.owner("demo", "vision"))) is None
    assert list(bench.store.root.list(bench.store.key("locks/")))
    assert prune(bench, "--all").fault is None


@pytest.mark.parametrize(
    ("owner", "uid"),
    [
        (Owner(namespace="demo", name="another").canonical(), ""),
        (Owner(namespace="demo", name="vision", uid="theirs").canonical(), "ours"),
        (b"nonsense", ""),
    ],
)
def test_prune_deletes_nothing_that_is_not_ours(
    bench: Workbench, three: list[str], owner: bytes, uid: str
) -> None:
    bench.store.root.put(bench.store.key(layout.owner("demo", "vision")), owner)
    refused = prune(bench, "--all", "--uid", uid)
    assert refused.fault is not None
    assert refused.fault.code is Reason.OBJECT_NOT_OWNED
    assert revisions(bench) == set(three)


def test_the_publisher_owns_what_it_published(bench: Workbench) -> None:
    bench.assemble(bench.request(relu(bench, 1), uid="first"))
    bench.assemble(bench.request(relu(bench, 1), uid="again"))
    assert prune(bench, "--all", "--uid", "first").fault is not None
    assert prune(bench, "--all", "--uid", "again").fault is None


def test_prune_killed_in_the_middle_is_mended(bench: Workbench, three: list[str], server: Server) -> None:
    """Without its manifest a revision is gone; the next prune takes the rest."""
    server.object("models", bench.store.key(layout.manifest("demo", "vision", three[0]))).unlink()
    assert prune(bench, "--keep", three[2]).fault is None
    assert revisions(bench) == {three[2]}


def test_keys_never_appear_in_output(bench: Workbench, capfd: pytest.CaptureFixture[str]) -> None:
    bench.assemble(bench.request(relu(bench, 1)))
    bench.assemble(bench.request({"name": "x", "onnxruntime": {"source": {"uri": "s3://models/absent"}}}))
    said = "".join(capfd.readouterr())
    assert said
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in said
