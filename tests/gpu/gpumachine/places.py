"""Where things lie below a bundle's root once it is unpacked."""

CLUSTER = "cluster"
"""The cache of tests/cluster."""
NVIDIA = "nvidia"
NETTOOLS = "nettools"
IMAGES = "images"
"""An OCI layout."""
EXAMPLE = "efficientnet"
