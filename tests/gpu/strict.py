"""A stand-in for CuPy on NumPy that is stricter than CuPy: layer A of docs/gpu.md.

An array of it holds a NumPy array in `_raw`, and lets nothing through that CuPy would refuse, copy between host and
device behind the caller's back, or answer differently: implicit conversion, NumPy arrays as operands or indices,
functions and keywords that CuPy lacks (cupy_names.json is CuPy's own list), an assignment to one element twice. Memory
that nobody wrote to holds NaN. Everything that crosses between host and device, or waits, is counted in `crossings`.

It says nothing about kernels: those of the CPU run on the raw arrays, and formulas as NumPy runs them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from engine.backends.assign import assign_last
from engine.backends.cpu import cpu

CUPY = json.loads((Path(__file__).parent / "cupy_names.json").read_text())
UFUNC_KEYWORDS = {"out", "dtype", "casting"}
ACCUMULATE = {"add", "multiply"}
crossings: Counter[str] = Counter()  # "to host", "to device", "wait"


class Refused(TypeError):
    """What CuPy would refuse, or do in a way that must not go unnoticed."""


class ndarray:
    """Looks like cupy.ndarray."""

    __slots__ = ("__weakref__", "_owner", "_raw")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, raw: np.ndarray, owner: ndarray | None = None) -> None:
        self._raw, self._owner = raw, owner

    # -- out of the device: said aloud, and counted
    def get(self) -> np.ndarray:
        crossings["to host"] += 1
        return self._raw.copy()

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __index__(self) -> int:
        raise Refused("a device array can't be an index of Python's: only integer scalar arrays can be converted")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise Refused("implicit conversion of a device array to NumPy: use the backend's to_numpy")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise Refused(f"np.{function.__name__} was given a device array: call the backend's namespace, xp")

    __array_ufunc__ = None  # NumPy array + device array: TypeError

    # -- facts
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"data": self._raw.__array_interface__["data"]}

    def __getattr__(self, name: str) -> Any:
        if name in CUPY["methods"]:
            return self._method(name)
        if name in ("T", "mT", "real", "imag"):
            return wrap(getattr(self._raw, name), self)
        if name in CUPY["attributes"]:
            return getattr(self._raw, name)
        raise AttributeError(f"cupy.ndarray has no attribute '{name}'")

    def _method(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            check_keywords(f"ndarray.{name}", CUPY["methods"][name], args, options)
            if name == "nonzero":
                crossings["wait"] += 1
            if name == "take":
                args = (ndarray(wrapped(raw(args[0]), self.shape, options.get("axis"))), *args[1:])
            with np.errstate(all="ignore"):
                got = getattr(self._raw, name)(*map(raw, args), **{k: raw(v) for k, v in options.items()})
            return wrap(got, self)

        return call

    @property
    def base(self) -> ndarray | None:
        return self._owner

    @property
    def flags(self) -> Any:
        f = self._raw.flags
        return SimpleNamespace(c_contiguous=f.c_contiguous, f_contiguous=f.f_contiguous, owndata=self._owner is None)

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=0)

    def __len__(self) -> int:
        return len(self._raw)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self._raw)))

    def __repr__(self) -> str:
        return f"strict.{self._raw!r}"

    # -- indexing
    def __getitem__(self, index: Any) -> Any:
        key = checked_index(index, self._raw.shape)
        return wrap(self._raw[key], self)

    def __setitem__(self, index: Any, values: Any) -> None:
        key = checked_index(index, self._raw.shape)
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(p, np.ndarray) and p.dtype != bool for p in parts):
            places = np.arange(self._raw.size).reshape(self._raw.shape)[key]
            if np.unique(places).size != places.size:
                raise Refused("an element is assigned to twice: on a GPU any of the values may stay")
        self._raw[key] = raw(values)


def _binary(ufunc: str) -> tuple[Any, Any, Any]:
    def forward(self: ndarray, other: Any) -> Any:
        return getattr(xp, ufunc)(self, other) if is_operand(other) else NotImplemented

    def backward(self: ndarray, other: Any) -> Any:
        return getattr(xp, ufunc)(other, self) if is_operand(other) else NotImplemented

    def in_place(self: ndarray, other: Any) -> Any:
        return getattr(xp, ufunc)(self, other, out=self) if is_operand(other) else NotImplemented

    return forward, backward, in_place


def is_operand(x: Any) -> bool:
    return isinstance(x, (ndarray, bool, int, float, np.generic))


for _word, _ufunc in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}.items():  # fmt: skip
    for _prefix, _function in zip(("", "r", "i"), _binary(_ufunc), strict=True):
        setattr(ndarray, f"__{_prefix}{_word}__", _function)
for _word, _ufunc in {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal"
}.items():  # fmt: skip
    setattr(ndarray, f"__{_word}__", _binary(_ufunc)[0])
for _word, _ufunc in {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_word}__", lambda self, ufunc=_ufunc: getattr(xp, ufunc)(self))


# ------------------------------------------------------------------------------------------------ in and out
def wrap(got: Any, source: Any = None) -> Any:
    """NumPy's results as device arrays; what has no axes stays an array."""
    if isinstance(got, (tuple, list)):
        return type(got)(wrap(part, source) for part in got)
    if not isinstance(got, (np.ndarray, np.generic)):
        return got
    array = np.asarray(got)
    view = isinstance(source, ndarray) and array.base is not None and np.may_share_memory(array, source._raw)
    return ndarray(array, (source if source._owner is None else source._owner) if view else None)


