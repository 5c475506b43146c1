"""Compares what the servers of two rollouts answer to the requests of real clients."""

from ensemble_builder.commands.analyse.run import run

__all__ = ["run"]
