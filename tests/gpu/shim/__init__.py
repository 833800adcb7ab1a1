"""CUDA kernels on the processor: their own text, compiled by g++, run thread by thread by `runtime.cpp`.

    module = load(source, options)                                 # options: -D.., -I..
    module.function("softmax_rows")(grid, block, args, shared_mem)

args are NumPy arrays (C-contiguous; their address is passed), NumPy scalars of the parameter's own type, records of
them (structs, by value), None (a null pointer), and ints, which stand for device pointers. Nothing is checked against
the parameters' types: as on a device.

`checked=True` also has every access to memory tested: bounds, values that nobody has written, races between threads
and between blocks. That takes arrays made by `empty` and `array` below, which lie between guard pages.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import os
import platform
import re
import shutil
import subprocess
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

HERE = Path(__file__).parent
SCHEDULES = 0, 1, 7  # in step; backwards, warp by warp; shuffled, warp by warp
LENIENT = re.compile("cupy_")  # CuPy's own kernels return before a barrier of others
FLAGS = ("-std=c++17", "-march=native", "-ffp-contract=fast", "-fPIC", "-w")
_KERNEL = re.compile(
    r"(template\s*<[^<>]*(?:<[^<>]*>[^<>]*)*>\s*)?(?:static\s+)?__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?"
    r"void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\("
)
_DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\s*\(\d+\)\s*)?([\w ]+?)\s+(\w+)\s*\[\s*\]\s*;")


class ShimError(RuntimeError):
    """A kernel did what a kernel must not do."""


def unavailable() -> str | None:
    """Why kernels can't be run here; None if they can."""
    if platform.machine() not in ("x86_64", "AMD64") or platform.system() != "Linux":
        return "the shim runs on Linux on x86-64 only"
    if shutil.which("g++") is None:
        return "g++ was not found: install it (Debian, Ubuntu: apt install g++)"
    return None


# --- memory ----------------------------------------------------------------------------------------------------------


def allocate(size: int, item: int = 1) -> int:
    """The address of so many bytes, NaN throughout, between pages that nobody may touch. `item`: bytes that are
    written as one (of an array: of an element). Freed with `free`; addresses are never used again.
    """
    address = _runtime().shim_allocate(size, item)
    if not address:
        raise MemoryError(f"the shim has no room for {size} bytes")
    return int(address)


def free(address: int) -> None:
    """Give the memory back; who touches it from now on fails."""
    _runtime().shim_free(address)


def empty(shape: Any, dtype: Any = np.float32) -> Any:
    """An array in such memory: NaN (or -1) throughout, and to read a number that no kernel has written is an error."""
    dtype = np.dtype(dtype)
    sides = (shape,) if isinstance(shape, int) else tuple(shape)
    size = int(np.prod(sides, dtype=np.int64)) * dtype.itemsize
    address = allocate(size, dtype.itemsize)
    memory = (ctypes.c_char * size).from_address(address)
    weakref.finalize(memory, _release, address)
    return np.frombuffer(memory, dtype).reshape(sides) if size else np.empty(sides, dtype)


def array(data: Any, dtype: Any = None, read_only: bool = True) -> Any:
    """A copy of an array in such memory; kernels that write to it fail unless `read_only` is switched off."""
    source = np.asarray(data, dtype)
    copy = empty(source.shape, source.dtype)
    copy[...] = source
    filled(copy, read_only)
    return copy


def filled(array: Any, read_only: bool = False) -> None:
    """What the host has written to an array of `empty` may be read by kernels."""
    if array.size:
        _runtime().shim_filled(array.ctypes.data, int(read_only))


def intact(array: Any) -> bool:
    """Has nobody written beside this array? (The least that can be said of kernels that are not `checked`.)"""
    return not array.size or bool(_runtime().shim_intact(array.ctypes.data))


def _release(address: int) -> None:
    free(address)


# --- kernels ---------------------------------------------------------------------------------------------------------


