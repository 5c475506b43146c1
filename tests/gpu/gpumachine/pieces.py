"""Files cut into pieces that are named by their content, so that each travels once.

A bundle is `index.json` and a folder of pieces. The index lists files and links; a file is a list of pieces.
A piece is up to PIECE_SIZE bytes of a file, compressed, named by the SHA-256 of what is in it. Two bundles
share the pieces that did not change.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

PIECE_SIZE = 32 << 20
"""Bytes before compression; what cannot be compressed stays below any limit on a copied file of 60 MiB."""
INDEX = "index.json"
FOLDER = "pieces"
_FAST = 1
"""zlib's level: a sixth of the time that xz takes, for a bundle a third larger."""


class BundleError(Exception):
    """The bundle is incomplete or damaged."""


@dataclass(frozen=True)
class Entry:
    """A file of these pieces, or a link where `target` is set. `path` is relative to the bundle's root."""

    path: str
    mode: int = 0o644
    target: str = ""
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Cut:
    source: str
    offset: int
    folder: str


def pack(files: Sequence[tuple[str, Path]], bundle: Path, *, workers: int) -> list[str]:
    """Write the pieces that are not there yet, then the index; the pieces' names.

    Args:
        files: path in the bundle and where it lies now; links stay links.
        bundle: folder to write.
        workers: processes that compress.
    """
    folder = bundle / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    cuts = {path: _cuts(source, folder) for path, source in files if not source.is_symlink()}
    with ProcessPoolExecutor(workers) as pool:
        names = iter(list(pool.map(_write, [cut for path in cuts for cut in cuts[path]])))
    entries = []
    for path, source in files:
        if source.is_symlink():
            entries.append(Entry(path, target=str(source.readlink())))
        else:
            pieces = tuple(next(names) for _ in cuts[path])
            entries.append(Entry(path, source.stat().st_mode & 0o777, pieces=pieces))
    (bundle / INDEX).write_text(json.dumps([asdict(entry) for entry in entries], indent=1) + "\n")
    wanted = list(dict.fromkeys(piece for entry in entries for piece in entry.pieces))
    for stale in {path.name for path in folder.iterdir()} - set(wanted):
        (folder / stale).unlink()
    return wanted


def read_index(bundle: Path) -> list[Entry]:
    documents = json.loads((bundle / INDEX).read_text())
    return [Entry(**{**document, "pieces": tuple(document["pieces"])}) for document in documents]


def missing(bundle: Path, have: Iterable[str]) -> list[Path]:
    """Pieces of a bundle that a machine which has some of them still needs."""
    known = set(have)
    wanted = dict.fromkeys(piece for entry in read_index(bundle) for piece in entry.pieces)
    return [bundle / FOLDER / piece for piece in wanted if piece not in known]


def loads(files: Sequence[Path], limit: int) -> list[list[Path]]:
    """Files in groups of at most `limit` bytes, the largest first."""
    groups: list[list[Path]] = []
    room: list[int] = []
    for file in sorted(files, key=lambda path: (-path.stat().st_size, path.name)):
        size = file.stat().st_size
        place = next((index for index, left in enumerate(room) if left >= size), None)
        if place is None:
            groups.append([])
            room.append(limit)
            place = len(groups) - 1
        groups[place].append(file)
        room[place] -= size
    return groups


def unpack(bundle: Path, root: Path, *, workers: int) -> None:
    """Put the bundle's files under `root`; those that are there stay.

    Raises:
        BundleError: a piece is missing or is not what its name says.
    """
    entries = read_index(bundle)
    wanted = [entry for entry in entries if not entry.target and not (root / entry.path).exists()]
    absent = sorted(
        {name for entry in wanted for name in entry.pieces if not (bundle / FOLDER / name).is_file()}
    )
    if absent:
        raise BundleError(
            f"{len(absent)} pieces are missing, the first is {absent[0]}: copy them to {bundle / FOLDER}"
        )
    # Each piece goes to its place by itself: one file may hold half of the bundle.
    tasks = [
        (str(bundle / FOLDER / name), str(_fresh(root, entry)), number * PIECE_SIZE)
        for entry in wanted
        for number, name in enumerate(entry.pieces)
    ]
    for entry in wanted:
        _fresh(root, entry).parent.mkdir(parents=True, exist_ok=True)
        _fresh(root, entry).touch()
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_restore, tasks))
    for entry in wanted:
        _fresh(root, entry).chmod(entry.mode)
        _fresh(root, entry).replace(root / entry.path)
    for entry in entries:
        path = root / entry.path
        if entry.target and not path.is_symlink():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(entry.target)


def _fresh(root: Path, entry: Entry) -> Path:
    return (root / entry.path).with_name(f".{Path(entry.path).name}.unfinished")


def _cuts(source: Path, folder: Path) -> list[_Cut]:
    return [_Cut(str(source), offset, str(folder)) for offset in range(0, source.stat().st_size, PIECE_SIZE)]


def _write(cut: _Cut) -> str:
    with Path(cut.source).open("rb") as file:
        file.seek(cut.offset)
        content = file.read(PIECE_SIZE)
    name = hashlib.sha256(content).hexdigest()
    target = Path(cut.folder) / name
    if not target.exists():
        fresh = target.with_name(f".{name}.{os.getpid()}")
        fresh.write_bytes(zlib.compress(content, _FAST))
        fresh.replace(target)
    return name


def _restore(task: tuple[str, str, int]) -> None:
    piece, target, offset = task
    with Path(target).open("r+b") as file:
        file.seek(offset)
        file.write(_content(Path(piece)))


def _content(piece: Path) -> bytes:
    try:
        content = zlib.decompress(piece.read_bytes())
    except zlib.error as error:
        raise BundleError(f"piece {piece.name} is damaged ({error}): copy it again") from error
    if hashlib.sha256(content).hexdigest() != piece.name:
        raise BundleError(f"piece {piece.name} is damaged: copy it again")
    return content
