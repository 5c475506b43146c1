"""Packages listed in the spec are packed by pip, and the real server's Python backend works with them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput

from ensemble_builder.commands import compile as compiling
from ensembles_api.contract import CompileResult, Result
from ensembles_api.reasons import Reason
from tests.storage.support.triton import NUMPY, tritonserver
from tests.storage.support.workbench import Workbench

pytestmark = pytest.mark.s3
FIELD = "spec.models[0].python.environment"
CODE = """
import humanize
import numpy as np
import triton_python_backend_utils as pb_utils

assert "python_env" in humanize.__file__, humanize.__file__

class TritonPythonModel:
    def execute(self, requests):
        def words(request):
            numbers = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            text = np.array([humanize.intcomma(int(number)).encode() for number in numbers], np.object_)
            return pb_utils.InferenceResponse([pb_utils.Tensor("y", text)])
        return [words(request) for request in requests]
"""


def models(*requirements: str, **environment: Any) -> dict[str, Any]:
    return {
        "name": "words",
        "python": {
            "source": {"inline": CODE},
            "environment": {"requirements": list(requirements), **environment},
        },
        "config": {
            "max_batch_size": 0,
            "input": [{"name": "x", "data_type": "TYPE_INT64", "dims": [-1]}],
            "output": [{"name": "y", "data_type": "TYPE_STRING", "dims": [-1]}],
        },
    }


def pack(bench: Workbench, result: Result) -> tuple[CompileResult, list[str], Path]:
    (build,) = result.next
    assert build.kind == "environment"
    work = bench.folder / f"work-{build.key[:8]}"
    given = [*bench.storage, "--lock", result.lock, "--key", build.key, "--work", str(work)]
    assert bench.run("fetch", "build", *given).fault is None
    return compiling.run(work), given, work


def test_a_model_with_packages_of_its_own(bench: Workbench, tmp_path: Path) -> None:
    request = bench.request(models("humanize==4.9.0", NUMPY))
    first = bench.assemble(request)
    packed, given, work = pack(bench, first)
    assert packed.provenance["packages"] == ["humanize-4.9.0", NUMPY.replace("==", "-")]
    assert bench.run("upload", *given).fault is None
    done = bench.assemble(request, "--lock", first.lock, "--built", first.next[0].key)
    files = bench.published(done)
    archive = files["models/words/environment.tar.gz"]
    assert archive == (work / "out/environment.tar.gz").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(archive)) as entries:
        assert {entry.mtime for entry in entries} == {0}

    repository = bench.folder / f"to-{done.revision}-default" / "models"
    with tritonserver(repository, tmp_path / "log") as server:
        assert (tmp_path / "log").read_text().count("READY")
        with InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            x = InferInput("x", [2], "INT64")
            x.set_data_from_numpy(np.array([7, 1234567], np.int64))
            answer = client.infer("words", [x]).as_numpy("y")
    assert [word.decode() for word in answer] == ["7", "1,234,567"]


def test_what_pip_says_is_passed_on(bench: Workbench) -> None:
    ordered = bench.assemble(bench.request(models("humanize==0.0.0.dev99")))
    fault = pack(bench, ordered)[0].fault
    assert fault is not None
    assert (fault.code, fault.field) == (Reason.COMPILE_FAILED, f"{FIELD}.requirements")
    assert "No matching distribution found for humanize==0.0.0.dev99" in fault.message


def test_the_index_is_the_specs(bench: Workbench) -> None:
    nowhere = models("humanize==4.9.0", indexUrl="http://127.0.0.1:9/simple")
    ordered = bench.assemble(bench.request(nowhere))
    fault = pack(bench, ordered)[0].fault
    assert fault is not None
    assert "humanize==4.9.0" in fault.message
