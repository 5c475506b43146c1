"""The one error type of this package: a sentence for the person at the terminal."""


class ClusterError(Exception):
    """Something the user can act upon; its text names what failed and what to do."""
