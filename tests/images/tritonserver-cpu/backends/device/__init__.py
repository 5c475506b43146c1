"""Tensors in a GPU's memory for the stand-in backends, by CUDA's driver alone: no toolkit, no framework."""
