"""Runs in the builder's image on a GPU: builds one engine with the product and by TensorRT alone, in turns.

`compare.py TURNS`; /work is as the build Job's fetch left it. Prints one line of JSON for each build.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

WORK = Path("/work")
HERE = Path(__file__).parent


def product() -> dict[str, object]:
    began = time.monotonic()
    subprocess.run(["ensemble-builder", "compile", "--work", str(WORK)], check=True, stdout=sys.stderr)
    result = json.loads((WORK / "out" / "result.json").read_text())
    if "fault" in result:
        raise SystemExit(f"the product's build failed: {result['fault']}")
    return {"by": "product", "total": time.monotonic() - began, "provenance": result.get("provenance", {})}


def direct() -> dict[str, object]:
    parameters = json.loads((WORK / "order.json").read_text())["parameters"]
    model = next(iter(sorted((WORK / "in").rglob("*.onnx"))))
    began = time.monotonic()
    most, best = parameters["max_batch_size"], parameters["opt_batch_size"]
    command = [sys.executable, str(HERE / "direct.py"), str(model), str(most), str(best)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    return {"by": "tensorrt", "total": time.monotonic() - began, **answer}


for cache in WORK.rglob("*timing*"):
    shutil.rmtree(cache) if cache.is_dir() else cache.unlink()
for _ in range(int(sys.argv[1])):
    for build in (product, direct):
        print("figure", json.dumps(build()), flush=True)
