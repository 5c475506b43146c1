"""Exit statuses, and the error that ends a command with one of them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the status says to a script (documented in docs/cli.md)."""

    DONE = 0
    NO = 1
    """The answer is no: a document is wrong, a build failed, an ensemble is not ready or refuses."""
    USAGE = 2
    """The command line, or a file it names, cannot be used."""
    CLUSTER = 3
    """The cluster cannot be asked: no kubeconfig, no answer, no permission."""
    ABSENT = 4
    """What was asked for is not there: the resource, a model, a server, the operator."""
    BUG = 70
    """A fault of this program."""
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends a command with one line: what is wrong, then what to do about it.

    Args:
        message: what is wrong.
        cure: the next thing to try, best a command to type.
        status: the process's exit status.
    """

    def __init__(self, message: str, *, cure: str = "", status: Exit = Exit.NO) -> None:
        super().__init__(f"{message}; {cure}" if cure else message)
        self.status = status
