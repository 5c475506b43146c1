"""What runs on the machine with the GPU: Python's standard library and the bundle are all it has."""
