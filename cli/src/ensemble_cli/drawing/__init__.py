"""Pictures of ensembles, on the terminal and as SVG."""
