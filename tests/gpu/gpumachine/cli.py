"""The command line of the machine with the GPU."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from localcluster.errors import ClusterError

from gpumachine import changes, node, pieces, scenario, throughput
from gpumachine.ensembles import Kind
from gpumachine.report import comparison, markdown
from gpumachine.shell import Machine, RunError

_BUILD_JOB = "build-job.json"
_QUESTION = "name,driver_version,memory.total,clocks.sm,clocks.mem,power.draw"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an expected failure becomes one line and status 1."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except (ClusterError, RunError, pieces.BundleError) as error:
        print(f"gpu: {error}", file=sys.stderr)
        return 1


def _take(arguments: argparse.Namespace) -> None:
    """Move a load's pieces and the index to the machine's bundle folder."""
    folder = arguments.root / "bundle" / pieces.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(arguments.load.rglob("*")):
        if path.is_file():
            target = folder.parent / path.name if path.name == pieces.INDEX else folder / path.name
            fresh = target.with_name(f".{path.name}")
            shutil.copyfile(path, fresh)
            fresh.replace(target)
    print(f"{len(list(folder.iterdir()))} pieces are here")


def _unpack(arguments: argparse.Namespace) -> None:
    began = time.monotonic()
    pieces.unpack(arguments.root / "bundle", arguments.root, workers=os.cpu_count() or 1)
    print(f"unpacked in {time.monotonic() - began:.1f} s")


def _run(arguments: argparse.Namespace) -> int:
    """Do everything and report; each step's failure is written down, and what does not need it goes on."""
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    here = node.machine(arguments.root)
    figures: dict[str, Any] = {"machine": _machine(), "laps": [], "failures": []}
    began = time.monotonic()

    def lap(text: str) -> None:
        figures["laps"].append([round(time.monotonic() - began, 1), text])
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    try:
        _unpack(arguments)
        lap("bundle unpacked")
        node.up(here, lap, rehearsal=arguments.rehearse)
        figures["gpu"] = node.product(here)
        scenario.prepare(here)
        lap("sources uploaded")
        _measure(
            here,
            figures,
            lap,
            Kind(arguments.rehearse, arguments.relative_l2, not arguments.through_cpu),
            out,
        )
    except Exception as error:  # noqa: BLE001 - what was measured until then shall be read
        figures["failures"].append(f"{type(error).__name__}: {error}")
        traceback.print_exc()
    figures["seconds"] = round(time.monotonic() - began, 1)
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "figures.md").write_text(markdown(figures))
    _save(here, out)
    print((out / "figures.md").read_text())
    return 1 if figures["failures"] else 0


def _measure(
    here: Machine, figures: dict[str, Any], lap: Callable[[str], None], kind: Kind, out: Path
) -> None:
    figures["cold"], jobs = scenario.cold(here, kind)
    lap("Ready and answered, cold")
    scenario.save_logs(here, out / "logs" / "cold")
    figures["waiting"] = scenario.waiting(here, kind)
    lap("a second engine waits for the GPU")
    scenario.delete(here, "efficientnet")
    scenario.free(here)
    lap("the GPU is free again")
    figures["cached"] = scenario.cached(here, kind)
    lap("Ready and answered, cached")
    scenario.delete(here, "again")
    scenario.free(here)
    if jobs:
        (here.settings.state / _BUILD_JOB).write_text(json.dumps(jobs[0]))


def _compare(arguments: argparse.Namespace) -> None:
    """After a run: its engine again and again, by the product and by TensorRT alone."""
    builds = _in_builder(arguments, "compare.py", str(arguments.turns))
    (arguments.out / "comparison.md").write_text(comparison(builds) + "\n")
    print(comparison(builds))


def _options(arguments: argparse.Namespace) -> int:
    """After a run: what a spec can ask of TensorRT, tried on small graphs."""
    checks = _in_builder(arguments, "options.py")
    for check in checks:
        print(json.dumps(check)[:300])
    return 0 if all(check["passed"] for check in checks) else 1


def _proving(arguments: argparse.Namespace) -> int:
    """After a run: engines proven, and builds of the run's own model: cold, warm, stopped half way."""
    checks = _in_builder(arguments, "proving.py", *(["/work/in/model.onnx"] if arguments.own_model else []))
    for check in checks:
        print(json.dumps(check)[:600])
    return 0 if all(check["passed"] for check in checks) else 1