class Function:
    """A kernel, called as CuPy's are."""

    def __init__(self, name: str, enter: Any, sizes: list[int]) -> None:
        self.name, self._enter, self.sizes = name, enter, sizes  # sizes: bytes of each argument
        self._lenient = int(LENIENT.match(name) is not None)

    def __call__(
        self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], shared_mem: int = 0, *, schedule: int = 0
    ) -> None:
        """Run it. Raises ShimError with what went wrong first, and where."""
        kept = [_argument(a) for a in args]
        pointers = (ctypes.c_void_p * len(kept))(*[a.ctypes.data for a in kept])
        self.raw(grid, block, ctypes.addressof(pointers), shared_mem, schedule=schedule)

    def raw(
        self, grid: Sequence[int], block: Sequence[int], params: int, shared_mem: int = 0, *, schedule: int = 0
    ) -> None:
        """The same, where `params` is the address of an array of the arguments' addresses, as the driver takes it."""
        launch = _Launch(_Triple(*_three(grid)), _Triple(*_three(block)), schedule, self._lenient, shared_mem)
        error = self._enter(ctypes.byref(launch), params)
        if error:
            raise ShimError(f"{self.name}: {error.decode()}")


def frozen(sizes: Sequence[int], params: int) -> Any:
    """A copy of arguments as the driver takes them: an array of addresses, kept alive by what else is returned."""
    addresses = (ctypes.c_void_p * len(sizes)).from_address(params)
    copies = [ctypes.create_string_buffer(ctypes.string_at(a, n), n) for a, n in zip(addresses, sizes, strict=True)]
    return (ctypes.c_void_p * len(sizes))(*[ctypes.addressof(c) for c in copies]), copies


class Module:
    """Compiled kernels."""

    def __init__(self, library: Path, names: dict[str, str]) -> None:
        _runtime()
        self._library, self.names = ctypes.PyDLL(str(library)), names

    def function(self, name: str) -> Function:
        """The kernel of this name; of a template, the expression given to `load`."""
        enter = getattr(self._library, f"shim_enter_{self.names[name]}")
        enter.restype, enter.argtypes = ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_void_p]
        sizes = getattr(self._library, f"shim_sizes_{self.names[name]}")
        sizes.restype = ctypes.POINTER(ctypes.c_int)
        return Function(name, enter, list(itertools.takewhile(bool, sizes())))

    get_function = function


def load(
    source: str, options: Sequence[str] = (), *, names: Sequence[str] = (), checked: bool = False, optimise: str = ""
) -> Module:
    """Compile CUDA C++ text. `names`: the instances of kernel templates that are wanted, as `scale<float>`.

    Headers of CUDA itself are taken where `options` name a folder with them (-I); our own kernels need none.
    Raises ShimError with the compiler's words.
    """
    text, exported = _translate(source, names)
    flags = [*FLAGS, optimise or ("-O1" if checked else "-O2"), *options, f"-I{HERE / 'include'}"]
    flags += ["-fsanitize=thread"] if checked else []
    library = _build(text, tuple(flags))
    return Module(library, exported)


