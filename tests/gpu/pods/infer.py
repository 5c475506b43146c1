"""Runs in the client pod: asks about the picture on standard input. `infer.py ADDRESS MODEL [TIMES]`

Prints JSON: the five best classes with their probabilities, and the seconds of each request.
"""

import json
import sys
import time

import numpy as np
import tritonclient.grpc as triton

address, model = sys.argv[1:3]
times = int(sys.argv[3]) if len(sys.argv) > 3 else 1
content = np.frombuffer(sys.stdin.buffer.read(), np.uint8)[np.newaxis]
tensor = triton.InferInput("encoded", list(content.shape), "UINT8")
tensor.set_data_from_numpy(content)
wanted = [triton.InferRequestedOutput("probabilities", class_count=5)]
seconds = []
with triton.InferenceServerClient(address) as client:
    for _ in range(times):
        began = time.perf_counter()
        answer = client.infer(model, [tensor], outputs=wanted, client_timeout=60)
        seconds.append(time.perf_counter() - began)
# An entry of the classification extension holds probability, index and label.
rows = [entry.decode().split(":", 2) for entry in answer.as_numpy("probabilities").reshape(-1)]
best = [{"probability": float(value), "label": label} for value, _, label in rows]
print(json.dumps({"best": best, "seconds": seconds}))
