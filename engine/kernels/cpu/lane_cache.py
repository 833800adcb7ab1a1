"""Formulas as machine code, kept on disk: 5 ms for a new one, a fraction of a millisecond for a known one.

    function(formula, kinds)       a NumPy ufunc that computes the formula in SIMD lanes, or None
    precompile(formulas)           the same for many at once, kept in one file

A kernel is kept under a digest of all that its machine code depends on: the formula, the lane sources, the processor,
the version of LLVM. Losing the folder costs seconds; a folder that can't be written costs them in every process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import platformdirs
from llvmlite import ir

from engine.expr import topological
from engine.forks import lock
from engine.formula import Formula

from . import lane_entry, lane_loop, lane_rows, lanes
from .lane_span import span
from .lane_ufunc import lanes_of, ufunc
from .lane_words import LIBM

HERE = Path(__file__).parent
Key = tuple[str, tuple[str, ...]]  # a formula and what its inputs are

SOURCES = sorted({*HERE.glob("lane*.py"), *(HERE / f"{name}.py" for name in ("buffers", "objects", "team"))})
REGISTER = 32  # bytes
MOST_FILES = 4096  # in the folder; then the older half goes


def enabled() -> bool:
    """Can this process make and run machine code? NUMBA_DISABLE_JIT=1 says no for all of the engine."""
    return os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0") and _machine() is not None


def function(formula: Formula, kinds: Sequence[str], flush: bool = False) -> Any:
    """The formula as a ufunc, or a function like one, of arrays of these kinds: "f", "?" or those of integers.
    None where it has no lane form.

    With `flush`, numbers below the smallest normal one count as 0: moving averages that fade out would else slow down.
    """
    lowered = _lower(formula, lanes.Lowered())
    if lowered is None or not lanes.takes(lowered, kinds):
        return None
    with _lock:
        key = lowered.key, tuple(kinds)  # lowered: the key must change when an op in it was edited
        if key not in _addresses:
            _load([(key, lowered)])
        address = _addresses[key]
    return ufunc(address, _code("lane_loop"), kinds, lanes.kinds_of(lowered, kinds), lanes.words_of(lowered), flush)


def precompile(formulas: Iterable[tuple[Formula, Sequence[str]]]) -> int:
    """Compile or load many formulas as one file; how many of them have a lane form."""
    with _lock:
        done = lanes.Lowered()
        lowered = [(_lower(f, done), tuple(kinds)) for f, kinds in formulas]
        work = {(f.key, kinds): f for f, kinds in lowered if f is not None and lanes.takes(f, kinds)}
        _load([(key, f) for key, f in work.items() if key not in _addresses])
        return len(work)


def _lower(formula: Formula, done: lanes.Lowered) -> Formula | None:
    lowered = lanes.lower(formula, done)
    if lowered is not None and _missing() and any(e.name in _missing() for e in topological(lowered.outs)):
        return None
    return lowered


_lock = lock()
_addresses: dict[Key, int] = {}


# --- machine code ----------------------------------------------------------------------------------------------------


@functools.cache
def _machine() -> Any:
    """LLVM's description of this processor; NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose another, as for Numba."""
    try:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        return llvm.Target.from_default_triple().create_target_machine(
            cpu=cpu()[0], features=cpu()[1], opt=2, codemodel="jitdefault", jit=True
        )
    except RuntimeError:
        return None


@functools.cache
def cpu() -> tuple[str, str]:
    """Name and features, such as ("znver3", "+avx2,+fma,...")."""
    name = os.environ.get("NUMBA_CPU_NAME")
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if name is None:
        return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten() if features is None else features
    return name, features or ""


def width(formula: Formula, kinds: Sequence[str]) -> int:
    """Lanes: several vector registers full, so that one instruction need not wait for the one before."""
    registers = 4 if "+avx2" in cpu()[1].split(",") else 2
    widened = any(e.name == "lane.wide" for e in topological(formula.outs))
    widest = 8 if widened else max(np.dtype(kind).itemsize for kind in (*kinds, *lanes.kinds_of(formula, kinds)))
    return registers * REGISTER // widest


