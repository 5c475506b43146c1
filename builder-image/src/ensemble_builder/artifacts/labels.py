"""Classes by their labels, as tritonserver finds the labels of an output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tritonclient.grpc.model_config_pb2 import ModelConfig

from ensemble_builder.modelconfig.errors import invalid_spec, nearest
from ensembles_api.contract import LockedFile


@dataclass(frozen=True)
class LabelLookup:
    """Label files of a repository.

    Args:
        configs: model name -> its config, where it is known.
        files: model name -> path in its folder -> file.
        read: reads a file.
    """

    configs: Mapping[str, ModelConfig]
    files: Mapping[str, Mapping[str, LockedFile]]
    read: Callable[[LockedFile], bytes]

    def classes(self, model: str, output: str, label: str, *, at: str, partial: bool) -> tuple[int, ...]:
        """Every class that has this label (ImageNet has two of some); none where that is not known yet.

        Args:
            model: whose output.
            output: its name.
            label: a line of the file, spaces at its ends apart.
            at: field to name in faults.
            partial: some configs are not known yet.

        Raises:
            FaultError: InvalidSpec where the output has no labels, or not this one.
        """
        file = self._file(model, output)
        if file is None:
            if partial:
                return ()
            message = f"{output} of model {model} has no label file: give spec.models[].labels, or the index"
            raise invalid_spec(at, message)
        lines = [line.strip() for line in self.read(file).decode(errors="replace").splitlines()]
        found = tuple(index for index, line in enumerate(lines) if line == label.strip())
        if not found:
            message = f"no line of the {len(lines)} labels of {output} is {label!r}{nearest(label, lines)}"
            raise invalid_spec(at, message)
        return found

    def _file(self, model: str, output: str, depth: int = 0) -> LockedFile | None:
        """An ensemble's output has the labels of the step that makes it (the server's ensemble_scheduler)."""
        config = self.configs.get(model)
        if config is None or depth > len(self.configs):
            return None
        stated = next((tensor.label_filename for tensor in config.output if tensor.name == output), "")
        if stated:
            return self.files.get(model, {}).get(stated)
        for step in config.ensemble_scheduling.step:
            for inner, outer in step.output_map.items():
                if outer == output:
                    return self._file(step.model_name, inner, depth + 1)
        return None
