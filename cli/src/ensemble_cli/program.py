"""What the program is called."""

PROGRAM = "kubectl-ensemble"
COMPLETE_VARIABLE = "_KUBECTL_ENSEMBLE_COMPLETE"
"""Set by the completion scripts of shells."""
