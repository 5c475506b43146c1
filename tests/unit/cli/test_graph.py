"""`graph`, of a repository with a fork, a join and an ensemble in an ensemble."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image, ImageColor

from ensemble_cli.exits import Exit
from ensemble_cli.main import main


def tensors(kind: str, **named: str) -> str:
    items = ", ".join(f'{{ name: "{name}" data_type: {type_}' + " }" for name, type_ in named.items())
    return f"{kind} [{items}]\n"


def step(model: str, inputs: dict[str, str], outputs: dict[str, str]) -> str:
    maps = [f'input_map {{ key: "{key}" value: "{value}" }}' for key, value in inputs.items()]
    maps += [f'output_map {{ key: "{key}" value: "{value}" }}' for key, value in outputs.items()]
    return f'step {{ model_name: "{model}" model_version: -1 {" ".join(maps)} }}\n'


ENCODED = "TYPE_UINT8 dims: [-1]"
IMAGE = "TYPE_FP32 dims: [3, 224, 224]"
SCORES = "TYPE_FP32 dims: [10]"
CONFIGS = {
    "decode": 'backend: "dali"\n' + tensors("input", raw=ENCODED) + tensors("output", image=IMAGE)
    + "instance_group { kind: KIND_GPU count: 2 }",
    "left": 'backend: "onnxruntime"\n' + tensors("input", x=IMAGE) + tensors("output", y=SCORES),
    "right": 'backend: "python"\n' + tensors("input", x=IMAGE) + tensors("output", y=SCORES)
    + "instance_group { kind: KIND_CPU }",
    "join": 'backend: "python"\n' + tensors("input", a=SCORES, b=SCORES) + tensors("output", best=SCORES),
    "heads": 'platform: "ensemble"\n' + tensors("input", image=IMAGE) + tensors("output", best=SCORES)
    + "ensemble_scheduling {\n"
    + step("join", {"a": "l", "b": "r"}, {"best": "best"})  # steps may stand in any order
    + step("left", {"x": "image"}, {"y": "l"}) + step("right", {"x": "image"}, {"y": "r"}) + "}",
    "whole": 'platform: "ensemble"\nmax_batch_size: 8\n' + tensors("input", photo=ENCODED)
    + tensors("output", classes=SCORES) + "ensemble_scheduling {\n"
    + step("decode", {"raw": "photo"}, {"image": "pixels"})
    + step("heads", {"image": "pixels"}, {"best": "classes"}) + "}",
}  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, text in CONFIGS.items():
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1/file").touch()
        (tmp_path / name / "config.pbtxt").write_text(text)
    return tmp_path


def test_on_the_terminal(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble_cli.printing.FILE_WIDTH", 60)
    assert main(["graph", "--repository", str(repository)]) == Exit.DONE
    assert (
        capsys.readouterr().out
        == """\