def _translate(source: str, names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The only changes to a text: where dynamic shared memory comes from, and a way in for each kernel."""
    found = [match.group(2) for match in _KERNEL.finditer(source) if not match.group(1)]
    exported = {name: re.sub(r"\W", "_", name) for name in [*dict.fromkeys(found), *names]}
    body = _DYNAMIC.sub(r"\1* \2 = (\1*)shim_dynamic_shared;", source)
    entries = "".join(
        f'extern "C" const char* shim_enter_{safe}(Launch* launch, void** args) '
        f"{{ return shim::enter(launch, &{name}, args); }}\n"
        f'extern "C" const int* shim_sizes_{safe}() {{ return shim::sizes(&{name}); }}\n'
        for name, safe in exported.items()
    )
    return f'#include "shim.h"\n#line 1 "kernel.cu"\n{body}\n{entries}', exported


def _build(text: str, flags: tuple[str, ...]) -> Path:
    """Compile to an object, then link without the sanitizer's library: the runtime takes its place."""
    key = hashlib.sha256("\0".join([text, *flags, _headers(), _compiler()]).encode()).hexdigest()[:32]
    library = cache() / f"{key}.so"
    if not library.exists():
        scratch = cache() / f"{key}.{os.getpid()}.{next(_counter)}"
        header = [f"-I{_precompiled(flags)}"] if '#include "shim.h"' in text else []
        _run(["g++", *header, *flags, "-x", "c++", "-c", "-", "-o", f"{scratch}.o"], text)
        _run(["g++", "-shared", f"{scratch}.o", "-o", f"{scratch}.so"], "")
        os.replace(f"{scratch}.so", library)
        os.unlink(f"{scratch}.o")
    return library


@functools.cache
def _precompiled(flags: tuple[str, ...]) -> Path:
    """A folder with shim.h as g++ has read it, with these flags: most of the time of a small kernel goes there."""
    key = hashlib.sha256("\0".join([*flags, _headers(), _compiler(), "header"]).encode()).hexdigest()[:32]
    folder = cache() / f"{key}.header"
    if not (folder / "shim.h.gch").exists():
        folder.mkdir(exist_ok=True)
        scratch = folder / f"{os.getpid()}.{next(_counter)}"
        _run(["g++", *flags, "-x", "c++-header", str(HERE / "include" / "shim.h"), "-o", str(scratch)], "")
        os.replace(scratch, folder / "shim.h.gch")
    return folder


_counter = itertools.count()


def _run(command: list[str], text: str) -> None:
    done = subprocess.run(command, input=text, text=True, capture_output=True)
    if done.returncode:
        raise ShimError(f"g++: {done.stderr[:4000]}")


@functools.cache
def _headers() -> str:
    return "".join(path.read_text() for path in [HERE / "launch.h", *sorted((HERE / "include").iterdir())])


@functools.cache
def _compiler() -> str:
    return subprocess.run(["g++", "-march=native", "-Q", "--help=target"], capture_output=True, text=True).stdout


@functools.cache
def cache() -> Path:
    """Where compiled kernels are kept."""
    path = user_cache_path("chainrule") / "shim"
    path.mkdir(parents=True, exist_ok=True)
    return path


@functools.cache
def _runtime() -> Any:
    """The runtime, loaded so that kernels find it."""
    text = (HERE / "runtime.cpp").read_text()
    library = _build(text, ("-std=c++17", "-O2", "-fPIC", f"-I{HERE}"))
    runtime = ctypes.PyDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    runtime.shim_allocate.restype, runtime.shim_allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t, ctypes.c_size_t]
    runtime.shim_free.argtypes = [ctypes.c_void_p]
    runtime.shim_filled.argtypes = [ctypes.c_void_p, ctypes.c_int]
    runtime.shim_intact.argtypes = [ctypes.c_void_p]
    return runtime


class _Triple(ctypes.Structure):
    _fields_ = [("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint)]


class _Launch(ctypes.Structure):
    _fields_ = [
        ("grid", _Triple), ("block", _Triple), ("schedule", ctypes.c_int), ("lenient", ctypes.c_int),
        ("shared_bytes", ctypes.c_size_t), ("shared_begin", ctypes.c_void_p), ("shared_end", ctypes.c_void_p),
        ("body", ctypes.c_void_p), ("argument", ctypes.c_void_p),
    ]  # fmt: skip


def _three(sides: Sequence[int]) -> tuple[int, ...]:
    return (*map(int, sides), 1, 1)[:3]


def _argument(a: Any) -> Any:
    """An array of one number, whose memory the kernel reads."""
    if a is None:
        return np.array(0, np.uint64)
    if isinstance(a, np.ndarray) and a.ndim and not a.dtype.names:
        if not a.flags.c_contiguous:
            raise ShimError("an argument is not C-contiguous")
        return np.array(a.ctypes.data, np.uint64)
    if isinstance(a, int):
        return np.array(a, np.int64)
    if not isinstance(a, np.generic | np.ndarray):
        raise ShimError(f"an argument is a {type(a).__name__}: pass arrays, NumPy scalars or integers")
    return np.asarray(a)
