"""The operator by its chart, with the images built here."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml

from livedemo.commands import stream
from livedemo.kubernetes import Cluster
from livedemo.places import CHART, OPERATOR, OPERATOR_NAMESPACE

RELEASE = "cpu"
VERSIONS = {"triton": "2.51.0", "dali": "2.4.0"}
"""What the tritonserver for machines without a GPU contains (tests/images/tritonserver-cpu)."""


def install(cluster: Cluster, *, mark: str) -> None:
    """Installs or upgrades, and waits for the operator.

    Args:
        cluster: where.
        mark: changes with the operator's image, whose tag stays the same.
    """
    cluster.namespace(OPERATOR_NAMESPACE)
    with tempfile.TemporaryDirectory() as folder:
        values = Path(folder) / "values.yaml"
        values.write_text(yaml.safe_dump(_values(mark)))
        stream(
            [
                *("helm", "upgrade", "--install", OPERATOR, CHART, "--namespace", OPERATOR_NAMESPACE),
                *("--values", values, "--wait", "--timeout", "180s", "--hide-notes"),
            ],
            env=cluster.env,
        )


def _values(mark: str) -> dict[str, Any]:
    def image(name: str) -> str:
        return f"localhost/ensembles/{name}"

    published = yaml.safe_load((CHART / "values.yaml").read_text())["releases"]
    return {
        "image": {"repository": image("operator"), "tag": "dev"},
        "toolsImage": {"repository": image("tools"), "tag": "dev"},
        # NVIDIA's images are for GPUs; a row set to null is not offered.
        "releases": {
            **dict.fromkeys(published),
            RELEASE: {
                "serverImage": f"{image('tritonserver-cpu')}:dev",
                "builderImage": f"{image('builder')}:dev",
                "versions": VERSIONS,
            },
        },
        "defaultRelease": RELEASE,
        "podAnnotations": {"demo/image": mark},
    }