def raw(x: Any) -> Any:
    if isinstance(x, ndarray):
        return x._raw
    if isinstance(x, np.ndarray):
        raise Refused("Unsupported type <class 'numpy.ndarray'>: it has to be moved to the device first")
    if isinstance(x, (tuple, list)):
        return type(x)(map(raw, x))
    return x


def checked_index(index: Any, shape: tuple[int, ...]) -> Any:
    """As NumPy takes it. Numbers outside of their axis wrap, as in CuPy's kernels: they were to be checked before."""
    parts = list(index) if isinstance(index, tuple) else [index]
    key: list[Any] = []
    named = sum(p._raw.ndim if _mask(p) else 1 for p in parts if p is not None and p is not Ellipsis)
    axis = 0
    for p in parts:
        if isinstance(p, (np.ndarray, list)):
            raise Refused(f"an index of type {type(p).__name__} is copied to the device behind your back")
        if _mask(p):
            crossings["wait"] += 1  # for the number of elements
        if isinstance(p, ndarray) and not _mask(p):
            key.append(wrapped(p._raw, shape, axis))
        else:
            key.append(p._raw if isinstance(p, ndarray) else p)
        axis += len(shape) - named if p is Ellipsis else 0 if p is None else p._raw.ndim if _mask(p) else 1
    return tuple(key) if isinstance(index, tuple) else key[0]


def _mask(p: Any) -> bool:
    return isinstance(p, ndarray) and p._raw.dtype == bool


def wrapped(indices: Any, shape: tuple[int, ...], axis: int | None) -> Any:
    n = int(np.prod(shape)) if axis is None else shape[axis]
    return indices % n if n and isinstance(indices, np.ndarray) else indices


