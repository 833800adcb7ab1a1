"""One contender in a process of its own: `python -m benchmarks.worker CONTENDER`.

It speaks lines on standard input and output. "make CASE" is answered by {"ready": true, ...} or {"missing": why},
"run K S" by a list of times in seconds, K at least, more until S seconds have passed, "control NAME" by the time of a
control kernel, "facts" by its versions.
"""

from __future__ import annotations

import base64
import importlib
import json
import pickle
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import repeat
from typing import Any

import numpy as np

from .cases import Network
from .contenders import CONTENDERS, Call
from .machine import control, versions

TIMING = 5e-5  # seconds that one timing of a short call is made to last: what is longer is timed call by call


def encode(case: Any) -> str:
    return base64.b64encode(pickle.dumps(case)).decode()


class Timed:
    """What "run" times: a call, repeated so that one timing takes long enough to be read off the clock."""

    def __init__(self, run: Callable[[], Any], context: Callable[[], Any] = nullcontext, repeats: int = 1) -> None:
        self.run, self.context, self.repeats = run, context, repeats

    def times(self, n: int, seconds: float = 0.0) -> list[float]:
        found, end = [], time.perf_counter() + seconds
        with self.context():
            while len(found) < n or time.perf_counter() < end:
                found.append(self._once())
        return found

    def _once(self) -> float:
        start = time.perf_counter()
        for _ in repeat(None, self.repeats):
            self.run()
        return (time.perf_counter() - start) / self.repeats

    def calibrate(self) -> None:
        """Some calls for whatever is compiled or woken at first, then as many for one timing as fill TIMING."""
        self.times(3)
        for _ in range(2):  # the second time in company, which is what will be timed
            self.repeats = max(1, round(TIMING / max(min(self.times(5)), 1e-8)))


def make(name: str, case: Any) -> tuple[Timed | None, dict[str, Any]]:
    contender = CONTENDERS[name]
    try:
        module = importlib.import_module(f".contenders.{contender.module}", __package__)
        if isinstance(case, Network):
            build = getattr(module, case.build, None)
            if build is None:
                return None, {"missing": f"no {case.build} for {name}"}
            step = build(**case.sizes, **contender.options)
            if case.tried:
                step()
            return Timed(step), {"ready": True}
        call: Call | None = module.kernel(case)
        if call is None:
            return None, {"missing": "no equivalent"}
        with call.context():
            results = [np.asarray(r) for r in call.results()]
    except Exception as problem:  # whatever a library refuses: the line says so, and the others go on
        return None, {"missing": str(problem).splitlines()[0] if str(problem) else type(problem).__name__}
    timed = Timed(call.run, call.context)
    timed.calibrate()
    moved = sum(a.nbytes for a in case.arrays()) * (1 + (case.direction == "backward")) + sum(r.nbytes for r in results)
    return timed, {"ready": True, "digest": digest(results), "bytes": moved, "seconds": timed.times(1)[0]}


def digest(results: list[np.ndarray]) -> list[float]:
    """The mean magnitude of each result: enough to see that contenders compute the same."""
    return [float(np.abs(np.asarray(r, np.float64)).mean()) if r.size else 0.0 for r in results]


def main(name: str) -> None:
    timed: Timed | None = None
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        answer: Any
        if word == "make":
            timed = None  # free the last case's memory
            timed, answer = make(name, pickle.loads(base64.b64decode(rest)))
        elif word == "run":
            assert timed is not None
            n, seconds = rest.split()
            answer = timed.times(int(n), float(seconds))
        elif word == "control":
            answer = control(rest)
        else:
            answer = versions()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
