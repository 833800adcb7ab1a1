"""What there is to compute with, found out without raising: the processor, and whether a GPU can be used.

Four things can be missing, and each has its own remedy: the package CuPy, a driver, a GPU behind it, and NVRTC, which
compiles kernels when they are first needed.
"""

from __future__ import annotations

import os
import platform
from typing import Any

from ..errors import DeviceError

INSTALL = 'pip install "chainrule[gpu]" (CUDA 13), or "chainrule[gpu-cuda12]" (CUDA 12)'
SMALLEST = 'extern "C" __global__ void nothing() {}'


def processor() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}"


def gpus() -> dict[str, str]:
    """{"cuda:0": "NVIDIA H100, 80 GB, compute capability 9.0", ...}, or {"cuda": why there is none, and the remedy}."""
    try:
        cupy = usable()
        return {f"cuda:{i}": _described(cupy, i) for i in range(_count(cupy))}
    except DeviceError as problem:
        return {"cuda": str(problem)}


def usable() -> Any:
    """The module cupy, when it has a driver, a GPU and a compiler; else DeviceError says what is missing."""
    try:
        import cupy
    except ModuleNotFoundError as e:
        if e.name != "cupy":
            raise DeviceError(f"CuPy is installed, but not its part '{e.name}'; install it anew: {INSTALL}") from e
        raise DeviceError(f"CuPy is not installed: {INSTALL}") from e
    except Exception as e:  # a wheel for another system, a library that does not load
        reason = _line(e.__cause__ or e)  # CuPy's own words about it are a page
        raise DeviceError(f"CuPy is installed, but can't be loaded ({reason}); install it anew: {INSTALL}") from e
    if not _count(cupy):
        raise DeviceError(f"CuPy {cupy.__version__} and a driver are installed, but they find no GPU (see nvidia-smi)")
    try:
        cupy.RawKernel(SMALLEST, "nothing").compile()
    except Exception as e:
        raise DeviceError(
            f"CuPy {cupy.__version__} finds a GPU, but can't compile for it ({_line(e)}); "
            'NVRTC comes with pip install "cupy-cuda13x[ctk]" or "cupy-cuda12x[ctk]", whichever of the two is installed'
        ) from e
    return cupy


def _count(cupy: Any) -> int:
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as e:
        raise DeviceError(
            f"CuPy {cupy.__version__} is installed, but no NVIDIA driver that it can use ({_line(e)}); "
            "install or update the driver until nvidia-smi lists the GPU"
        ) from e


def _described(cupy: Any, number: int) -> str:
    facts = cupy.cuda.runtime.getDeviceProperties(number)
    memory = facts["totalGlobalMem"] / 1e9
    return f"{facts['name'].decode()}, {memory:.0f} GB, compute capability {facts['major']}.{facts['minor']}"


def _line(e: BaseException) -> str:
    return f"{type(e).__name__}: {' '.join(str(e).split())}"[:200]
