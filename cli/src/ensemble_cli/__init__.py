"""`kubectl ensemble`: what people do with inference ensembles, with and without a cluster."""
