"""One contender of one case in a process of its own: `python -m benchmarks.worker CASE CONTENDER`.

Speaks lines on standard input and output: "run K" is answered by a JSON list of K step times in seconds, "control" by
the time of a fixed NumPy product, which tells whether the machine itself has changed its speed.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from .cases import CASES


def control() -> float:
    a = np.random.default_rng(0).random((384, 384), dtype=np.float32)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return best


def main(case_name: str, contender: str) -> None:
    case = CASES[case_name]
    try:
        step = case.contenders[contender](case.batch)
    except ImportError as e:
        print(json.dumps({"missing": str(e)}), flush=True)
        return
    print(json.dumps({"ready": contender}), flush=True)
    for line in sys.stdin:
        if line.strip() == "control":
            print(json.dumps(control()), flush=True)
            continue
        times = []
        for _ in range(int(line.split()[1])):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
