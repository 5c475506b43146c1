"""`ensemble-builder <command>`: what the operator's Jobs run.

assemble, fetch, upload, verify, analyse and prune end with a Result, as JSON in the termination message (or
--result FILE); the exit status is 0, or 1 where the Result holds a fault. compile ends with out/result.json.
"""

# ruff: noqa: PLC0415 - compile runs in images without boto3, the other commands in images without DALI
from __future__ import annotations

import argparse
import functools
import json
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ensemble_builder.commands.log import say
from ensemble_builder.faults import FaultError
from ensemble_builder.start import STOPPED, end_at_sigterm
from ensembles_api.contract import Fault, Request, Result, StorageLocation
from ensembles_api.reasons import Reason

if TYPE_CHECKING:
    from ensemble_builder.commands.locks import OrderedBuild
    from ensemble_builder.storage.store import Store

KILLED = 128 + signal.SIGKILL
TERMINATION_LOG = Path("/dev/termination-log")
Command = Callable[[argparse.Namespace], Result]


def main(arguments: Sequence[str] | None = None) -> int:
    end_at_sigterm()
    options = _parser().parse_args(arguments)
    if options.command == "compile":
        return _compile(options.work)
    result = _outcome(options)
    message = result.message()
    _write(options.result, message)
    if result.fault is None:
        return 0
    fault = result.fault
    say(f"{fault.code.value}: {fault.field + ': ' if fault.field else ''}{fault.message}")
    return 1


def _outcome(options: argparse.Namespace) -> Result:
    command: Command = options.run
    try:
        return command(options)
    except FaultError as error:
        return Result(lock=getattr(options, "lock", None) or "", fault=error.fault)
    except Exception as error:  # noqa: BLE001 - the operator reads a Result, whatever happens
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        return Result(fault=Fault(code=Reason.JOB_FAILED, message=message))


def _write(path: Path | None, message: str) -> None:
    print(message)
    if path is not None:
        path.write_text(message)
    elif TERMINATION_LOG.exists():  # not outside of a pod
        TERMINATION_LOG.write_text(message)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ensemble-builder", description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)

    assemble = _command(
        commands, "assemble", _assemble, "pin sources, order builds, publish when all are there"
    )
    assemble.add_argument("--request", type=Path, required=True, help="request.json")
    assemble.add_argument(
        "--configmaps", type=Path, default=Path("/configmaps"), help="folder of <name>/<key>"
    )
    assemble.add_argument("--lock", default="", help="digest of an earlier round's lock")
    assemble.add_argument(
        "--built", nargs="*", default=[], metavar="KEY", help="artifact keys built in this chain"
    )

    fetch = commands.add_parser("fetch", help="bring a build's inputs or a revision to disk")
    what = fetch.add_subparsers(dest="what", required=True)
    build = _command(what, "build", _fetch_build, "inputs of one build")
    _build_options(build)
    revision = _command(what, "revision", _fetch_revision, "files of a published revision")
    _ensemble_option(revision)
    revision.add_argument("--revision", required=True, help="digest of the manifest")
    revision.add_argument("--target", required=True)
    revision.add_argument("--to", type=Path, required=True)
    revision.add_argument("--only", choices=["models", "verification"], default="")

    _build_options(_command(commands, "upload", _upload, "store what compile built"))

    keep = _command(commands, "keep", _keep, "wait for SIGTERM, then save what a stopped build has measured")
    _build_options(keep)
    keep.add_argument("--grace", type=float, required=True, help="seconds between SIGTERM and SIGKILL")

    prune = _command(commands, "prune", _prune, "remove old revisions")
    _ensemble_option(prune)
    which = prune.add_mutually_exclusive_group(required=True)
    which.add_argument("--remove", type=_digests, help="digests to remove, separated by commas")
    which.add_argument("--keep", type=_digests, help="digests to keep: all others are removed")
    which.add_argument("--all", action="store_true", help="remove every revision and the owner record")
    prune.add_argument("--uid", default="", help="metadata.uid of the resource")

    _verify_options(
        _command(commands, "verify", _verify, "ask new servers for real inferences", storage=False)
    )
    _analyse_options(
        _command(commands, "analyse", _analyse, "compare new servers with old under traffic", storage=False)
    )

    compiling = commands.add_parser("compile", help="build one artifact from <work>/order.json")
    compiling.add_argument("--work", type=Path, required=True)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Command,
    help_text: str,
    *,
    storage: bool = True,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_text)
    parser.set_defaults(run=run)
    parser.add_argument("--result", type=Path, help="file for the Result instead of the termination message")
    if storage:
        parser.add_argument("--storage", type=_location, required=True, help="StorageLocation as JSON")
        parser.add_argument(
            "--patience", type=float, default=90.0, help="seconds to wait for a silent storage"
        )
    return parser


def _verify_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", required=True, help="name that resolves to every server's address")
    parser.add_argument("--replicas", type=int, required=True)
    parser.add_argument("--files", type=Path, required=True, help="the revision's verification folder")
    parser.add_argument("--entrypoint", required=True)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds")
    parser.add_argument("--port", type=int, default=8001, help="gRPC port")
    saving = parser.add_argument_group("where the report goes", "all together, or none: then it goes nowhere")
    saving.add_argument("--storage", type=_location, help="StorageLocation as JSON")
    saving.add_argument("--patience", type=float, default=15.0, help="seconds to wait for a silent storage")
    saving.add_argument("--ensemble", type=_namespaced, metavar="NAMESPACE/NAME")
    saving.add_argument("--revision", default="", help="digest of the manifest")
    saving.add_argument("--rollout", default="")
    saving.add_argument("--attempt", type=int, default=1)


