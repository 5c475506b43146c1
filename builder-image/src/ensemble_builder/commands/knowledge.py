"""Gathers what assembling has to know beyond the lock: ONNX graphs, config texts, artifact records."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ensemble_builder.artifacts import layout
from ensemble_builder.artifacts.documents import OnnxFacts, parse
from ensemble_builder.artifacts.placement import given_configs, onnx_main
from ensemble_builder.artifacts.sources import by_field, versions
from ensemble_builder.commands.log import step
from ensemble_builder.commands.origins import Fields, download_of, fields_of
from ensemble_builder.compilers.onnx_graph import inspect
from ensemble_builder.faults import FaultError
from ensemble_builder.storage.download import Download, download
from ensemble_builder.storage.store import Store
from ensembles_api.contract import Fault, LockedFile, LockedSource, Request
from ensembles_api.reasons import Reason

WORKERS = 16
ONNX_REVISION = 2
"""Raised when inspecting finds something else in the same file."""


def onnx_facts(store: Store, request: Request, sources: tuple[LockedSource, ...]) -> dict[str, OnnxFacts]:
    """Source field -> facts of its .onnx file, for every model that comes as one; remembered by digest.

    Exports that are not built yet have none.
    """
    locked = by_field(sources)
    fields = fields_of(sources)
    found = {}
    for version in versions(request):
        at = version.source_field
        if version.kind in {"onnxruntime", "tensorrt"} and at in locked:
            found[at] = _facts(store, onnx_main(version, locked[at]), at, fields)
    return found


def _facts(store: Store, file: LockedFile, field: str, fields: Fields) -> OnnxFacts:
    key = store.key(layout.onnx_facts(file.sha256, ONNX_REVISION))
    if (data := store.root.get(key)) and (known := parse(OnnxFacts, data)):
        return known
    with step(f"inspected {field}"), tempfile.TemporaryDirectory() as folder:
        target = Path(folder, file.path.rpartition("/")[2])
        download([download_of(store, file, target, fields)], scratch=Path(folder, "scratch"))
        graph = inspect(target, field=field)
    facts = OnnxFacts(io=graph.io, external_data=dict(graph.external_data))
    store.root.put(key, facts.canonical())
    return facts


def config_texts(store: Store, sources: tuple[LockedSource, ...]) -> dict[str, str]:
    """Digest -> text of every config.pbtxt among the sources.

    Raises:
        FaultError: InvalidConfig where one is not UTF-8.
    """
    fields = fields_of(sources)
    files = {file.sha256: file for file in given_configs(sources)}
    with tempfile.TemporaryDirectory() as folder:
        items = {
            digest: download_of(store, file, Path(folder, digest), fields) for digest, file in files.items()
        }
        download(list(items.values()), scratch=Path(folder, "scratch"))
        return {digest: _text(item) for digest, item in items.items()}


def _text(item: Download) -> str:
    try:
        return item.target.read_text()
    except UnicodeDecodeError:
        message = f"{item.bucket.access.uri(item.key)} is no text: Triton reads protobuf text there"
        fault = Fault(code=Reason.INVALID_CONFIG, field=item.bucket.access.uri_field, message=message)
        raise FaultError(fault) from None
