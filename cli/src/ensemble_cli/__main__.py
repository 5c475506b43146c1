"""`python -m ensemble_cli`."""

from ensemble_cli.main import run

run()
