"""How a CPU kernel becomes machine code, and where that is kept.

A kernel is a serial Numba function that does part number `part` of some work (`threads.launch` runs the parts):

    @kernel
    def scale(block, part):
        x, y, rows = array_at(block, 0, float32), array_at(block, 2, float32), number_at(block, 4)
        ...

`block` is the address of its arguments, which `launch(scale, parts, x, y, rows)` lays out: an array takes two slots
(address, size), a number one. So every kernel has the one signature void(int64, int64): a single driver runs them all,
no array type specialises anything, and a kernel is nothing but machine code. That is what the cache holds. Loading it
takes a millisecond, because Numba's compiler (0.4 s to set up) is not asked; it works at the first cold call only.

Kernels allocate nothing: their scratch is an argument, or `stack` memory.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import functools
import hashlib
import inspect
import operator
import os
import platform
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
import platformdirs
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, make_attribute_wrapper, models, register_model

from engine.forks import cached_property, lock

from .objects import immortal

ENABLED = not numba.config.DISABLE_JIT  # under NUMBA_DISABLE_JIT=1 callers run their plain references instead
COLD_SECONDS = 10  # what the whole set takes on a laptop: told to the user, never used
OPTIONS = {"error_model": "numpy", "fastmath": False, "boundscheck": False, "_nrt": False}  # no counted references
KEPT = 8  # versions of one kernel that stay in the cache

device = numba.njit(**OPTIONS)  # for a function that only kernels call: it becomes part of them


class Kernel:
    """A function and, from the first call on, the address of its machine code."""

    def __init__(self, function: Callable[..., Any], name: str, arguments: int = 2, result: Any = types.void) -> None:
        self.function, self.name = function, name
        self.signature = result(*[types.int64] * arguments)
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    def __call__(self, *args: int) -> None:
        """Run it here and now; `threads.launch` is the usual way in."""
        self.entry(*args)

    @cached_property
    def entry(self) -> Callable[..., None]:
        return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(self.signature.args))(self.address)

    @cached_property
    def address(self) -> int:
        with _lock:  # two Python threads may meet here: the second finds what the first has made
            if "address" not in vars(self):
                vars(self)["address"] = self._made()
            return int(vars(self)["address"])

    def _made(self) -> int:
        path = cache_folder() / f"{self.name}-{_digest(self)[:24]}.kernel"
        machine_code = _read(path)
        if machine_code is None:
            _announce()
            machine_code = _compile(self)
            _write(path, machine_code)
        return _load(machine_code)


def kernel(function: Callable[..., None], name: str | None = None) -> Kernel:
    """Mark `function(block, part)` as a kernel. `name` tells apart the kernels that one factory makes."""
    return Kernel(function, name or function.__name__)


_lock = lock()  # of Numba and LLVM, too: nobody is in there while this process is forked


# --- compiling and loading -------------------------------------------------------------------------------------------


def _compile(kernel: Kernel) -> bytes:
    """Symbol and object code, through Numba."""
    compiled = numba.cfunc(kernel.signature, **OPTIONS)(kernel.function)
    _, _, (object_code, _) = compiled._library.serialize_using_object_code()
    return compiled.native_name.encode() + b"\n" + bytes(object_code)


def _load(machine_code: bytes) -> int:
    """Link object code into this process; the address of its symbol."""
    symbol, _, object_code = machine_code.partition(b"\n")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(object_code))
    engine.finalize_object()
    immortal(engine)  # it owns the code
    return int(engine.get_function_address(symbol.decode()))


@functools.cache
def cpu_name_and_features() -> tuple[str, str]:
    """The processor that Numba compiles for, such as ("znver3", "+avx2,+fma,...")."""
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    return name, features


# --- the cache -------------------------------------------------------------------------------------------------------


@functools.cache
def cache_folder() -> Path:
    """`<user cache>/chainrule/kernels`. Whoever deletes it pays one compilation."""
    return Path(platformdirs.user_cache_dir("chainrule", appauthor=False)) / "kernels"


@functools.cache
def _sources(path: Path) -> frozenset[Path]:
    """A kernel's source and all that it imports from this folder, directly or not: all the code that it may call."""
    found, waiting = {path}, [path]
    while waiting:
        for node in ast.walk(ast.parse(waiting.pop().read_bytes())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                near = {Path(__file__).with_name(name.rpartition(".")[2] + ".py") for name in names}
                new = {other for other in near if other.is_file()} - found
                found |= new
                waiting += new
    return frozenset(found)


def _digest(kernel: Kernel) -> str:
    """All that the machine code depends on."""
    digest = hashlib.sha256(kernel.function.__code__.co_code)
    source = Path(inspect.getfile(kernel.function))
    for path in sorted(_sources(source) if source.is_file() else _sources(Path(__file__))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    versions = numba.__version__, llvmlite.__version__, np.__version__, sys.version_info[:3], platform.machine()
    digest.update(repr((versions, OPTIONS, kernel.name, kernel.signature, cpu_name_and_features())).encode())
    return digest.hexdigest()


def _read(path: Path) -> bytes | None:
    """What was kept, or None: missing, unreadable, cut short or damaged."""
    try:
        checksum, _, machine_code = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    return machine_code if checksum == hashlib.sha256(machine_code).hexdigest().encode() else None


def _write(path: Path, machine_code: bytes) -> None:
    """Keep it, in one step for whoever reads meanwhile. A folder that is read-only or full costs speed only."""
    part = path.with_suffix(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(hashlib.sha256(machine_code).hexdigest().encode() + b"\n" + machine_code)
        part.replace(path)
        name = path.name.rpartition("-")[0]
        for old in sorted(path.parent.glob(f"{name}-*.kernel"), key=lambda p: p.stat().st_mtime)[:-KEPT]:
            old.unlink()
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@functools.cache
def _announce() -> None:
    """Say, once per process, why this call takes seconds."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = os.access(folder, os.W_OK)
    except OSError:
        kept = False
    where = f"cached in {folder}" if kept else f"not cached: {folder} can't be written"
    print(f"chainrule: compiling CPU kernels once for this machine (about {COLD_SECONDS} s), {where}", file=sys.stderr)


# --- words for use inside kernels ------------------------------------------------------------------------------------


def stack(size: int) -> Callable[[], int]:
    """A function for use inside kernels: the address of `size` bytes on the stack, gone when the kernel returns."""

    @intrinsic
    def reserve(typing: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            with builder.goto_entry_block():
                memory = builder.alloca(ir.ArrayType(ir.IntType(8), size))
                memory.align = 64  # any vector's
            return builder.ptrtoint(memory, ir.IntType(64))

        return types.int64(), generate

    return reserve


pointer = types.CPointer  # type: ignore[attr-defined]


class Span(types.Type):
    """Numbers in a row: `span[i]`, `span[i] = value`, `span[start:stop]`, `span.size`.

    An array less what kernels don't need: indices count from the start, only the end of a slice is checked.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(f"Span({dtype})")


@register_model(Span)
class _SpanModel(models.StructModel):
    def __init__(self, manager: Any, span: Span) -> None:
        super().__init__(manager, span, [("data", pointer(span.dtype)), ("size", types.int64)])


make_attribute_wrapper(Span, "size", "size")


@intrinsic
def view(typing: Any, address: Any, size: Any, dtype: Any) -> Any:
    """`size` numbers of `dtype`, a NumPy type, at `address`."""
    result = Span(dtype.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        span = cgutils.create_struct_proxy(result)(context, builder)
        span.data = builder.inttoptr(args[0], context.get_value_type(pointer(result.dtype)))
        span.size = args[1]
        return span._getvalue()

    return result(types.int64, types.int64, dtype), generate


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        span, index = args
        if isinstance(span, Span) and isinstance(index, types.Integer):
            return span.dtype(span, types.int64)
        if isinstance(span, Span) and index == types.slice2_type:
            return span(span, index)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        span, _, _ = args
        return types.void(span, types.int64, span.dtype) if isinstance(span, Span) else None


@lower_builtin(operator.getitem, Span, types.Integer)
def _get(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    span = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
    return builder.load(builder.gep(span.data, [args[1]]))


@lower_builtin(operator.getitem, Span, types.slice2_type)
def _slice(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    whole = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
    bounds = context.make_helper(builder, signature.args[1], args[1])
    beyond = builder.icmp_signed(">", bounds.stop, whole.size)
    span = cgutils.create_struct_proxy(signature.args[0])(context, builder)
    span.data = builder.gep(whole.data, [bounds.start])
    span.size = builder.sub(builder.select(beyond, whole.size, bounds.stop), bounds.start)
    return span._getvalue()


@lower_builtin(operator.setitem, Span, types.Integer, types.Any)
def _set(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    span = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
    builder.store(args[2], builder.gep(span.data, [args[1]]))


I64, F64 = ir.IntType(64), ir.DoubleType()


def _slot(builder: Any, place: Any, kind: Any) -> Any:
    """Load from an argument block; place = (block, slot)."""
    block, slot = place
    address = builder.add(block, builder.mul(slot, I64(8)))
    return builder.load(builder.inttoptr(address, kind.as_pointer()))


@intrinsic
def array_at(typing: Any, block: Any, slot: Any, dtype: Any) -> Any:
    """The array of an argument block that lies in `slot` and `slot + 1`."""
    result = Span(dtype.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block, slot, _ = args
        span = cgutils.create_struct_proxy(result)(context, builder)
        address = _slot(builder, (block, slot), I64)
        span.data = builder.inttoptr(address, context.get_value_type(pointer(result.dtype)))
        span.size = _slot(builder, (block, builder.add(slot, I64(1))), I64)
        return span._getvalue()

    return result(types.int64, types.int64, dtype), generate


@intrinsic
def number_at(typing: Any, block: Any, slot: Any) -> Any:
    """The integer in `slot` of an argument block; for an array, its address."""
    return types.int64(types.int64, types.int64), lambda _, builder, __, at: _slot(builder, at, I64)


@intrinsic
def real_at(typing: Any, block: Any, slot: Any) -> Any:
    """The float64 in `slot` of an argument block."""
    return types.float64(types.int64, types.int64), lambda _, builder, __, at: _slot(builder, at, F64)


@intrinsic
def invoke(typing: Any, address: Any, given: Any) -> Any:
    """Call the function of C at an address, of whole numbers; the one that it gives back, if it gives one."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = cgutils.unpack_tuple(builder, args[1])
        words = [context.cast(builder, v, t, types.int64) for v, t in zip(values, given, strict=True)]
        function = ir.FunctionType(I64, [I64] * len(words)).as_pointer()
        return builder.call(builder.inttoptr(args[0], function), words)

    return types.int64(types.int64, given), generate
