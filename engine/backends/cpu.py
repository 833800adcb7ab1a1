"""The CPU: NumPy arrays; formulas as SIMD lanes or NumPy; structured kernels in Numba."""

from __future__ import annotations

import contextlib
import importlib
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np

from .. import expr
from ..dtypes import bool_, float32, is_half, promote
from ..errors import ArgumentError
from ..formula import Formula
from ..kernels.cpu import buffers
from ..kernels.cpu.lane_ufunc import PARALLEL_FROM, gather_team
from ..kernels.cpu.objects import declined
from ..shapes import broadcast_shapes
from .protocol import SMALL, Array, Graph

ndarray = np.ndarray
NOTHING_TO_DO = contextlib.nullcontext()
IN_LANES = frozenset("f" + np.typecodes["AllInteger"])  # kinds of numbers that formulas in lanes may take


class CPU:
    """See `protocol.Backend`."""

    name = "cpu"

    @property
    def xp(self) -> Any:
        return np

    def owns(self, array: object) -> bool:
        return isinstance(array, np.ndarray)

    def asarray(self, data: object, dtype: Any = None, copy: bool | None = None) -> Array:
        array = np.array(data, dtype=dtype, copy=copy)
        return array if array.flags.aligned else array.copy()  # a field of a packed record: kernels step whole numbers

    def to_numpy(self, array: Array) -> Any:
        return array

    def compile(self, formula: Formula) -> Callable[..., Array]:
        return Copy(formula) if _is_identity(formula) else Elementwise(formula)

    def compile_sum(self, formula: Formula) -> Callable[..., Array]:
        return Sum(formula)

    def compile_update(self, formula: Formula) -> Callable[..., None]:
        return Update(formula)

    def kernel(self, module: str, name: str) -> Callable[..., Any]:
        return _kernel(module, name)

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        self.kernel("embedding", "add_at")(target, index, values)

    def assign(self, target: Array, index: Any, values: Array) -> None:
        target[index] = values

    def random_bits(self, seed: int, stream: int, start: int, n: int) -> Array:
        return self.kernel("random", "philox_bits")(seed, stream, start, n)

    def check_bounds(self, indices: Array, low: int, high: int, explain: Callable[..., Exception]) -> None:
        if indices.size >= SMALL:
            inside = self.kernel("bounds", "all_within")(indices, low, high)
        else:
            inside = not indices.size or (indices.min() >= low and indices.max() < high)
        if not inside:
            at = tuple(np.argwhere((indices < low) | (indices >= high))[0].tolist())
            raise explain(at, int(indices[at]))

    def active(self) -> AbstractContextManager[None]:
        return NOTHING_TO_DO

    def synchronize(self) -> None:
        pass

    def graph(self) -> Graph | None:
        return None

    def empty_cache(self) -> None:
        buffers.empty_cache()


