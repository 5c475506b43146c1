"""A real single-node Kubernetes cluster, built from pinned source and run as plain processes."""
