"""The user's cases of a verification, checked against the configs as far as these are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInput, ModelOutput

from ensemble_builder.artifacts.documents import sha256
from ensemble_builder.artifacts.labels import LabelLookup
from ensemble_builder.artifacts.layout import VERIFICATION
from ensemble_builder.artifacts.sources import Locked
from ensemble_builder.artifacts.tensors import Declared, TensorError, read_tensor, wire_bytes, wire_type
from ensemble_builder.faults import FaultError
from ensemble_builder.modelconfig.errors import invalid_spec, listed, nearest
from ensembles_api.contract import LockedFile, Request, SampleTensor
from ensembles_api.spec import AllClose, Case, CaseInput, Encoding, Expectation, Golden, Source, TopK
from ensembles_api.verification import Expected, ExpectedClass, ExpectedValue, LatencyBound, VerificationCase

LARGEST_FILE = 64 << 20
"""Bytes: more is no request, and assemble reads these files whole."""

Read = Callable[[LockedFile], bytes]
"""The bytes of a locked file."""


@dataclass(frozen=True)
class Surroundings:
    """What cases are checked against.

    Args:
        locked: all sources by field.
        models: names of all models.
        configs: model name -> its config, where it is known.
        open_models: models whose config the server completes: other tensors than the config's may be there.
        entrypoint: of cases that name no model.
        labels: finds the classes of a label.
        read: reads a source.
        partial: some artifacts are not built yet: cases of models without a config wait.
    """

    locked: Locked
    models: Sequence[str]
    configs: Mapping[str, ModelConfig]
    open_models: frozenset[str]
    entrypoint: str
    labels: LabelLookup
    read: Read
    partial: bool


@dataclass
class _Found:
    """Files of the cases, by path below the target's folder."""

    files: dict[str, LockedFile | bytes] = field(default_factory=dict)


def user_cases(
    request: Request, known: Surroundings
) -> tuple[tuple[VerificationCase, ...], dict[str, LockedFile | bytes]]:
    """Cases, and their files by path below the target's folder.

    Raises:
        FaultError: InvalidSpec naming the field of a case that no server could pass.
    """
    found = _Found()
    readers = [
        _CaseReader(case, f"spec.verification.cases[{index}]", known, found)
        for index, case in enumerate(request.verification.cases)
    ]
    for reader in readers:
        reader.check_model()
    waiting = [reader for reader in readers if known.partial and reader.config is None]
    return tuple(reader.case_of() for reader in readers if reader not in waiting), found.files


