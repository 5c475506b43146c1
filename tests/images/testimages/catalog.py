"""Which images there are, what each is built from, and which of them it stands on."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

# The Debian the base image is made of, and what it holds beyond the minimum.
SUITE = "bookworm"
BASE_PACKAGES = ("ca-certificates", "libpython3.11", "python3", "python3-venv")


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image named ``localhost/ensembles/NAME:dev``.

    ``inputs`` are files and folders below the repository's root: they alone are sent to the build, and what
    they hold decides whether the image is built anew. ``made`` are archives that the Dockerfile adds and that
    are made on this machine (building.MAKERS). ``base`` names the image that ARG BASE becomes.
    ``on_demand``: only built when it is named.
    """

    name: str
    dockerfile: str
    inputs: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    base: str = ""
    on_demand: bool = False

    @property
    def reference(self) -> str:
        return f"localhost/ensembles/{self.name}:dev"


@dataclass(frozen=True, kw_only=True)
class ProgramImage:
    """An image of one static program from the cluster's cache."""

    name: str
    part: str
    program: str

    @property
    def reference(self) -> str:
        return f"localhost/ensembles/{self.name}:dev"


BASE = Image(name="base", dockerfile="tests/images/base/Dockerfile", made=("rootfs.tar",))

_WORKSPACE = (
    *("pyproject.toml", "uv.lock", "crds"),
    *("operator/pyproject.toml", "builder-image/pyproject.toml", "cli/pyproject.toml"),
)
"""What every image of the workspace needs; of the others' code only the metadata that uv.lock speaks of."""

IMAGES: tuple[Image | ProgramImage, ...] = (
    BASE,
    ProgramImage(name="s3", part="versitygw", program="versitygw"),
    Image(
        name="tritonserver-cpu",
        dockerfile="tests/images/tritonserver-cpu/Dockerfile",
        inputs=("tests/images/tritonserver-cpu",),
        base="base",
    ),
    Image(name="operator", dockerfile="operator/Dockerfile", inputs=(*_WORKSPACE, "operator"), base="base"),
    Image(
        name="tools",
        dockerfile="builder-image/Dockerfile.tools",
        inputs=(*_WORKSPACE, "builder-image"),
        base="base",
    ),
    Image(
        name="builder",
        dockerfile="builder-image/Dockerfile.builder",
        inputs=(*_WORKSPACE, "builder-image"),
        base="tritonserver-cpu",
    ),
    Image(
        name="exporter", dockerfile="examples/efficientnet/exporter/Dockerfile", base="base", on_demand=True
    ),
    # For a machine with a GPU (tests/gpu): they hold gigabytes of CUDA.
    Image(
        name="tritonserver-gpu",
        dockerfile="tests/images/tritonserver-gpu/Dockerfile",
        inputs=("tests/images/tritonserver-gpu", "tests/images/tritonserver-cpu"),
        made=("python3.10.tar", "absent.tar"),
        base="base",
        on_demand=True,
    ),
    Image(
        name="builder-gpu",
        dockerfile="tests/images/builder-gpu/Dockerfile",
        inputs=("crds", "builder-image"),
        base="tritonserver-gpu",
        on_demand=True,
    ),
)


def by_name(name: str) -> Image | ProgramImage | None:
    return next((image for image in IMAGES if image.name == name), None)
