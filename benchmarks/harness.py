"""Contenders in turns: one process each, driven for a few timings at a time while the others sleep.

A drift of the machine's speed so meets all of them. Before a turn the run queue should be empty and each core at full
speed: the harness waits for that, a while, and counts the turns that found it otherwise. A control kernel, timed in
each process before each turn, tells whether the machine was the same for all.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .contenders import CONTENDERS
from .machine import ROOT, wait_until_quiet
from .worker import encode


class Ended(Exception):
    """A contender's process is no more."""


class Worker:
    """A contender's process, asked line by line."""

    def __init__(self, name: str, python: str = sys.executable) -> None:
        self.name = name
        # its own session: Ctrl-C is for the one who drives
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, start_new_session=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def ask(self, line: str) -> Any:
        """The answer. Raises Ended where there is none."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise Ended(f"{self.name}: its process ended")
        return json.loads(answer)

    def make(self, case: Any) -> dict[str, Any]:
        """Ready for "run", or {"missing": why}."""
        try:
            answer: dict[str, Any] = self.ask(f"make {encode(case)}")
        except Ended:
            return {"missing": "its process ended"}
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()


@dataclass
class Turns:
    """How long and how often. A contender that has run for `budget` seconds, and twice at least, takes no more."""

    rounds: int = 8
    timings: int = 1  # of a turn, at least; more until `seconds` have passed
    seconds: float = 0.15
    budget: float = 3.0
    patience: float = 1.0  # seconds to wait for a quiet machine before a turn
    grace: float = 10.0  # seconds to wait in all; four more for each second that turns took
    quiet: Callable[[float], bool] = wait_until_quiet
    turns: int = field(default=0, init=False)
    busy: int = field(default=0, init=False)

    def drive(self, workers: Sequence[Any], control: str = "") -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """The timings of each worker in seconds, and those of the control kernel, taken before each turn."""
        times: dict[str, list[float]] = {w.name: [] for w in workers}
        controls: dict[str, list[float]] = {w.name: [] for w in workers}
        spent = dict.fromkeys(times, 0.0)
        for done in range(self.rounds):
            limit = self.fair_wait(len(workers) * (2 if control else 1))
            for w in workers:
                if done >= 2 and spent[w.name] > self.budget:
                    continue
                if control:
                    controls[w.name].append(self.control(w, control, limit))
                self.turns += 1
                self.busy += not self.wait(limit)
                start = time.monotonic()
                times[w.name] += w.ask(f"run {self.timings} {self.seconds}")
                took = time.monotonic() - start
                spent[w.name] += took
                self.grace += 4 * took
        return times, controls

    def fair_wait(self, waits: int) -> float:
        """Seconds to wait at most, the same for each of so many waits: what is left is not for who comes first."""
        return max(0.0, min(self.patience, self.grace / waits))

    def wait(self, limit: float) -> bool:
        """Did the machine become quiet?"""
        start = time.monotonic()
        quiet = self.quiet(limit)
        self.grace -= time.monotonic() - start
        return quiet

    def control(self, worker: Any, name: str, limit: float) -> float:
        self.wait(limit)
        return float(worker.ask(f"control {name}"))


def start(names: Sequence[str], pythons: dict[str, str], worker: Callable[..., Any] = Worker) -> list[Any]:
    """A process for each contender; "torch" in `pythons` is the interpreter of torch-best and torch-compile too."""
    return [worker(n, pythons.get(n) or pythons.get(CONTENDERS[n].package) or sys.executable) for n in names]


def statistics(times: Sequence[float]) -> dict[str, float]:
    return {
        "median": float(np.median(times)),
        "p10": float(np.percentile(times, 10)),
        "p90": float(np.percentile(times, 90)),
        "timings": len(times),
    }


def why_missing(name: str, answer: dict[str, Any]) -> str:
    """The line for a contender that is skipped, with the remedy where it is an installation."""
    package = CONTENDERS[name].package
    lacks = package and f"No module named '{package}'" in answer["missing"]
    return f"not installed: pip install {package}, or --python {package}=PATH" if lacks else answer["missing"]