@dataclass(frozen=True)
class _CaseReader:
    given: Case
    at: str
    known: Surroundings
    found: _Found

    @property
    def model(self) -> str:
        return self.given.model or self.known.entrypoint

    @property
    def config(self) -> ModelConfig | None:
        return self.known.configs.get(self.model)

    def check_model(self) -> None:
        if self.model not in self.known.models:
            names = list(self.known.models)
            message = f"there is no model {self.model}: choose {listed(names)}{nearest(self.model, names)}"
            raise invalid_spec(f"{self.at}.model", message)

    def case_of(self) -> VerificationCase:
        self._check_complete()
        inputs = tuple(self._input(index, value) for index, value in enumerate(self.given.inputs))
        batch = self._batch(inputs)
        latency = self.given.latency
        return VerificationCase(
            model=self.model,
            name=self.given.name,
            inputs=inputs,
            expect=tuple(
                self._expected(f"{self.at}.expect[{index}]", value, batch)
                for index, value in enumerate(self.given.expect)
            ),
            latency=LatencyBound(**latency.model_dump()) if latency else None,
        )

    def _check_complete(self) -> None:
        if self.config is None:
            return
        given = {value.name for value in self.given.inputs}
        lacking = [
            tensor.name for tensor in self.config.input if not tensor.optional and tensor.name not in given
        ]
        if lacking:
            message = f"model {self.model} also needs {listed(lacking)}: give each a value"
            raise invalid_spec(f"{self.at}.inputs", message)

    def _batch(self, inputs: Sequence[SampleTensor]) -> int | None:
        """Rows of the request; None where the model does not batch, or nobody knows.

        Raises:
            FaultError: the inputs disagree.
        """
        if self.config is None or not self.config.max_batch_size:
            return None
        sizes = {value.name: value.shape[0] for value in inputs if value.shape}
        if len(set(sizes.values())) > 1:
            said = ", ".join(f"{name} has {size}" for name, size in sizes.items())
            raise invalid_spec(f"{self.at}.inputs", f"the batch sizes differ ({said}): give as many of each")
        size = next(iter(sizes.values()), 1)
        if not 1 <= size <= self.config.max_batch_size:
            message = f"a batch of {size}: model {self.model} takes 1 to {self.config.max_batch_size}"
            raise invalid_spec(f"{self.at}.inputs", message)
        return size

    def _input(self, index: int, value: CaseInput) -> SampleTensor:
        at = f"{self.at}.inputs[{index}]"
        declared = self._declared(f"{at}.name", value.name, "input", self.config.input if self.config else ())
        return self._tensor(at, value.name, value, declared, any_number=False)

    def _declared(
        self, at: str, name: str, kind: str, tensors: Iterable[ModelInput | ModelOutput]
    ) -> Declared:
        by_name = {tensor.name: tensor for tensor in tensors}
        tensor = by_name.get(name)
        if tensor is not None and self.config is not None:
            data_type = DataType.Name(tensor.data_type).removeprefix("TYPE_")
            on_the_wire = {"STRING": "BYTES", "INVALID": ""}.get(data_type, data_type)
            return Declared(on_the_wire, tuple(tensor.dims), self.config.max_batch_size > 0)
        if self.config is not None and self.model not in self.known.open_models:
            names = list(by_name)
            message = f"model {self.model} has no {kind} {name}: it has {listed(names)}{nearest(name, names)}"
            raise invalid_spec(at, message)
        return Declared()

    def _tensor(
        self, at: str, name: str, value: CaseInput | Golden, declared: Declared, *, any_number: bool
    ) -> SampleTensor:
        file = self.known.locked[f"{at}.source"].files[0]
        if file.size > LARGEST_FILE:
            message = f"{file.size} bytes are more than a case may have ({LARGEST_FILE}): give a smaller one"
            raise invalid_spec(f"{at}.source", message)
        data = self.known.read(file)
        encoding = value.encoding or _encoding(value.source, file, declared)
        try:
            array = read_tensor(data, encoding, declared, value.shape, any_number=any_number)
        except TensorError as error:
            raise self._invalid(at, name, error) from error
        raw = wire_bytes(array)
        digest = sha256(raw)
        path = f"samples/{digest}"
        self.found.files[f"{VERIFICATION}/{path}"] = file if digest == file.sha256 else raw
        data_type = wire_type(array)
        return SampleTensor(
            name=name,
            data_type=f"TYPE_{'STRING' if data_type == 'BYTES' else data_type}",
            shape=array.shape,
            file=path,
        )

    def _invalid(self, at: str, name: str, error: TensorError) -> FaultError:
        return invalid_spec(f"{at}.source", f"no value for {name} of model {self.model}: {error}")

    def _expected(self, at: str, value: Expectation, batch: int | None) -> Expected:
        declared = self._declared(
            f"{at}.output", value.output, "output", self.config.output if self.config else ()
        )
        if declared.data_type == "BYTES" and value.equals is None:
            raise invalid_spec(at, f"{value.output} of model {self.model} holds strings: use equals")
        return Expected(
            output=value.output,
            response=value.response,
            top_k=self._class(at, value, value.top_k) if value.top_k else None,
            value=self._golden(at, value, declared, batch),
            minimum=value.range.min if value.range else None,
            maximum=value.range.max if value.range else None,
        )

    def _class(self, at: str, value: Expectation, wanted: TopK) -> ExpectedClass:
        if wanted.label is None:
            return ExpectedClass(k=wanted.k, indices=(wanted.index or 0,))
        indices = self.known.labels.classes(
            self.model, value.output, wanted.label, at=f"{at}.topK.label", partial=self.known.partial
        )
        return ExpectedClass(k=wanted.k, indices=indices, label=wanted.label)

    def _golden(
        self, at: str, value: Expectation, declared: Declared, batch: int | None
    ) -> ExpectedValue | None:
        golden, kind = (value.all_close, "allClose") if value.all_close else (value.equals, "equals")
        if golden is None:
            return None
        tensor = self._tensor(f"{at}.{kind}", value.output, golden, declared, any_number=True)
        several = self.config is not None and self.config.model_transaction_policy.decoupled
        if batch is not None and not several and tensor.shape[0] != batch:
            message = f"it has {tensor.shape[0]} rows, and the request {batch}: one for each"
            raise invalid_spec(f"{at}.{kind}.source", message)
        if isinstance(golden, AllClose):
            return ExpectedValue(tensor=tensor, rtol=golden.rtol, atol=golden.atol)
        return ExpectedValue(tensor=tensor)


def _encoding(source: Source, file: LockedFile, declared: Declared) -> Encoding:
    name = source.config_map.key if source.config_map else file.path if source.uri else ""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".npy":
        return Encoding.NPY
    if suffix == ".json" or (not name and declared.data_type != "BYTES"):
        return Encoding.JSON
    return Encoding.RAW
