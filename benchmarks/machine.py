"""What is known of the machine: its facts, its peak, how fast it is right now, and whether it is quiet."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
MEASURED = "numpy", "scipy", "numba", "llvmlite", "torch", "jax", "jaxlib", "mygrad"


# ------------------------------------------------------------------------------------------------ controls
def best(f: Callable[[], Any], n: int) -> float:
    times = []
    for _ in range(n):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def control(name: str, seconds: float = 0.02) -> float:
    """The time of a kernel that has nothing to do with any contender: did the machine itself change its speed?"""
    kernel = _kernel(name)
    end, fastest = time.monotonic() + seconds, np.inf
    while time.monotonic() < end:
        fastest = min(fastest, best(kernel, 3))
    return float(fastest)


@functools.cache
def _kernel(name: str) -> Callable[[], Any]:
    return CONTROLS[name]()


def _product() -> Callable[[], Any]:
    a = np.random.default_rng(0).random((384, 384), np.float32)
    y = np.empty_like(a)  # no fresh memory: page faults would drown the product
    return lambda: np.matmul(a, a, out=y)


def _stream() -> Callable[[], Any]:
    a = np.ones(4_000_000, np.float32)
    b = np.empty_like(a)
    return lambda: np.copyto(b, a)


def _interpreter() -> Callable[[], Any]:
    return lambda: sum(i & 3 for i in range(20_000))


CONTROLS = {"product": _product, "stream": _stream, "interpreter": _interpreter}


def peaks() -> dict[str, float]:
    """The roof: FLOP/s of a large product on all cores, bytes/s of a large copy (read and written)."""
    n = 2048
    a = np.random.default_rng(0).random((n, n), np.float32)
    y = np.empty_like(a)
    b = np.random.default_rng(1).random(1 << 25, np.float32)  # 128 MiB
    c = np.empty_like(b)
    wait_until_quiet(2.0)
    return {
        "flops_per_s": 2 * n**3 / best(lambda: np.matmul(a, a, out=y), 10),
        "bytes_per_s": 2 * b.nbytes / best(lambda: np.copyto(c, b), 10),
    }


# ------------------------------------------------------------------------------------------------ quiet
SLOWER = 1.25  # than a core's best: it is shared right now
FIRST_LOOKS = 50  # at each core, in half a second, before the first answer


def running() -> int | None:
    """Processes that run or could run right now, this one not counted; None where the system does not say."""
    try:
        text = Path("/proc/stat").read_text()
    except OSError:
        return None
    return int(text.split("procs_running ")[1].split()[0]) - 1


class Pace:
    """Does each core run as fast as it ever did?

    The cores of a virtual machine may be halves of real ones. While a neighbour works on the other half, all takes 1.8
    times as long, for a tenth of a second or for ten; no run queue shows it. A short loop on each core does.
    """

    def __init__(self, loop: Callable[[], Any] = lambda: sum(i & 3 for i in range(2_000))) -> None:
        self.loop = loop
        self.fastest: dict[int, float] = {}  # of each core: they need not be alike

    def full(self) -> bool:
        """Now, and against the shortest time so far."""
        if not self.fastest:
            for _ in range(FIRST_LOOKS):
                self._look()
                time.sleep(0.01)
        return all(seconds <= SLOWER * self.fastest[core] for core, seconds in self._look().items())

    def _look(self) -> dict[int, float]:
        """The time that the loop takes on each core where this process may run; where none may be chosen, on core -1,
        wherever that is."""
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        try:
            times = {core: self._time_on(core) for core in sorted(cores)}
        except OSError:  # not allowed, or this core has gone
            times = {}
        finally:
            with contextlib.suppress(OSError):
                if cores:
                    os.sched_setaffinity(0, cores)
        times = times or {-1: best(self.loop, 2)}
        for core, seconds in times.items():
            self.fastest[core] = min(seconds, self.fastest.get(core, seconds))
        return times

    def _time_on(self, core: int) -> float:
        os.sched_setaffinity(0, {core})
        return best(self.loop, 2)


_pace = Pace()


def wait_until_quiet(
    limit: float, running: Callable[[], int | None] = running, full: Callable[[], bool] = _pace.full
) -> bool:
    """Wait for an empty run queue and all cores at full speed, `limit` seconds at most. Was it so?"""
    end = time.monotonic() + limit
    while running() or not full():
        if time.monotonic() >= end:
            return False
        time.sleep(0.001)
    return True


# ------------------------------------------------------------------------------------------------ facts
def facts() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "features": np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", []),
        "system": f"{platform.system()} {platform.machine()}",
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
    }


def versions() -> dict[str, Any]:
    """Of this process: packages and threads."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for name in MEASURED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "torch" in sys.modules:
        found["threads"] = sys.modules["torch"].get_num_threads()
    if "engine" in sys.modules:
        found["threads"] = sys.modules["engine"].get_num_threads()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + (" with changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
