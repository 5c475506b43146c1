"""Every example, prepared by its own prepare.py, served by the real cluster and asked about real content."""

from __future__ import annotations

import io
import json
import queue
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from PIL import Image, ImageDraw, ImageFont

from tests.e2e import live
from tests.e2e.examples import EXAMPLES, apply_examples
from tests.e2e.test_tutorials import TUTORIALS

sys.path.insert(0, str(EXAMPLES))

from preparation.photographs import photograph
from preparation.video import FRAMES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
NAMES = ("bls", "efficientnet", "hand-written-repository", "ocr", "python-pre-post", "video")
PROTOCOLS = pytest.mark.parametrize("protocol", ["http", "grpc"])
SEQUENCE = 8


@pytest.fixture(scope="module")
def applied(
    make_namespace: live.NamespaceFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[live.Namespace]:
    with make_namespace("examples") as space:
        apply_examples(space, NAMES, tmp_path_factory)
        yield space


def _ready(applied: live.Namespace, name: str) -> live.Ensemble:
    ensemble = live.Ensemble(applied, name)
    ensemble.wait(seconds=500)
    return ensemble


def _encoded(name: str) -> live.Array:
    return np.fromfile(photograph(name), np.uint8)


def _pixels(name: str) -> Image.Image:
    return Image.open(photograph(name)).convert("RGB")


def _best(
    ensemble: live.Ensemble, model: str, tensor: tuple[str, live.Array], output: str, *, protocol: str
) -> list[str]:
    """The names of the three best classes, by Triton's classification extension and the model's labels."""
    module = tritonclient.http if protocol == "http" else tritonclient.grpc
    wanted = module.InferRequestedOutput(output, class_count=3)
    asked = module.InferInput(tensor[0], list(tensor[1].shape), "UINT8")
    asked.set_data_from_numpy(tensor[1])
    with ensemble.http() if protocol == "http" else ensemble.grpc() as client:
        found = client.infer(model, [asked], outputs=[wanted]).as_numpy(output)
    return [entry.decode().split(":", 2)[2] for entry in found.reshape(-1)]


def test_no_example_is_left_out() -> None:
    assert {*NAMES, *TUTORIALS} == {manifest.parent.name for manifest in EXAMPLES.glob("*/ensemble.yaml")}


@PROTOCOLS
@pytest.mark.parametrize(
    ("photo", "expected"),
    [("coffee.png", "espresso"), ("chelsea.png", "tiger cat"), ("rocket.jpg", "missile")],
)
def test_efficientnet_names_what_is_in_a_photograph(
    applied: live.Namespace, protocol: str, photo: str, expected: str
) -> None:
    ensemble = _ready(applied, "efficientnet")
    content = _encoded(photo)[np.newaxis]
    best = _best(ensemble, "efficientnet", ("encoded", content), "probabilities", protocol=protocol)
    assert best[0] == expected
    answer = ensemble.infer("efficientnet", {"encoded": content}, protocol=protocol)["probabilities"]
    assert answer.shape == (1, 1000)
    assert answer.sum() == pytest.approx(1, abs=1e-3)


@PROTOCOLS
def test_python_around_a_network_gives_class_names(applied: live.Namespace, protocol: str) -> None:
    ensemble = _ready(applied, "python-pre-post")
    pixels = np.asarray(_pixels("coffee.png"))[np.newaxis]
    answer = ensemble.infer("photo_classes", {"pixels": pixels}, protocol=protocol)
    assert answer["class"].shape == answer["probability"].shape == (1, 5)
    assert answer["class"][0, 0] == b"espresso"
    assert (np.diff(answer["probability"][0]) <= 0).all()
    assert 0.2 < answer["probability"][0, 0] <= 1


@PROTOCOLS
def test_a_model_that_calls_models_looks_twice_where_it_is_unsure(
    applied: live.Namespace, protocol: str
) -> None:
    ensemble = _ready(applied, "bls")
    looks = set()
    for photo, expected in (
        ("coffee.png", b"espresso"),
        ("chelsea.png", b"tiger cat"),
        ("rocket.jpg", b"missile"),
    ):
        answer = ensemble.infer("classify", {"encoded": _encoded(photo)}, protocol=protocol)
        assert answer["class"].tolist() == [expected]
        assert 0 < answer["probability"][0] <= 1
        looks.add(int(answer["looks"][0]))
    assert looks == {1, 2}
    assert ensemble.status["entrypoint"] == "classify"


def test_a_pipeline_was_proven_on_the_photographs_of_its_example(applied: live.Namespace) -> None:
    _ready(applied, "bls")
    found = [json.loads(applied.read(path)) for path in applied.objects("store/proofs/")]
    (proof,) = [document["proof"] for document in found]
    assert proof["verdict"] == "Passed"
    tried = [(run["sample"], run["batch"]) for run in proof["report"]["runs"]]
    assert tried == [(0, 1), (0, 8), (1, 1), (1, 8)]


def _page() -> live.Array:
    """A PNG with three lines of text, one of them upside down."""
    page = Image.new("RGB", (900, 300), "white")
    for text, place, size, angle in (
        ("Inference ensembles, 26.05", (40, 30), 44, 0),
        ("second line", (40, 123), 30, 0),
        ("upside down line", (40, 220), 36, 180),
    ):
        font = ImageFont.load_default(size)
        left, top, right, bottom = font.getbbox(text)
        ink = Image.new("RGBA", (int(right - left) + 10, int(bottom - top) + 10), (255, 255, 255, 0))
        ImageDraw.Draw(ink).text((5 - left, 5 - top), text, fill=(20, 20, 60, 255), font=font)
        ink = ink.rotate(angle, expand=True)
        page.paste(ink, place, ink)
    encoded = io.BytesIO()
    page.save(encoded, "PNG")
    return np.frombuffer(encoded.getvalue(), np.uint8)


@PROTOCOLS
def test_text_in_an_image_is_read(applied: live.Namespace, protocol: str) -> None:
    ensemble = _ready(applied, "ocr")
    answer = ensemble.infer("ocr", {"encoded": _page()[np.newaxis]}, protocol=protocol)
    texts = [text.decode().replace(" ", "") for text in answer["text"]]
    assert texts == ["Inferenceensembles,26.05", "secondline", "upsidedownline"]
    assert (answer["score"] > 0.8).all()
    assert answer["box"].shape == (3, 4, 2)
    assert answer["box"][0, 0] == pytest.approx([43, 38], abs=8)


def test_a_video_is_answered_with_a_stream_of_sequences(applied: live.Namespace) -> None:
    ensemble = _ready(applied, "video")
    content = np.frombuffer(applied.read("examples/video/bikes.mp4"), np.uint8)[np.newaxis]
    tensor = tritonclient.grpc.InferInput("video", list(content.shape), "UINT8")
    tensor.set_data_from_numpy(content)
    answers: queue.Queue[Any] = queue.Queue()
    with ensemble.grpc() as client:
        config = client.get_model_config("sequences", as_json=True)["config"]
        assert config["model_transaction_policy"]["decoupled"]
        client.start_stream(callback=lambda result, error: answers.put(error or result))
        client.async_stream_infer("sequences", [tensor])
        sequences: list[live.Array] = []
        while sum(len(found) for found in sequences) < FRAMES:
            answer = answers.get(timeout=120)
            assert not isinstance(answer, Exception), answer
            sequences.append(answer.as_numpy(config["output"][0]["name"]).reshape(-1, 112, 112, 3))
        client.stop_stream()
    assert [len(sequence) for sequence in sequences] == [SEQUENCE] * (FRAMES // SEQUENCE) + [
        FRAMES % SEQUENCE
    ]
    frames = np.concatenate(sequences).astype(np.float32)
    assert frames.std() > 20
    assert np.abs(np.diff(frames, axis=0)).mean() > 0.5


@PROTOCOLS
def test_a_hand_written_repository_is_served_as_it_stands(applied: live.Namespace, protocol: str) -> None:
    ensemble = _ready(applied, "hand-written-repository")
    image = _pixels("coffee.png").resize((336, 224), Image.Resampling.BICUBIC).crop((56, 0, 280, 224))
    pixels = np.asarray(image)[np.newaxis]
    best = _best(ensemble, "photo_classes", ("PIXELS", pixels), "PROBABILITIES", protocol=protocol)
    assert best[0] == "espresso"


def test_hand_written_files_are_published_byte_for_byte(applied: live.Namespace) -> None:
    ensemble = _ready(applied, "hand-written-repository")
    source = "examples/hand-written-repository/model_repository/"
    revision = f"{applied.name}/{ensemble.name}/revisions/{ensemble.status['revision']}"
    published = f"store/ensembles/{revision}/default/models/"
    files = [name.removeprefix(source) for name in applied.objects(source)]
    assert {"scale/config.pbtxt", "scale/1/model.py", "classifier/labels.txt"} <= set(files)
    for name in files:
        assert applied.read(published + name) == applied.read(source + name), name
