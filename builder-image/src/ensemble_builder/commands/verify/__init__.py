"""verify: asks every new server for real inferences before clients reach it."""

from ensemble_builder.commands.verify.run import Subject, run

__all__ = ["Subject", "run"]
