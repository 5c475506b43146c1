"""Building and serving without a cluster, by the code that the Jobs run."""