def _changes(arguments: argparse.Namespace) -> int:
    """After a run: a server gives its GPU up for a build, and a build is evicted half way."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    here = node.machine(arguments.root)
    figures: dict[str, Any] = {}
    failed = 0
    for name, change in (("evicted", changes.evicted), ("giving way", changes.giving_way)):
        try:
            figures[name] = change(here, Kind())
        except RunError as error:
            figures[name], failed = {"failure": str(error)}, 1
            scenario.save_logs(here, arguments.out / "logs" / name.replace(" ", "-"))
        print(f"{name}:\n{json.dumps(figures[name], indent=1)}", flush=True)
    (arguments.out / "changes.json").write_text(json.dumps(figures, indent=1) + "\n")
    _pack_logs(arguments.out, "changes-logs")
    return failed


def _throughput(arguments: argparse.Namespace) -> None:
    """After a run: images a second, in turns."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    here = node.machine(arguments.root)
    scenario.give_programs(here)

    def tell(line: str) -> None:
        print(line, flush=True)

    try:
        found = throughput.measure(here, turns=arguments.turns, seconds=arguments.seconds, tell=tell)
    except RunError:
        scenario.save_logs(here, arguments.out / "logs" / "throughput")
        _pack_logs(arguments.out, "throughput-logs")
        raise
    found["machine"] = _machine()
    (arguments.out / "throughput.json").write_text(json.dumps(found, indent=1) + "\n")
    (arguments.out / "throughput.md").write_text(throughput.markdown(found))
    print(throughput.markdown(found))
    scenario.delete(here, throughput.NAME)
    scenario.free(here)


def _in_builder(arguments: argparse.Namespace, *command: str) -> list[dict[str, Any]]:
    arguments.out.mkdir(parents=True, exist_ok=True)
    here = node.machine(arguments.root)
    scenario.give_programs(here)
    job = json.loads((here.settings.state / _BUILD_JOB).read_text())
    figures = scenario.in_builder(here, job, arguments.out, *command)
    (arguments.out / f"{command[0]}.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def _machine() -> dict[str, Any]:
    path = f"{os.environ['PATH']}{os.pathsep}/usr/local/nvidia/bin"
    program = shutil.which("nvidia-smi", path=path)
    command = [program or "false", f"--query-gpu={_QUESTION}", "--format=csv,noheader"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    gpu = done.stdout.strip() or "no GPU"
    return {"gpu": gpu, "cores": os.cpu_count(), "kernel": platform.release()}


def _save(here: Machine, out: Path) -> None:
    logs = out / "logs"
    try:
        scenario.save_logs(here, logs / "end")
        shutil.copytree(here.settings.logs, logs / "node", dirs_exist_ok=True)
    except (OSError, RunError, ValueError) as error:
        print(f"logs are incomplete: {error}", file=sys.stderr)
    _pack_logs(out, "logs")


def _pack_logs(out: Path, name: str) -> None:
    logs = out / "logs"
    if not logs.is_dir():
        return
    with tarfile.open(out / f"{name}.tar.xz", "w:xz", preset=1) as archive:
        archive.add(logs, arcname="logs")
    shutil.rmtree(logs, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="machine.py", description="Run the project on a machine with a GPU."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    take = commands.add_parser("take", help="take over the pieces of one load")
    take.set_defaults(run=_take)
    take.add_argument("load", type=Path)
    unpack = commands.add_parser("unpack", help="put the bundle's files in place")
    unpack.set_defaults(run=_unpack)
    run = commands.add_parser("run", help="bring everything up, measure, report")
    run.set_defaults(run=_run)
    run.add_argument("--rehearse", action="store_true", help="without a GPU: one is claimed, none is used")
    run.add_argument("--through-cpu", action="store_true", help="tensors go from member to member by the CPU")
    run.add_argument("--relative-l2", type=float, help="tolerance of the engine's verification")
    compare = commands.add_parser(
        "compare", help="after a run: build its engine in turns with TensorRT alone"
    )
    compare.set_defaults(run=_compare)
    compare.add_argument("--turns", type=int, default=3)
    options = commands.add_parser("options", help="after a run: try what a spec can ask of TensorRT")
    options.set_defaults(run=_options)
    proving = commands.add_parser("proving", help="after a run: prove engines, and stop a build half way")
    proving.set_defaults(run=_proving)
    proving.add_argument("--own-model", action="store_true", help="stop the build of the run's model")
    change = commands.add_parser(
        "changes", help="after a run: a server gives way to a build, and a build is evicted"
    )
    change.set_defaults(run=_changes)
    speed = commands.add_parser("throughput", help="after a run: images a second, beside what is underneath")
    speed.set_defaults(run=_throughput)
    speed.add_argument("--turns", type=int, default=3)
    speed.add_argument("--seconds", type=float, default=1.5, help="of one way and batch size (1.5)")
    for command in (run, compare, options, proving, change, speed):
        command.add_argument("--out", type=Path, required=True, help="folder for figures and logs")
    for command in (take, unpack, run, compare, options, proving, change, speed):
        command.add_argument(
            "--root", type=Path, default=Path("/var/lib/ensembles-gpu"), help="where the bundle lies"
        )
    return parser