whole  batches up to 8
├── in   photo  UINT8 [-1]
├── decode  dali on gpu x2
│   ├── <- photo  UINT8 [-1] as raw
│   └── -> image as pixels  FP32 [3, 224, 224]
├── heads  ensemble
│   ├── <- pixels  FP32 [3, 224, 224] as image
│   ├── -> best as classes  FP32 [10]
│   └── heads  no batching
│       ├── in   image  FP32 [3, 224, 224]
│       ├── left  onnxruntime on auto
│       │   ├── <- image  FP32 [3, 224, 224] as x
│       │   └── -> y as l  FP32 [10]
│       ├── right  python on cpu
│       │   ├── <- image  FP32 [3, 224, 224] as x
│       │   └── -> y as r  FP32 [10]
│       ├── join  python on auto
│       │   ├── <- l  FP32 [10] as a
│       │   ├── <- r  FP32 [10] as b
│       │   └── -> best  FP32 [10]
│       └── out  best  FP32 [10]
└── out  classes  FP32 [10]
"""
    )


def test_as_a_picture_and_as_data(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = repository / "heads.svg"
    arguments = ["graph", "--repository", str(repository), "--model", "heads", "--svg", str(file)]
    assert main([*arguments, "-o", "json"]) == Exit.DONE
    assert [box["model"] for box in json.loads(capsys.readouterr().out)["boxes"]] == ["join", "left", "right"]
    picture = ET.parse(file).getroot()  # noqa: S314 - we wrote it
    space = "{http://www.w3.org/2000/svg}"
    boxes = [(int(each.get("x", 0)), each) for each in picture.findall(f"{space}rect")[1:]]
    assert [x for x, _ in boxes] == [24, 464, 464, 904, 1344], "clients, the fork, the join, clients"
    assert len(picture.findall(f"{space}path")) == 5
    width, height = int(picture.get("width", 0)), int(picture.get("height", 0))
    for x, box in boxes:
        assert x + int(box.get("width", 0)) < width
        assert int(box.get("y", 0)) + int(box.get("height", 0)) < height


def test_as_png(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Boxes, lines and words stand where the SVG has them, at twice the size."""
    svg, png = repository / "heads.svg", repository / "heads.png"
    arguments = ["graph", "--repository", str(repository), "--model", "heads"]
    assert main([*arguments, "--svg", str(svg), "--png", str(png)]) == Exit.DONE
    assert capsys.readouterr() == ("", f"wrote {svg}\nwrote {png}\n")
    picture = ET.parse(svg).getroot()  # noqa: S314 - we wrote it
    with Image.open(png) as image:
        assert image.format == "PNG"
        assert image.size == (2 * int(picture.get("width", 0)), 2 * int(picture.get("height", 0)))
        space = "{http://www.w3.org/2000/svg}"
        for box in picture.findall(f"{space}rect")[1:]:
            x, y, width, height = (int(box.get(name, 0)) for name in ("x", "y", "width", "height"))
            inside = (2 * (x + width - 10), 2 * (y + height - 8))
            assert image.getpixel(inside) == ImageColor.getrgb(box.get("fill", ""))
            words = image.convert("L").crop((2 * x + 4, 2 * y + 4, 2 * (x + width) - 4, 2 * y + 50))
            assert min(words.tobytes()) < 30, "the model's name is written dark"
        for line in picture.findall(f"{space}path"):
            begin = [int(part) for part in line.get("d", "")[1:].split(" ")[0].split(",")]
            assert image.getpixel((2 * begin[0] + 20, 2 * begin[1])) == ImageColor.getrgb("#888888")


def test_a_picture_too_large_for_png(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble_cli.drawing.png.MOST_PIXELS", 1000)
    png = repository / "heads.png"
    arguments = ["graph", "--repository", str(repository), "--model", "heads", "--png", str(png)]
    assert main(arguments) == Exit.USAGE
    assert "is too large for PNG: write an SVG; --svg FILE.svg" in capsys.readouterr().err
    assert not png.exists()


def test_a_single_model_is_meant(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And where several are there, none an ensemble, they are named."""
    for name in ("whole", "heads", "join", "left", "right"):
        (repository / name).rename(repository.parent / name)
    assert main(["graph", "--repository", str(repository)]) == Exit.DONE
    assert capsys.readouterr().out.startswith("decode  no batching\n")
    (repository.parent / "join").rename(repository / "join")
    assert main(["graph", "--repository", str(repository)]) == Exit.USAGE
    assert "name it: --model decode|join" in capsys.readouterr().err


def test_a_folder_that_is_not_there(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = repository / "nowhere/x.svg"
    assert main(["graph", "--repository", str(repository), "--svg", str(file)]) == Exit.NO
    assert capsys.readouterr().err == (
        f"error: {file}: No such file or directory; check the path, your rights there and the space left\n"
    )


def test_a_model_that_is_not_there(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "--repository", str(repository), "--model", "who"]) == Exit.NO
    assert (
        "no model 'who' there; there is: decode, heads, join, left, right, whole" in capsys.readouterr().err
    )


def test_a_circle_comes_to_an_end(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = repository / "heads/config.pbtxt"
    file.write_text(file.read_text().replace('"join"', '"whole"'))
    assert main(["graph", "--repository", str(repository), "--model", "whole", "-o", "json"]) == Exit.DONE
    assert capsys.readouterr().out
