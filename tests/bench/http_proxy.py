"""What the HTTP proxy of a server's pod costs: the same tritonserver asked directly and through the proxy.

python -m tests.bench.http_proxy
"""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import numpy as np
import tritonclient.http

from tests.storage.test_http_proxy import Pod, pod, tensor

TURNS = 3
SMALL, SMALL_VALUES = 400, 4
LARGE, LARGE_VALUES = 12, 4_000_000
"""Requests of each kind in a turn, and their float32 values: 16 MB."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, pod(Path(folder)) as running:
        ports = {"direct": running.http, "proxy": running.proxy.port}
        print("| turn | way | p50 ms of 16 bytes | p99 ms | MB/s of 16 MB, there and back |")
        print("|---|---|---|---|---|")
        ratios = [_turn(turn, running, ports) for turn in range(1, TURNS + 1)]
    latency, rate = (median(values) for values in zip(*ratios, strict=True))
    print(f"\nproxy / direct, median of {TURNS} turns: p50 {latency:.2f}, MB/s {rate:.2f}")


def _turn(turn: int, running: Pod, ports: dict[str, int]) -> tuple[float, float]:
    """Ratios proxy / direct of the median latency and of the rate; the order changes from turn to turn."""
    assert running.proxy.process.poll() is None
    p50, rate = {}, {}
    for way in sorted(ports, reverse=bool(turn % 2)):
        small = 1000 * _seconds(ports[way], SMALL_VALUES, SMALL)
        large = _seconds(ports[way], LARGE_VALUES, LARGE)
        p50[way], rate[way] = float(np.median(small)), 2 * 4 * LARGE_VALUES / 1e6 / float(np.median(large))
        print(f"| {turn} | {way} | {p50[way]:.2f} | {np.percentile(small, 99):.2f} | {rate[way]:.0f} |")
    return p50["proxy"] / p50["direct"], rate["proxy"] / rate["direct"]


def _seconds(port: int, values: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """What each of `count` requests takes, one after the other on one connection."""
    data, taken = tensor(np.ones(values, np.float32)), []
    client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=120)
    with closing(client):
        for number in range(count + 3):
            begun = time.perf_counter()
            client.infer("scale", [data]).as_numpy("y")
            if number >= 3:  # the first ones connect and fill caches
                taken.append(time.perf_counter() - begun)
    return np.array(taken)


if __name__ == "__main__":
    main()
