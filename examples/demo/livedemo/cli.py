"""The command line. Imports what needs the checkout's environment only once that is there."""

import argparse
import os
import sys
from collections.abc import Sequence

from livedemo import dependencies
from livedemo.commands import DemoError
from livedemo.progress import say


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; an expected failure becomes one line and status 1."""
    arguments = _parser().parse_args(argv)
    try:
        if not dependencies.inside():
            dependencies.enter(sys.argv)
        from livedemo import demo  # noqa: PLC0415 - needs the environment

        if arguments.command == "up":
            demo.up(arguments.cluster)
        else:
            demo.down(arguments.cluster, keep_cluster=arguments.keep_cluster)
        say(f"\nall of it: {dependencies.seconds_since_start():.0f} s")
    except DemoError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    default = os.environ.get("CLUSTER", "local")
    for name, text in (
        ("up", "do everything, and ask about a photograph"),
        ("down", "remove what up made"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "--cluster",
            choices=("local", "kind", "existing"),
            default=default,
            help="local: on this machine; kind: in Docker; existing: of KUBECONFIG, also where that is set",
        )
    command.add_argument("--keep-cluster", action="store_true", help="remove only what lies in the cluster")
    return parser