@functools.cache
def _engine() -> Any:
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())


@functools.cache
def _missing() -> frozenset[str]:
    """Words that need a function of the C library which is not to be had here."""
    with _lock:
        _engine()  # from now on LLVM knows the libraries of this process
        return frozenset(word for word, name in LIBM.items() if not llvm.address_of_symbol(name))


@functools.cache
def _code(name: str) -> int:
    """The address of a function that all formulas share: "lane_loop", "lane_rows", "lane_entry".

    LLVM is asked once: another thread may hold its lock at a fork.
    """
    with _lock:
        _link_shared()
        return int(_engine().get_function_address(name))


@functools.cache
def _link_shared() -> None:
    module = _module()
    for write in (lane_loop.loops, lane_rows.rows, lane_entry.entries):
        write(module)
    _link(_kept("shared", lambda: module))


@functools.cache
def short(run: Any, below: int, given: int, read: tuple[int, ...]) -> Callable[..., Any] | None:
    """The short way past a function in lanes, see `lane_entry.entry`; None if it has several results."""
    kinds, _, results = run.types[0].partition("->")
    found = lanes_of(run)
    if found is None or len(results) != 1:
        return None
    codes = _code("lane_entry"), _code("lane_rows")
    return lane_entry.entry(run, found, kinds, results, codes, below, given, read)


def _load(work: Sequence[tuple[Key, Formula]]) -> None:
    """Make the addresses of these formulas known."""
    if not work:
        return
    # A name that no library has: a kernel called "exp" would take the place of the C library's.
    names = ["lane_" + hashlib.sha256(repr(key).encode()).hexdigest()[:24] for key, _ in work]

    def make() -> ir.Module:
        module = _module()
        for name, ((_, kinds), formula) in zip(names, work, strict=True):
            span(module, name, formula, kinds, width(formula, kinds))
        return module

    _link(_kept(repr([key for key, _ in work]), make))
    for name, (key, _) in zip(names, work, strict=True):
        _addresses[key] = int(_engine().get_function_address(name))


def _module() -> ir.Module:
    module = ir.Module("lanes")
    module.triple = llvm.get_process_triple()
    module.data_layout = str(_machine().target_data)
    return module


def _link(machine_code: bytes) -> None:
    _engine().add_object_file(llvm.ObjectFileRef.from_data(machine_code))
    _engine().finalize_object()


# --- the folder ------------------------------------------------------------------------------------------------------


@functools.cache
def cache_folder() -> Path:
    """`<user cache>/chainrule/lanes`."""
    return Path(platformdirs.user_cache_dir("chainrule", appauthor=False)) / "lanes"


@functools.cache
def _origin() -> bytes:
    """What machine code depends on besides its formula."""
    sources = [path.read_bytes() for path in SOURCES]
    return repr((sources, cpu(), llvm.llvm_version_info)).encode()


def _kept(what: str, make: Any) -> bytes:
    """Machine code from the folder, else of the module that `make` makes, and into the folder."""
    path = cache_folder() / f"{hashlib.sha256(_origin() + what.encode()).hexdigest()[:32]}.o"
    try:
        checksum, _, machine_code = path.read_bytes().partition(b"\n")
        if checksum == hashlib.sha256(machine_code).hexdigest().encode():
            return machine_code
    except OSError:
        pass
    # No passes before code generation: equal subexpressions are one already, and LLVM's would take thrice the time.
    machine_code = _machine().emit_object(llvm.parse_assembly(str(make())))
    _keep(path, machine_code)
    return machine_code


def _keep(path: Path, machine_code: bytes) -> None:
    part = path.with_suffix(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(hashlib.sha256(machine_code).hexdigest().encode() + b"\n" + machine_code)
        part.replace(path)  # in one step for whoever reads meanwhile
        files = sorted(path.parent.glob("*.o"), key=lambda p: p.stat().st_mtime)
        for old in files[: MOST_FILES // 2] if len(files) > MOST_FILES else ():
            old.unlink()
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
