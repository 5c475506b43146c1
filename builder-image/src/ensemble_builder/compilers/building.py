"""One build at work: its order, its compiler's parameters, and its folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ensemble_builder.compilers.work_folder import INPUTS, OUTPUTS
from ensembles_api.contract import BuildOrder, Document

Parameters = TypeVar("Parameters", bound=Document)


@dataclass(frozen=True)
class Building(Generic[Parameters]):
    """`work` holds in/ and out/, what the build is given and gives, and scratch/, the compiler's own."""

    order: BuildOrder
    parameters: Parameters
    work: Path

    @property
    def inputs(self) -> Path:
        return self.work / INPUTS

    @property
    def outputs(self) -> Path:
        return self.work / OUTPUTS

    @property
    def scratch(self) -> Path:
        return self.work / "scratch"

    @contextmanager
    def empty_scratch(self) -> Iterator[Path]:
        """scratch/ without what an earlier attempt left; it is gone afterwards."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        try:
            yield self.scratch
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def input_paths(self, files: Iterable[str]) -> tuple[str, ...]:
        """Full paths of files that the build is given."""
        return tuple(str(self.inputs / file) for file in files)
