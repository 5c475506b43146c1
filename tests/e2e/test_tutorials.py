"""The systems of docs/tutorials on the real cluster: what clients got by hand, they get from the YAML."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from tests.e2e import live
from tests.e2e.examples import EXAMPLES, apply_examples

sys.path.insert(0, str(EXAMPLES))

from preparation.efficientnet import imagenet_labels
from preparation.photographs import photograph

pytestmark = [pytest.mark.long, pytest.mark.cluster, pytest.mark.timeout(1800)]
TUTORIALS = {
    "dali-resnet50": ("ensemble_dali_resnet50", "INPUT", "OUTPUT"),
    "dali-from-training": ("efficientnet_ensemble", "DALI_INPUT", "probabilities"),
    "from-config-pbtxt": ("ensemble_dali_resnet50", "INPUT", "OUTPUT"),
    "python-resnet50": ("ensemble_python_resnet50", "INPUT_0", "OUTPUT_0"),
}
"""By folder: the model that the tutorial's client asks, its input and its output."""


@pytest.fixture(scope="module")
def applied(
    make_namespace: live.NamespaceFactory, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[live.Namespace]:
    with make_namespace("tutorials") as space:
        # Without it, pipelines that decode on the GPU would wait for one.
        apply_examples(space, TUTORIALS, tmp_path_factory, targets=[{"name": "cpu"}])
        yield space


def _ready(applied: live.Namespace, name: str) -> live.Ensemble:
    ensemble = live.Ensemble(applied, name)
    ensemble.wait(seconds=500)
    return ensemble


def _encoded(name: str) -> live.Array:
    return np.fromfile(photograph(name), np.uint8)


def _labels() -> list[str]:
    return imagenet_labels().read_text().splitlines()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("name", TUTORIALS)
def test_the_tutorials_client_gets_its_answer(applied: live.Namespace, name: str, protocol: str) -> None:
    """The file's bytes go in; the class is found as the tutorial's own client finds it."""
    model, reads, writes = TUTORIALS[name]
    photo = _encoded("coffee.png")[np.newaxis]
    answer = _ready(applied, name).infer(model, {reads: photo}, protocol=protocol)[writes]
    if name == "python-resnet50":
        assert answer.tolist() == [[b"espresso"]]
        return
    assert answer.shape == (1, 1000)
    assert _labels()[int(answer.argmax())] == "espresso"


def test_a_batch_of_encoded_images_is_padded_with_zeros(applied: live.Namespace) -> None:
    """As the tutorial on DALI advises, since a request's batch has one shape."""
    encoded = [_encoded(photo) for photo in ("coffee.png", "rocket.jpg", "chelsea.png")]
    batch = np.zeros((len(encoded), max(map(len, encoded))), np.uint8)
    for row, image in zip(batch, encoded, strict=True):
        row[: len(image)] = image
    ensemble = _ready(applied, "dali-from-training")
    answer = ensemble.infer("efficientnet_ensemble", {"DALI_INPUT": batch})["probabilities"]
    assert [_labels()[index] for index in answer.argmax(axis=1)] == ["espresso", "missile", "tiger cat"]
