"""What the commands read from a cluster, with one-line errors."""
