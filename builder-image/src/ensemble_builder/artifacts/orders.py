"""Build orders: which artifacts a request needs and what decides them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from ensemble_builder.artifacts.exports import export_order
from ensemble_builder.artifacts.gpu_products import asked_product
from ensemble_builder.artifacts.keys import artifact_key
from ensemble_builder.artifacts.layout import PLUGINS
from ensemble_builder.artifacts.placement import external_files, onnx_main
from ensemble_builder.artifacts.plugins import plugins
from ensemble_builder.artifacts.proofs import engine_proof, pipeline_proof
from ensemble_builder.artifacts.sources import Locked, Version, versions
from ensembles_api.contract import BuildKind, BuildOrder, LockedFile, Request
from ensembles_api.spec import Dali, Python, PythonEnvironment, TensorRT

ExternalData = Mapping[str, Mapping[str, int]]
Revisions = Mapping[BuildKind, int]
"""Compiler -> its revision, raised when the same order would give something else."""


def orders(
    request: Request, locked: Locked, *, external_data: ExternalData, revisions: Revisions
) -> tuple[BuildOrder, ...]:
    """One order per pipeline and export, one per engine and target.

    An engine whose ONNX file is still to be exported has none: its key covers the file's bytes.

    Args:
        request: what the resource asks for.
        locked: its sources by field, those that are built among them.
        external_data: source field -> an ONNX file's external data, see `external_files`.
        revisions: of the compilers.
    """
    found: list[BuildOrder] = []
    for version in versions(request):
        if version.export:
            found.append(export_order(request, version, version.export, locked, revisions["export"]))
        if version.source_field not in locked:
            continue
        match version.definition:
            case Dali() as dali:
                found.append(_dali_order(request, version, dali, locked, revisions["dali"]))
            case TensorRT() as tensorrt:
                source = locked[version.source_field]
                external = external_files(version, source, external_data.get(version.source_field, {}))
                main = onnx_main(version, source).model_copy(update={"path": "model.onnx"})
                libraries = tuple(plugin.file for plugin in plugins(version, locked))
                proof = engine_proof(version, tensorrt.verification, locked)
                found.extend(
                    order.model_copy(update={"proof": proof})
                    for order in _tensorrt_orders(
                        request, version, tensorrt, (main, *external, *libraries), revisions["tensorrt"]
                    )
                )
            case Python(environment=PythonEnvironment(requirements=list(requirements)) as environment):
                parameters = {"requirements": requirements, "index_url": environment.index_url}
                found.append(_environment_order(request, version, parameters, revisions["environment"]))
            case _:
                continue
    return tuple(found)


def _dali_order(request: Request, version: Version, dali: Dali, locked: Locked, revision: int) -> BuildOrder:
    pipeline = locked[version.source_field].files[0].model_copy(update={"path": "pipeline.py"})
    inputs = [pipeline]
    samples: list[dict[str, Any]] = []
    for index, sample in enumerate(dali.samples):
        entries = []
        for place, item in enumerate(sample.inputs):
            given = locked[f"{version.field}.samples[{index}].inputs[{place}].source"].files[0]
            path = f"samples/{index}/{place}{PurePosixPath(given.path).suffix}"
            inputs.append(given.model_copy(update={"path": path}))
            entries.append({"name": item.name, "file": path})
        samples.append({"inputs": entries})
    libraries = [plugin.file for plugin in plugins(version, locked)]
    inputs += libraries
    model = version.model
    config = model.config or {}
    parameters = {
        "function": dali.function,
        "args": dali.args or {},
        "mode": dali.mode.value,
        "threads": dali.threads,
        "max_batch_size": model.max_batch_size,
        "dali_version": request.versions.dali,
        "samples": samples,
        "inputs": config.get("input", []),
        "outputs": config.get("output", []),
        **_loaded(libraries),
        "revision": revision,
    }
    toolchain = request.versions.dali or request.builder_image
    return BuildOrder(
        kind="dali",
        key=artifact_key("dali", inputs=inputs, parameters=parameters, toolchain=toolchain),
        model=model.name,
        version=version.number,
        field=version.field,
        inputs=tuple(inputs),
        parameters=parameters,
        proof=pipeline_proof(version, dali.verification, locked) if dali.verification else None,
    )


def _tensorrt_orders(
    request: Request, version: Version, tensorrt: TensorRT, inputs: tuple[LockedFile, ...], revision: int
) -> Iterator[BuildOrder]:
    model = version.model
    # Defaults are left out: a field that the API gains changes no key of what does not use it.
    optional = tensorrt.model_dump(mode="json", include={"keep_fp32", "io", "builder"}, exclude_defaults=True)
    parameters = {
        "precision": tensorrt.precision.value,
        "max_batch_size": model.max_batch_size,
        "opt_batch_size": tensorrt.opt_batch_size,
        "profiles": [profile.model_dump(mode="json", exclude_defaults=True) for profile in tensorrt.profiles],
        "tensorrt_version": request.versions.tensorrt,
        **_loaded([file for file in inputs if file.path.startswith(f"{PLUGINS}/")]),
        "revision": revision,
        **{name: value for name, value in optional.items() if value},
    }
    toolchain = request.versions.tensorrt or request.builder_image
    for target in request.targets:
        yield BuildOrder(
            kind="tensorrt",
            key=artifact_key(
                "tensorrt",
                inputs=inputs,
                parameters=parameters,
                toolchain=toolchain,
                gpu=target.gpu,
                architecture=request.architecture,
            ),
            model=model.name,
            version=version.number,
            field=version.field,
            target=target.name,
            gpu=True,
            gpu_product=asked_product(target.gpu),
            source_field=version.source_field if version.export else "",
            architecture=request.architecture,
            inputs=inputs,
            parameters=parameters,
        )


def _environment_order(
    request: Request, version: Version, parameters: dict[str, Any], revision: int
) -> BuildOrder:
    """For the server's Python, which the builder image has."""
    parameters = {**parameters, "revision": revision}
    return BuildOrder(
        kind="environment",
        key=artifact_key("environment", inputs=(), parameters=parameters, toolchain=request.builder_image),
        model=version.model.name,
        version=version.number,
        field=f"{version.field}.environment",
        inputs=(),
        parameters=parameters,
    )


def _loaded(libraries: Sequence[LockedFile]) -> dict[str, Any]:
    """The parameter that names plugins; left out where there are none, so that keys stay as they were."""
    return {"plugins": [file.path for file in libraries]} if libraries else {}


def order_of(orders: tuple[BuildOrder, ...], version: Version, target: str) -> BuildOrder | None:
    """The order that makes this model version's artifact for a target."""
    for order in orders:
        if (order.field, order.target or target) == (version.field, target):
            return order
    return None