def check_keywords(name: str, known: list[str] | None, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    if known is None:
        return
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise Refused(f"cupy's {name}() has no keyword '{unknown[0]}', it has {known}")
    if len(args) > len(known) and name != "ndarray.reshape":
        raise Refused(f"cupy's {name}() takes {len(known)} arguments, got {len(args)}")


# ------------------------------------------------------------------------------------------------ the namespace
class Function:
    """One of CuPy's functions: NumPy's of the same name, on raw arrays."""

    def __init__(self, name: str) -> None:
        self.__name__, self.run = name, getattr(np, name)
        self.ufunc = name in CUPY["ufuncs"]

    def __call__(self, *args: Any, **options: Any) -> Any:
        name = self.__name__
        check_keywords(name, sorted(UFUNC_KEYWORDS) if self.ufunc else CUPY["functions"][name], (), options)
        if name in ("nonzero", "unique", "argwhere", "flatnonzero"):
            crossings["wait"] += 1
        if name == "take_along_axis":
            args = (args[0], ndarray(wrapped(raw(args[1]), args[0].shape, args[2])), *args[2:])
        with np.errstate(all="ignore"):
            got = self.run(*map(raw, args), **{k: raw(v) for k, v in options.items()})
        if isinstance(options.get("out"), ndarray):
            return options["out"]
        if name in ("empty", "empty_like"):
            poison(got)
        return wrap(got, args[0] if args else None)

    def at(self, target: ndarray, index: Any, *values: Any) -> None:
        if not CUPY["ufuncs"][self.__name__]:
            raise Refused(f"cupy.{self.__name__}.at is not supported")
        if self.__name__ in ("maximum", "minimum") and target.dtype.name in ("int64", "int8", "uint8", "int16"):
            raise Refused(f"cupy.{self.__name__}.at has no atomic operation for {target.dtype}")
        self.run.at(target._raw, checked_index(index, target.shape), *map(raw, values))

    def accumulate(self, *args: Any, **options: Any) -> Any:
        if self.__name__ not in ACCUMULATE:
            raise Refused(f"cupy.{self.__name__}.accumulate is not supported")
        return wrap(self.run.accumulate(*map(raw, args), **options))


def poison(array: np.ndarray) -> None:
    """What nobody wrote to."""
    array.fill(np.nan if array.dtype.kind == "f" else True if array.dtype == bool else 111)


class Namespace:
    """xp: what cupy has, by its own list, and nothing else."""

    ndarray = ndarray

    def __getattr__(self, name: str) -> Any:
        if name in CUPY["functions"] or name in CUPY["ufuncs"]:
            function = Function(name)
            setattr(self, name, function)
            return function
        if name in CUPY["others"] and hasattr(np, name) and name not in ("random", "linalg", "ogrid", "mgrid"):
            return getattr(np, name)
        raise AttributeError(f"cupy has no attribute '{name}'")

    def array(self, data: Any, dtype: Any = None, copy: bool = True, order: str = "K") -> ndarray:
        if not isinstance(data, ndarray):
            crossings["to device"] += 1
            return ndarray(np.array(data, dtype, order=order))
        return ndarray(np.array(data._raw, dtype, copy=copy or None, order=order))

    def asarray(self, data: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None) -> ndarray:
        if isinstance(data, ndarray) and not copy and dtype in (None, data.dtype):
            return data
        return self.array(data, dtype, copy=bool(copy), order=order or "K")

    def full(self, shape: Any, value: Any, dtype: Any = None) -> ndarray:
        return ndarray(np.full(shape, raw(value), dtype))


xp: Any = Namespace()


# ------------------------------------------------------------------------------------------------ the backend
class Strict:
    """See `engine.backends.protocol.Backend`. Errors of indices come as late as on a GPU: with the next read."""

    name: str

    def __init__(self, number: int = 0) -> None:
        self.name = f"strict:{number}"
        self._wrong: list[Exception] = []

    @property
    def xp(self) -> Any:
        return xp

    def owns(self, array: object) -> bool:
        return isinstance(array, ndarray)

    def asarray(self, data: object, dtype: Any = None, copy: bool | None = None) -> Any:
        return xp.asarray(data, dtype, copy=copy)

    def to_numpy(self, array: Any) -> Any:
        values = array.get()
        self._raise()
        return values

    def compile(self, formula: Any) -> Callable[..., Any]:
        return on_raw_arrays(cpu.compile(formula))

    def compile_update(self, formula: Any) -> Callable[..., None]:
        return on_raw_arrays(cpu.compile_update(formula))

    def kernel(self, module: str, name: str) -> Callable[..., Any]:
        return on_raw_arrays(cpu.kernel(module, name))

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        cpu.scatter_add(target._raw, checked_index(index, target.shape), raw(values))

    def assign(self, target: Any, index: Any, values: Any) -> None:
        assign_last(xp, target, index, values)

    def random_bits(self, seed: int, stream: int, start: int, n: int) -> Any:
        return ndarray(cpu.random_bits(seed, stream, start, n))

    def check_bounds(self, indices: Any, low: int, high: int, explain: Callable[..., Exception]) -> None:
        try:
            cpu.check_bounds(indices._raw, low, high, explain)
        except Exception as problem:
            self._wrong.append(problem)
            indices._raw = np.clip(indices._raw, low, max(low, high - 1))  # a GPU's kernels clamp, too

    @contextmanager
    def _nothing(self) -> Iterator[None]:
        yield

    def active(self) -> Any:
        return self._nothing()

    def synchronize(self) -> None:
        crossings["wait"] += 1
        self._raise()

    def empty_cache(self) -> None:
        pass

    def _raise(self) -> None:
        if self._wrong:
            first = self._wrong[0]
            self._wrong.clear()
            raise first


def on_raw_arrays(run: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        return wrap(run(*map(raw, args), **{k: raw(v) for k, v in options.items()}))

    return call


