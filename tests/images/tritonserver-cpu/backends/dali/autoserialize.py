"""Runs a dali.py: finds its @autoserialize function and serialises the pipeline without a GPU.

Called as a program of its own, as the DALI backend calls Python, so that the user's module keeps its own
process: ``autoserialize.py MODULE TARGET``.
"""

import importlib.util
import sys
from pathlib import Path


def main(module_path: str, target: str) -> None:
    specification = importlib.util.spec_from_file_location("autoserialize_mod", module_path)
    if specification is None or specification.loader is None:
        raise SystemExit(f"{module_path} is no Python module")
    module = importlib.util.module_from_spec(specification)
    sys.modules["autoserialize_mod"] = module
    specification.loader.exec_module(module)
    marked = [value for value in vars(module).values() if getattr(value, "_is_autoserialize", False)]
    if len(marked) != 1:
        raise SystemExit(f"{module_path}: expected one @autoserialize function, found {len(marked)}")
    # A device_id that the user's decorator states would ask for a GPU.
    Path(target).write_bytes(marked[0](device_id=None).serialize())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
