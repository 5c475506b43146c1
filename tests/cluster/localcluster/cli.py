"""The command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from localcluster import build, components, fakegpu, images, lifecycle, settings, teardown
from localcluster.errors import ClusterError
from localcluster.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors of the expected kind become one line and status 1."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _build(arguments: argparse.Namespace) -> int:
    build.build(arguments.cache, only=arguments.part)
    return 0


def _up(arguments: argparse.Namespace) -> int:
    if settings.exists(arguments.state):
        known = settings.load(arguments.state)
        port = known.port if arguments.port is None else arguments.port
    else:
        port = settings.DEFAULT_PORT if arguments.port is None else arguments.port
    wanted = Settings(
        state=arguments.state,
        cache=arguments.cache,
        port=port,
        control_plane_only=arguments.control_plane_only,
    )
    wanted = settings.with_free_port(wanted)
    lifecycle.up(wanted)
    print(f"export KUBECONFIG={wanted.kubeconfig}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    if not settings.exists(arguments.state):
        print(f"no cluster in {arguments.state}")
        return 0
    teardown.down(settings.load(arguments.state))
    print(f"down; nothing is left of {arguments.state}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    known = settings.load(arguments.state)
    states = {name: components.is_running(known, name) for name in components.names(known)}
    for name, running in states.items():
        print(f"{name:12} {'running' if running else 'STOPPED'}")
    print(f"{'kubeconfig':12} {known.kubeconfig}")
    print(f"{'server':12} {known.server}")
    if not known.control_plane_only and states["containerd"]:
        for name, digest in sorted(images.digests(known).items()):
            print(f"{'image':12} {name} {digest[:19]}")
    return 0 if all(states.values()) else 1


def _kubeconfig(arguments: argparse.Namespace) -> int:
    print(settings.load(arguments.state).kubeconfig)
    return 0


def _load(arguments: argparse.Namespace) -> int:
    known = settings.load(arguments.state)
    for archive in arguments.archive:
        if not archive.is_file():
            raise ClusterError(f"{archive}: no such archive")
        for name in images.load(known, archive) or ["nothing new"]:
            print(f"loaded {name}")
    return 0


def _fake_gpu(arguments: argparse.Namespace) -> int:
    fakegpu.advertise(settings.load(arguments.state), arguments.count, arguments.product)
    claim = f"{arguments.count} fake {arguments.product}"
    print(f"the node now claims {claim} ({fakegpu.RESOURCE}); no device is behind them")
    return 0


def _start(arguments: argparse.Namespace) -> int:
    known = settings.load(arguments.state)
    components.start(known, arguments.component)
    lifecycle.wait_ready(known, arguments.component)
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    components.stop(settings.load(arguments.state), arguments.component)
    return 0


def _restart(arguments: argparse.Namespace) -> int:
    return _stop(arguments) or _start(arguments)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--state", type=_folder, default=settings.default_state(), help="folder ($ENSEMBLES_STATE)"
    )
    common.add_argument(
        "--cache", type=_folder, default=settings.default_cache(), help="programs ($ENSEMBLES_CACHE)"
    )
    parser = argparse.ArgumentParser(prog="cluster.py", description="A real Kubernetes without Docker.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[common], help=text, description=text)
        added.set_defaults(run=run)
        return added

    command("build", _build, "build the programs (all, or the named parts)").add_argument("part", nargs="*")
    up = command("up", _up, "bring the cluster up, or heal it")
    up.add_argument("--port", type=int, help="of the API server; 0 picks one; the next four are used too")
    up.add_argument("--control-plane-only", action="store_true", help="an API server without node or root")
    command("down", _down, "stop the cluster and remove every trace of it")
    command("status", _status, "say what runs")
    command("kubeconfig", _kubeconfig, "print the path of the administrator's kubeconfig")
    command("load", _load, "import image archives").add_argument("archive", nargs="+", type=Path)
    gpu = command("fake-gpu", _fake_gpu, "let the node claim N fake GPUs (0: none)")
    gpu.add_argument("count", type=int, metavar="N")
    gpu.add_argument("product", nargs="?", default="NVIDIA-FAKE")
    for name, run in (("start", _start), ("stop", _stop), ("restart", _restart)):
        command(name, run, f"{name} one component").add_argument("component")
    return parser


def _folder(text: str) -> Path:
    return Path(text).expanduser().resolve()