@cache
def _kernel(module: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(importlib.import_module(f"engine.kernels.cpu.{module}"), name)
    return found


_lowering = "lanes"


@contextlib.contextmanager
def using(lowering: str) -> Iterator[None]:
    """`with using("numpy"):` formulas run as whole-array operations of NumPy; "lanes": in SIMD lanes where they can."""
    global _lowering
    if lowering not in ("lanes", "numpy"):
        raise ArgumentError(f'using: lowering is \'{lowering}\'; choose "lanes" or "numpy"')
    before, _lowering = _lowering, lowering
    _settle()
    try:
        yield
    finally:
        _lowering = before
        _settle()


def _settle() -> None:
    for kernel in _kernels:
        kernel.ready.clear()
        kernel.short, kernel._short_takes = declined, ""


_kernels: weakref.WeakSet[Elementwise] = weakref.WeakSet()


class Elementwise:
    """A formula, callable on arrays and weak Python scalars of one computing dtype.

    float32, truth values and the bits of integers go to SIMD lanes where they can be built; other dtypes take NumPy's
    whole-array operations.

    short     the short way (`lane_entry`): a function of arrays that are alike or small, in the dtypes met first or in
              float32, and of numbers beside float32; of anything else it makes NotImplemented. Shapes that don't
              broadcast raise ValueError. Where the inputs stand among values that the formula does not read, `given`
              is how many there are, `read` the inputs' places
    ready     functions by kinds of inputs (dtypes, and types of Python numbers), as far as met. Where no array has an
              axis they return NumPy's scalars. Inputs of `SMALL` elements or more are better given to `large`
    """

    def __init__(self, formula: Formula, flush: bool = False) -> None:
        self.formula, self.flush = formula, flush
        self.short: Callable[..., Any] = declined
        self._short_takes = ""  # kinds of inputs
        self.given, self.read = len(formula.inputs), range(len(formula.inputs))
        self._numpy: dict[Any, Callable[..., Any]] = {}
        self._lanes: dict[tuple[str, ...], Callable[..., Any] | None] = {}  # by what the inputs are
        self._results: dict[Callable[..., Any], list[Any]] = {}  # of a function in lanes: its results' dtypes
        self.ready: dict[Any, Callable[..., Any]] = {}
        _kernels.add(self)

    def __call__(self, *xs: Any) -> Any:
        """One array, or a tuple where the formula has several results."""
        kinds = tuple([x.dtype if type(x) is ndarray else type(x) for x in xs])
        run = self.ready.get(kinds)
        if run is None:
            self.prepare(kinds, xs)
            run = self.ready[kinds]
        return self.large(run, xs)

    def prepare(self, kinds: tuple[Any, ...], xs: Sequence[Any]) -> None:
        """Have a function ready for inputs of these kinds (dtypes, and types of Python numbers), as xs are."""
        run = self.lanes(xs)
        self.ready[kinds] = run or self.numpy(xs)
        if run is not None:
            takes = run.types[0].partition("->")[0]
            if self.short is declined or ("f" in takes and "f" not in self._short_takes):
                self.short, self._short_takes = _short(run, self.given, self.read), takes

    def large(self, run: Any, xs: Sequence[Any]) -> Any:
        """run(*xs) where it may pay to use memory again, and several cores."""
        dtypes = self._results.get(run)
        if dtypes is None:
            return _as_arrays(run(*xs))
        arrays = [x for x in xs if type(x) is ndarray]
        if math.prod([x.size for x in arrays]) < SMALL:  # at most so many elements, if shapes broadcast
            return _as_arrays(run(*xs))
        shape = broadcast_shapes(*[x.shape for x in arrays])
        if (size := math.prod(shape)) < SMALL:
            return _as_arrays(run(*xs))
        xs = [_kernel("copy", "unturned")(x) if type(x) is ndarray else x for x in xs]
        _kernel("lane_entry", "prepare_large")()
        if size >= PARALLEL_FROM:
            gather_team()
        if len(arrays) == len(xs) or "f" in run.types[0]:  # a number beside integers: not the short way's
            y = _short(run, len(xs), range(len(xs)))(*xs)
            if y is not NotImplemented:
                return y
        out = tuple([buffers.empty(shape, dtype) for dtype in dtypes])
        run(*xs, out=out)
        return out[0] if len(out) == 1 else out

    def lanes(self, xs: Sequence[Any]) -> Any:
        """The formula in SIMD lanes, if these inputs are truth values, or numbers of one kind that has lanes, and
        Python scalars and truth values beside them.
        """
        kinds = [x.dtype.char if type(x) is ndarray else "" for x in xs]
        numbers = {kind for kind in kinds if kind and kind != "?"}
        if len(numbers) > 1 or not (numbers or all(kinds)) or not IN_LANES.issuperset(numbers) or _lowering != "lanes":
            return None
        if not all(x.dtype.isnative for x in xs if type(x) is ndarray):
            return None
        key = tuple([kind or next(iter(numbers)) for kind in kinds])
        if key not in self._lanes:
            run = self._lanes[key] = _lane_function(self.formula, key, self.flush)
            if run is not None:
                results = run.types[0].partition("->")[2]
                self._results[run] = [np.dtype(kind) for kind in results]
        return self._lanes[key]

    def numpy(self, xs: Sequence[Any]) -> Callable[..., Any]:
        """The formula as whole-array operations."""
        dtypes = [x.dtype for x in xs if isinstance(x, np.ndarray)]
        dtype = dtypes[0] if len(dtypes) == 1 else promote(*[d for d in dtypes if d != bool_] or dtypes)
        if is_half(dtype):
            return lambda *xs: self._in_float32(dtype, xs)
        if dtype not in self._numpy:
            run = self.formula.numpy(dtype)
            flat = not self.formula.used  # NumPy would return a number
            self._numpy[dtype] = (lambda *xs: np.full(np.broadcast(*xs).shape, run(*xs), dtype)) if flat else run
        return self._numpy[dtype]

    def _in_float32(self, dtype: Any, xs: Sequence[Any]) -> Array:
        """16 bits are storage only: compute in 32, round once."""
        y = self(*(x.astype(float32) if isinstance(x, np.ndarray) and is_half(x.dtype) else x for x in xs))
        if type(y) is tuple:
            return tuple([part if part.dtype == bool_ else part.astype(dtype) for part in y])
        return y if y.dtype == bool_ else y.astype(dtype)


class Copy(Elementwise):
    """y = x, in memory of its own."""

    def large(self, run: Any, xs: Sequence[Any]) -> Any:
        return _kernel("copy", "copied")(xs[0]) if type(xs[0]) is ndarray else super().large(run, xs)


def _is_identity(formula: Formula) -> bool:
    """Is it one word that stands for its argument?"""
    word = formula.outs[0]
    return word.name in expr.ATOMS and expr.ATOMS[word.name].mpmath == "{0}" and len(formula.outs) == 1


def _short(run: Callable[..., Any], given: int, read: Sequence[int]) -> Callable[..., Any]:
    from ..kernels.cpu import lane_cache

    return lane_cache.short(run, SMALL, given, tuple(read)) or declined


def _as_arrays(y: Any) -> Any:
    """NumPy makes scalars of what has no axes; results are arrays."""
    return tuple(map(np.asarray, y)) if type(y) is tuple else np.asarray(y)


class Sum:
    """The sum of a formula over axes: `total(*inputs, axes=, keepdims=False)`. A sum of truth values is a count.

    Large float32 rows are read once (`kernels/cpu/reduce_formula.py`); all else is written out, then summed.
    """

    def __init__(self, formula: Formula) -> None:
        self.each, self.count = Elementwise(formula), formula.boolean
        ones = (expr.make("where", formula.outs[0], 1.0, 0.0),) if self.count else formula.outs
        self._ones = Elementwise(Formula(formula.inputs, ones, formula.params))

    def __call__(self, *xs: Any, axes: tuple[int, ...], keepdims: bool = False) -> Array:
        if axes and max(getattr(x, "size", 1) for x in xs) >= SMALL:
            run = self._ones.lanes(xs)
            y = None if run is None else _kernel("reduce_formula", "total_of")(run, xs, axes, keepdims, self.count)
            if y is not None:
                return y
        return _kernel("reduce", "total")(self.each(*xs), axes, keepdims)


class Update:
    """Several formulas of the same inputs, each written over an array: `update(*inputs, out=arrays)`.

    The arrays may be inputs themselves; all is read before any element of it is written. In float32, numbers below the
    smallest normal one count as 0: moving averages that fade out would else slow the processor down.
    """

    def __init__(self, formula: Formula) -> None:
        self._kernel = Elementwise(formula, flush=True)

    def __call__(self, *xs: Any, out: Sequence[Array]) -> None:
        run = self._kernel.lanes(xs)
        if run is not None:
            gather_team()
            run(*xs, out=tuple(out))
            return
        results = self._kernel.numpy(xs)(*xs)
        new = [np.array(y) for y in (results if isinstance(results, tuple) else (results,))]
        for target, y in zip(out, new, strict=True):
            target[...] = y


def _lane_function(formula: Formula, kinds: tuple[str, ...], flush: bool) -> Any:
    """A ufunc, or None where the formula, the processor or the user's settings call for NumPy."""
    from ..kernels.cpu import lane_cache

    run = lane_cache.function(formula, kinds, flush) if lane_cache.enabled() else None
    if run is None or {*kinds} == {"?"} and "f" in run.types[0].partition("->")[2]:  # truth values make truth values
        return None
    return run


cpu = CPU()
