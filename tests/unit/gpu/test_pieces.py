"""The bundle for a GPU machine: what is packed comes out again, and only what changed travels."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from gpubundle import cli as packing
from gpumachine import cli as taking
from gpumachine import pieces


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_SIZE", 1000)


def some_files(folder: Path, *, seed: int = 1) -> list[tuple[str, Path]]:
    """A program of several pieces, an empty file, and a link."""
    folder.mkdir()
    (folder / "program").write_bytes(random.Random(1).randbytes(2500) + random.Random(seed).randbytes(2500))
    (folder / "program").chmod(0o755)
    (folder / "empty").touch()
    (folder / "alias").symlink_to("program")
    return [(f"bin/{name}", folder / name) for name in ("program", "empty", "alias")]


@pytest.mark.usefixtures("small")
def test_files_come_out_as_they_went_in(tmp_path: Path) -> None:
    files = some_files(tmp_path / "files")
    names = pieces.pack(files, tmp_path / "bundle", workers=1)
    assert len(names) == 5
    pieces.unpack(tmp_path / "bundle", tmp_path / "root", workers=1)
    program = tmp_path / "root/bin/program"
    assert program.read_bytes() == files[0][1].read_bytes()
    assert program.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "root/bin/empty").read_bytes() == b""
    assert (tmp_path / "root/bin/alias").resolve() == program
    assert not list((tmp_path / "root").rglob("*.unfinished"))


@pytest.mark.usefixtures("small")
def test_only_pieces_that_changed_are_missing(tmp_path: Path) -> None:
    before = pieces.pack(some_files(tmp_path / "before"), tmp_path / "bundle", workers=1)
    pieces.pack(some_files(tmp_path / "after", seed=2), tmp_path / "bundle", workers=1)
    missing = pieces.missing(tmp_path / "bundle", before)
    assert len(missing) == 3  # half of the third piece changed, and all of the others


@pytest.mark.usefixtures("small")
def test_a_damaged_piece_is_refused(tmp_path: Path) -> None:
    names = pieces.pack(some_files(tmp_path / "files"), tmp_path / "bundle", workers=1)
    folder = tmp_path / "bundle" / pieces.FOLDER
    (folder / names[1]).write_bytes((folder / names[2]).read_bytes())
    with pytest.raises(pieces.BundleError, match=f"{names[1]} is damaged"):
        pieces.unpack(tmp_path / "bundle", tmp_path / "root", workers=1)
    assert not (tmp_path / "root/bin/program").exists()


@pytest.mark.usefixtures("small")
def test_a_missing_piece_is_named_before_anything_is_written(tmp_path: Path) -> None:
    names = pieces.pack(some_files(tmp_path / "files"), tmp_path / "bundle", workers=1)
    (tmp_path / "bundle" / pieces.FOLDER / names[0]).unlink()
    with pytest.raises(pieces.BundleError, match=f"1 pieces are missing, the first is {names[0]}"):
        pieces.unpack(tmp_path / "bundle", tmp_path / "root", workers=1)
    assert not (tmp_path / "root").exists()


def test_loads_hold_everything_once_within_the_limit(tmp_path: Path) -> None:
    found = []
    for number in range(20):
        (tmp_path / str(number)).write_bytes(bytes(random.Random(number).randint(1, 600)))
        found.append(tmp_path / str(number))
    groups = pieces.loads(found, 1000)
    assert sorted(path.name for group in groups for path in group) == sorted(path.name for path in found)
    assert all(sum(path.stat().st_size for path in group) <= 1000 for group in groups)


@pytest.mark.usefixtures("small")
def test_the_loads_are_all_that_a_machine_needs(tmp_path: Path) -> None:
    """Also where it has every piece already: what changed may be the index alone."""
    bundle, machine = tmp_path / "bundle", tmp_path / "machine"
    names = pieces.pack(some_files(tmp_path / "files"), bundle, workers=1)
    (tmp_path / "have").write_text("\n".join(names))
    for out, have in (("first", []), ("second", ["--have", str(tmp_path / "have")])):
        command = ["loads", str(tmp_path / out), "--bundle", str(bundle), *have]
        assert packing.main(command) == 0
    assert [path.name for path in (tmp_path / "second").rglob("*") if path.is_file()] == [pieces.INDEX]

    for out in ("first", "second"):
        for load in sorted((tmp_path / out).iterdir()):
            assert taking.main(["take", str(load), "--root", str(machine)]) == 0
    pieces.unpack(machine / "bundle", machine, workers=1)
    assert (machine / "bin/program").read_bytes() == (tmp_path / "files/program").read_bytes()
