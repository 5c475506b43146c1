"""Pipelines that are run on samples before they are published: what passes, what is refused, and how."""

from __future__ import annotations

import io
import shutil
from typing import Any

import numpy as np
import pytest

from ensemble_builder.commands import compile as compiling
from ensemble_builder.compilers.dali import media
from ensemble_builder.compilers.tensorrt.device import find_device
from ensembles_api.contract import ArtifactRecord, LockedFile, Proof
from ensembles_api.reasons import Reason

from .conftest import FIELD, Build, Built

PHOTOS = """
@pipeline_def(batch_size=4)
def photos():
    encoded = fn.external_source(name="ENCODED", dtype=types.UINT8, ndim=1)
    image = fn.resize(fn.decoders.image(encoded), size=[8, 8])
    return fn.crop_mirror_normalize(image, dtype=types.FLOAT, output_layout="CHW"), image.shape()
"""
ROOTS = """
@pipeline_def(batch_size=4)
def roots():
    return math.sqrt(fn.external_source(name="x", dtype=types.FLOAT, ndim=1))
"""


def npy(*values: float) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values, np.float32))
    return file.getvalue()


def sample(name: str, file: str) -> dict[str, Any]:
    return {"inputs": [{"name": name, "file": file}]}


def proof_of(built: Built) -> Proof:
    assert built.result.fault is None, built.result.fault
    assert built.result.proof is not None
    return built.result.proof


def test_a_pipeline_answers_its_samples_alone_and_in_a_full_batch(build: Build) -> None:
    given = {"a.png": media.png(40, 30), "b.png": media.png(31, 53)}
    built = build(PHOTOS, files=given, proof={"samples": [sample("ENCODED", name) for name in given]})

    found = proof_of(built)
    assert found.verdict == "Passed"
    assert found.summary.startswith("verified on the CPU: 2 samples at batch 1 and 4; ")
    runs = found.report["runs"]
    assert [(run.get("sample", 0), run["batch"]) for run in runs] == [(0, 1), (0, 4), (1, 1), (1, 4)]
    assert all(run["outputs"][0]["shapes"] == [[3, 8, 8]] for run in runs)
    assert all(run["p50_ms"] > 0 for run in runs)
    assert built.result.files == ("model.dali",)
    assert found.report["gpu"] == {}


def test_without_samples_of_its_own_the_pipelines_are_run(build: Build) -> None:
    built = build(
        PHOTOS,
        files={"a.png": media.png(40, 30)},
        samples=[sample("ENCODED", "a.png")],
        proof={"revision": 1},
    )

    assert "1 sample at batch 1 and 4" in proof_of(built).summary


@pytest.mark.parametrize("mode", ["Serialized", "Autoserialize"])
def test_what_is_in_storage_is_only_proven(
    build: Build, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With Autoserialize the server runs the file: so does the proof."""
    text = PHOTOS.replace("@pipeline_def", "@autoserialize\n@pipeline_def")
    built = build(text, files={"a.png": media.png(40, 30)}, mode=mode, proof={
        "samples": [sample("ENCODED", "a.png")]
    })  # fmt: skip
    (name,) = built.result.files
    work = built.work
    file = LockedFile(path=name, sha256="2" * 64, size=1)
    record = ArtifactRecord(kind="dali", key="0" * 64, files=(file,), io=built.io)
    (work / "record.json").write_bytes(record.canonical())
    shutil.copytree(work / "out", work / "built")
    assert "compiled dali 'preprocess' (" in capsys.readouterr().err

    again = compiling.run(work)

    assert again.fault is None
    assert again.files == ()
    assert again.proof is not None
    assert again.proof.verdict == "Passed"
    assert "proved dali 'preprocess' (" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "content", "parameters", "words"),
    [
        (
            ROOTS,
            npy(4.0, -1.0),
            {},
            "DALI_OUTPUT_0 holds NaN or infinite numbers with a batch of 1: mend the pipeline",
        ),
        (
            ROOTS,
            npy(1.0, 4.0),
            {"outputs": [{"name": "y", "dims": [3]}]},
            "y has the shape [2], its config says [3] with a batch of 1",
        ),
        (
            PHOTOS.replace("ENCODED", "x"),
            b"no picture at all",
            {},
            "the pipeline fails with a batch of 1: line 8 `image = fn.resize",
        ),
        (ROOTS, b"\0" * 7, {}, "7 bytes do not make float32"),
    ],
)
def test_a_sample_that_is_answered_wrongly_is_named(
    build: Build, text: str, content: bytes, parameters: dict[str, Any], words: str
) -> None:
    good = media.png(40, 30) if "decoders" in text else npy(1.0, 4.0, 9.0)
    text = text.replace("@pipeline_def", "from nvidia.dali import math\n@pipeline_def")
    samples = [sample("x", "good.npy"), sample("x", "bad.npy")]
    files = {"good.npy": good, "bad.npy": content}

    fault = build(text, files=files, proof={"samples": samples}, **parameters).fault

    assert fault.code is Reason.INVALID_PIPELINE
    assert fault.field.startswith(f"{FIELD}.verification.samples[1]")
    assert words in fault.message


def test_frames_of_a_clip_are_answered_one_response_after_the_other(build: Build) -> None:
    text = """
    @pipeline_def(batch_size=1)
    def clips():
        frames = fn.experimental.inputs.video(name="CLIP", sequence_length=4, device="cpu")
        return fn.resize(frames, size=[8, 8])
    """
    clip = media.clip(320, 240, frames=8)

    built = build(text, files={"clip": clip}, max_batch_size=0, proof={"samples": [sample("CLIP", "clip")]})

    (run,) = proof_of(built).report["runs"]
    assert run["outputs"][0]["shapes"] == [[4, 8, 8, 3]]


@pytest.mark.skipif(find_device() is not None, reason="there is a GPU here")
def test_gpu_operators_are_not_proven_without_a_gpu(build: Build) -> None:
    text = PHOTOS.replace("fn.decoders.image(encoded)", 'fn.decoders.image(encoded, device="mixed")')

    fault = build(
        text, files={"a.png": media.png(40, 30)}, proof={"samples": [sample("ENCODED", "a.png")]}
    ).fault

    assert fault.code is Reason.GPU_MISMATCH
    assert "sees no GPU" in fault.message
