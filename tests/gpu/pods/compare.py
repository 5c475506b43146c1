"""Runs in the builder's image on a GPU: builds one engine with the product and by TensorRT alone, in turns.

`compare.py TURNS`; /work is as the build Job's fetch left it. In each turn the product builds without any
timing cache, TensorRT does, and the product again with what it measured before. Prints JSON for each build.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

WORK = Path("/work")
CACHES = WORK / "timing-caches"
HERE = Path(__file__).parent


def product() -> dict[str, object]:
    began = time.monotonic()
    subprocess.run(["ensemble-builder", "compile", "--work", str(WORK)], check=True, stdout=sys.stderr)
    result = json.loads((WORK / "out" / "result.json").read_text())
    if "fault" in result:
        raise SystemExit(f"the product's build failed: {result['fault']}")
    provenance = result["provenance"]
    return {"total": time.monotonic() - began, "seconds": provenance["seconds"], "provenance": provenance}


def direct() -> dict[str, object]:
    parameters = json.loads((WORK / "order.json").read_text())["parameters"]
    model = next(iter(sorted((WORK / "in").rglob("*.onnx"))))
    began = time.monotonic()
    most, best = parameters["max_batch_size"], parameters["opt_batch_size"]
    command = [sys.executable, str(HERE / "direct.py"), str(model), str(most), str(best)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {"total": time.monotonic() - began, **json.loads(done.stdout.splitlines()[-1])}


def keep_measurements() -> None:
    """Give the next build what the last one measured, as fetch would."""
    content = (WORK / "out" / "timing.cache").read_bytes()
    CACHES.mkdir()
    (CACHES / hashlib.sha256(content).hexdigest()).write_bytes(content)


def tell(by: str, build: dict[str, object]) -> None:
    print("figure", json.dumps({"by": by, **build}), flush=True)


shutil.rmtree(WORK / "built", ignore_errors=True)  # the engine that is in storage already
for _ in range(int(sys.argv[1])):
    shutil.rmtree(CACHES, ignore_errors=True)
    tell("product", product())
    tell("TensorRT", direct())
    keep_measurements()
    tell("product, warm", product())
