"""The images of the tests and the demo: built with buildah, without Docker and without a registry."""