def _analyse_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--new", required=True, help="name that resolves to every new server's address")
    parser.add_argument("--old", default="", help="the same of the old servers")
    parser.add_argument("--entrypoint", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--max-error-percent", type=int, required=True)
    parser.add_argument("--max-latency-percent", type=int, required=True)
    parser.add_argument("--min-requests", type=int, required=True)
    parser.add_argument("--http-port", type=int, default=8000)
    parser.add_argument("--metrics-port", type=int, default=8002)


def _build_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lock", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--proof", default="", help="key of the build's proof")
    parser.add_argument("--work", type=Path, required=True)


def _ensemble_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ensemble", required=True, type=_namespaced, metavar="NAMESPACE/NAME")


def _location(text: str) -> StorageLocation:
    try:
        return StorageLocation.model_validate_json(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _namespaced(text: str) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise argparse.ArgumentTypeError(f"{text!r} is not namespace/name")
    return namespace, name


def _digests(text: str) -> frozenset[str]:
    return frozenset(part for part in text.split(",") if part)


def _store(options: argparse.Namespace) -> Store:
    from ensemble_builder.storage.retry import Patience
    from ensemble_builder.storage.store import Store

    return Store(options.storage, patience=Patience(budget=options.patience))


def _ordered_build(options: argparse.Namespace) -> OrderedBuild:
    from ensemble_builder.commands.locks import OrderedBuild

    return OrderedBuild(
        store=_store(options),
        lock_digest=options.lock,
        key=options.key,
        proof_key=options.proof,
        work=options.work,
    )


def _assemble(options: argparse.Namespace) -> Result:
    from ensemble_builder.commands import assemble

    request = _request(options.request)
    return assemble.run(
        request=request,
        config_maps=options.configmaps,
        store=_store(options),
        lock_digest=options.lock,
        built=options.built,
    )


def _request(path: Path) -> Request:
    try:
        return Request.model_validate(json.loads(path.read_bytes()))
    except (ValidationError, ValueError) as error:
        message = f"the request is none of this contract: {error}"
        raise FaultError(Fault(code=Reason.INVALID_SPEC, message=message)) from error


def _fetch_build(options: argparse.Namespace) -> Result:
    from ensemble_builder.commands import fetch

    return fetch.fetch_build(_ordered_build(options))


def _fetch_revision(options: argparse.Namespace) -> Result:
    from ensemble_builder.commands import fetch

    namespace, name = options.ensemble
    return fetch.fetch_revision(
        store=_store(options),
        namespace=namespace,
        name=name,
        digest=options.revision,
        target=options.target,
        to=options.to,
        only=options.only,
    )


def _upload(options: argparse.Namespace) -> Result:
    from ensemble_builder.commands import upload

    return upload.run(_ordered_build(options))


def _keep(options: argparse.Namespace) -> Result:
    from ensemble_builder.commands import keep

    # Blocked and waited for: the handler that ends other commands at once must not run.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    return keep.run(
        _ordered_build(options), wait=lambda: signal.sigwait({signal.SIGTERM}), grace=options.grace
    )


def _prune(options: argparse.Namespace) -> Result:
    from ensemble_builder.commands import prune

    namespace, name = options.ensemble
    return prune.run(
        store=_store(options),
        namespace=namespace,
        name=name,
        keep=frozenset() if options.all else options.keep,
        remove=options.remove,
        uid=options.uid,
    )


def _verify(options: argparse.Namespace) -> Result:
    from ensemble_builder.commands import reports, verify

    save = None
    if options.storage and options.ensemble:
        namespace, name = options.ensemble
        save = functools.partial(reports.write_report, _store(options), namespace, name)
    return verify.run(
        subject=verify.Subject(options.revision, options.rollout, options.attempt),
        save=save,
        host=options.host,
        port=options.port,
        replicas=options.replicas,
        files=options.files,
        entrypoint=options.entrypoint,
        timeout=options.timeout,
    )


def _analyse(options: argparse.Namespace) -> Result:
    from ensemble_builder.commands import analyse
    from ensemble_builder.commands.analyse.judging import Bounds
    from ensemble_builder.commands.analyse.servers import Ports

    return analyse.run(
        new_host=options.new,
        old_host=options.old,
        entrypoint=options.entrypoint,
        seconds=options.seconds,
        bounds=Bounds(options.max_error_percent, options.max_latency_percent, options.min_requests),
        ports=Ports(http=options.http_port, metrics=options.metrics_port),
    )


def _compile(work: Path) -> int:
    from ensemble_builder.commands import compile as compiling
    from ensemble_builder.compilers.child import StoppedError

    try:
        result = compiling.run(work)  # a fault is a result as well: upload reports it
    except (StoppedError, KeyboardInterrupt):  # the latter by a person, who builds without a cluster
        return STOPPED
    # Where the kernel ends single processes (cgroup v1, singleProcessOOMKill) the kubelet takes an init
    # container marked OOMKilled for failed, but with exit code 0 the pod stays Pending: the Job would hang.
    return KILLED if result.fault and result.fault.code is Reason.OUT_OF_MEMORY else 0


if __name__ == "__main__":
    sys.exit(main())
