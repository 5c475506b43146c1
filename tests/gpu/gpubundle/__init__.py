"""A bundle: all that a machine with a GPU and without a network needs to run this project."""
