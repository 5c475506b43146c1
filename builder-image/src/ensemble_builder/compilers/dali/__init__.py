"""DALI pipelines: a Python file becomes model.dali, or dali.py, with its tensors read back."""
