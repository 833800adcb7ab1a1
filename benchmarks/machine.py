"""What is known of the machine: its facts, its peak, how fast it is right now, and whether it is idle."""

from __future__ import annotations

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
    wait_until_idle(2.0)
    return {
        "flops_per_s": 2 * n**3 / best(lambda: np.matmul(a, a, out=y), 10),
        "bytes_per_s": 2 * b.nbytes / best(lambda: np.copyto(c, b), 10),
    }


# ------------------------------------------------------------------------------------------------ idle
def running() -> int | None:
    """Processes that run or could run right now, this one not counted; None where the system does not say."""
    try:
        text = Path("/proc/stat").read_text()
    except OSError:
        return None
    return int(text.split("procs_running ")[1].split()[0]) - 1


def wait_until_idle(limit: float, running: Callable[[], int | None] = running) -> bool:
    """Wait for an empty run queue, `limit` seconds at most. Was it empty?"""
    end = time.monotonic() + limit
    while running():
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
