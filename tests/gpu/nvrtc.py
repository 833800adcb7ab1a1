"""NVRTC without CuPy, a driver, or a GPU: CUDA C++ to PTX, and to what devices run, with the assembler's words on it.

The library and CUDA's headers come from two wheels, nvidia-cuda-nvrtc and nvidia-cuda-runtime (`make gpu-compiled`).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARCHITECTURES = 75, 80, 90, 100
OPTIONS = ("-std=c++17", "-diag-suppress=177", "-default-device")


@dataclass(frozen=True)
class Usage:
    """What the assembler says of a kernel."""

    registers: int
    spilled: int  # bytes of registers that did not fit
    stack: int  # bytes of local memory
    shared: int  # bytes, static


class CompileError(RuntimeError):
    """The text is no CUDA C++."""


def unavailable() -> str | None:
    """Why nothing can be compiled here; None if it can."""
    if _find("lib/libnvrtc.so.*") is None:
        return "NVRTC is not installed: make gpu-compiled does that (pip install nvidia-cuda-nvrtc nvidia-cuda-runtime)"
    return None if _find("include/cuda_fp16.h") else "CUDA's headers are missing: pip install nvidia-cuda-runtime"


def version() -> str:
    """As "13.0"."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def ptx(source: str, architecture: int = 90) -> str:
    """The text in PTX."""
    return _compile(source, (f"-arch=compute_{architecture}",), "PTX")[0].rstrip(b"\0").decode()


@functools.cache
def cubin(source: str, architecture: int) -> tuple[bytes, dict[str, Usage]]:
    """What a device of this architecture runs, and what each kernel takes."""
    binary, log = _compile(source, (f"-arch=sm_{architecture}", "--ptxas-options=-v"), "CUBIN")
    return binary, dict(_usages(log))


def _usages(log: str) -> Iterator[tuple[str, Usage]]:
    for part in log.split("Compiling entry function '")[1:]:
        found = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        registers, shared = re.search(r"Used (\d+) registers", part), re.search(r"(\d+) bytes smem", part)
        if not found or not registers:
            raise CompileError(f"the assembler's words are not understood: {part[:400]}")
        stack, stores, loads = map(int, found.groups())
        yield part.split("'")[0], Usage(int(registers[1]), stores + loads, stack, int(shared[1]) if shared else 0)


def _compile(source: str, options: Sequence[str], kind: str) -> tuple[bytes, str]:
    nvrtc, program = _library(), ctypes.c_void_p()
    _must(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None))
    try:
        words = [w.encode() for w in (*OPTIONS, *options, f"-I{_find('include/cuda_fp16.h').parent}")]  # type: ignore[union-attr]
        failed = nvrtc.nvrtcCompileProgram(program, len(words), (ctypes.c_char_p * len(words))(*words))
        log = _text(nvrtc, program, "ProgramLog").rstrip(b"\0").decode()
        if failed:
            raise CompileError(log)
        return _text(nvrtc, program, kind), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(nvrtc: Any, program: Any, what: str) -> bytes:
    size = ctypes.c_size_t()
    _must(getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _must(getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _must(code: int) -> None:
    if code:
        raise RuntimeError(f"NVRTC: error {code}")


@functools.cache
def _library() -> Any:
    return ctypes.CDLL(str(_find("lib/libnvrtc.so.*")))


@functools.cache
def _find(pattern: str) -> Path | None:
    """A file of NVIDIA's wheels."""
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
    return next((file for folder in folders for file in sorted(folder.glob(f"*/{pattern}"))), None)
