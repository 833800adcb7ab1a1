"""A stand-in for CuPy on NumPy that is stricter than CuPy: layer A of docs/gpu.md.

An array of it holds a NumPy array in `_raw`, and lets nothing through that CuPy would refuse, copy between host and
device behind the caller's back, or answer differently: implicit conversion, NumPy arrays as operands or indices,
functions and keywords that CuPy lacks (cupy_names.json is CuPy's own list), an assignment to one element twice. Memory
that nobody wrote to holds NaN. Everything that crosses between host and device, or waits, is counted in `crossings`.

Devices have numbers ("strict:1"), and an array of one is refused while another is current. A graph is a list of the
work that was given while it was recorded: nothing of it is done before the first launch, and each launch does it on the
same memory. What a device could not record, a copy from the host or to it, is refused.

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

from engine import replay
from engine.backends.assign import assign_last
from engine.backends.cpu import cpu
from engine.backends.graph import explain

CUPY = json.loads((Path(__file__).parent / "cupy_names.json").read_text())
UFUNC_KEYWORDS = {"out", "dtype", "casting"}
ACCUMULATE = {"add", "multiply"}
crossings: Counter[str] = Counter()  # "to host", "to device", "wait"
_device = 0  # the number of the current one
_tape: list[Callable[[], Any]] | None = None  # the work of the graph that is being recorded


class Refused(TypeError):
    """What CuPy would refuse, or do in a way that must not go unnoticed."""


def cross(how: str) -> None:
    if _tape is not None:
        raise Refused("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")
    crossings[how] += 1


# ------------------------------------------------------------------------------------------------ work
def made(run: Callable[[], Any], *sources: Any) -> Any:
    """The new arrays that run() makes of `sources`. In a recording their values come with each launch."""
    got = run()
    if _tape is None:
        return got
    memory = [raw(s) for s in _leaves(sources) if isinstance(s, ndarray)]
    got = _each(lambda g: np.asarray(g) if isinstance(g, np.generic) else g, got)
    fresh = [
        (i, p) for i, p in enumerate(_leaves(got))
        if isinstance(p, np.ndarray) and not any(np.may_share_memory(p, m) for m in memory)
    ]  # fmt: skip
    for _, p in fresh:
        p.fill(np.nan if p.dtype.kind == "f" else 0)  # not values: those of indices must do no harm

    def again() -> None:
        values = _leaves(run())
        for i, p in fresh:
            p[...] = values[i]

    if fresh:
        _tape.append(again)
    return got


def written(run: Callable[[], Any]) -> None:
    """Work that writes over arrays. In a recording it is not done."""
    if _tape is None:
        run()
    else:
        _tape.append(run)


def _leaves(tree: Any) -> list[Any]:
    return [leaf for part in tree for leaf in _leaves(part)] if isinstance(tree, (tuple, list)) else [tree]


def _each(change: Callable[[Any], Any], tree: Any) -> Any:
    return type(tree)(_each(change, part) for part in tree) if isinstance(tree, (tuple, list)) else change(tree)


class Tape:
    """See `engine.backends.protocol.Graph`."""

    def __init__(self) -> None:
        self._work: list[Callable[[], Any]] = []

    def made(self, array: ndarray) -> bool:
        return (array if array._owner is None else array._owner)._made_for is self._work

    @contextmanager
    def record(self) -> Iterator[None]:
        global _tape
        _tape = self._work
        try:
            yield
        except BaseException as problem:
            self._work.clear()
            explain(problem)
            raise
        finally:
            _tape = None

    def launch(self) -> None:
        for do in self._work:
            do()


# ------------------------------------------------------------------------------------------------ the array


class ndarray:
    """Looks like cupy.ndarray."""

    __slots__ = ("__weakref__", "_made_for", "_number", "_owner", "_raw")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, raw: np.ndarray, owner: ndarray | None = None) -> None:
        self._raw, self._owner, self._number = raw, owner, _device if owner is None else owner._number
        self._made_for = _tape  # the work of the graph that this memory belongs to

    # -- out of the device: said aloud, and counted
    def get(self) -> np.ndarray:
        cross("to host")
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
                cross("wait")

            def run() -> Any:
                raws = [raw(a) for a in args]
                if name == "take":
                    raws[0] = wrapped(raws[0], self.shape, options.get("axis"))
                with np.errstate(all="ignore"):
                    return getattr(raw(self), name)(*raws, **{k: raw(v) for k, v in options.items()})

            if name in ("fill", "sort", "put"):
                return written(run)
            return wrap(made(run, self, args), self)

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
        return SimpleNamespace(id=self._number)

    def __len__(self) -> int:
        return len(self._raw)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self._raw)))

    def __repr__(self) -> str:
        return f"strict.{self._raw!r}"

    # -- indexing
    def __getitem__(self, index: Any) -> Any:
        return wrap(made(lambda: self._raw[checked_index(index, self._raw.shape)], self), self)

    def __setitem__(self, index: Any, values: Any) -> None:
        def run() -> None:
            key = checked_index(index, self._raw.shape)
            parts = key if isinstance(key, tuple) else (key,)
            if any(isinstance(p, np.ndarray) and p.dtype != bool for p in parts):
                places = np.arange(self._raw.size).reshape(self._raw.shape)[key]
                if np.unique(places).size != places.size:
                    raise Refused("an element is assigned to twice: on a GPU any of the values may stay")
            raw(self)[key] = raw(values)

        raw(values)  # what can't be a value is refused at once
        written(run)


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
        if x._number != _device:
            raise Refused(
                f"array device must be same as the current device: array device = {x._number} while current = {_device}"
            )
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
            cross("wait")  # for the number of elements
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
            cross("wait")

        def run() -> Any:
            raws = [raw(a) for a in args]
            if name == "take_along_axis":
                raws[1] = wrapped(raws[1], raws[0].shape, raws[2])
            with np.errstate(all="ignore"):
                got = self.run(*raws, **{k: raw(v) for k, v in options.items()})
            if name in ("empty", "empty_like"):
                poison(got)
            return got

        if isinstance(options.get("out"), ndarray):
            written(run)
            return options["out"]
        if name == "copyto":
            return written(run)
        return wrap(made(run, args), args[0] if args else None)

    def at(self, target: ndarray, index: Any, *values: Any) -> None:
        if not CUPY["ufuncs"][self.__name__]:
            raise Refused(f"cupy.{self.__name__}.at is not supported")
        if self.__name__ in ("maximum", "minimum") and target.dtype.name in ("int64", "int8", "uint8", "int16"):
            raise Refused(f"cupy.{self.__name__}.at has no atomic operation for {target.dtype}")
        written(lambda: self.run.at(raw(target), checked_index(index, target.shape), *map(raw, values)))

    def accumulate(self, *args: Any, **options: Any) -> Any:
        if self.__name__ not in ACCUMULATE:
            raise Refused(f"cupy.{self.__name__}.accumulate is not supported")
        return wrap(made(lambda: self.run.accumulate(*map(raw, args), **options), args))


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
            cross("to device")
            return ndarray(np.array(data, dtype, order=order))
        return wrap(made(lambda: np.array(data._raw, dtype, copy=copy or None, order=order), data), data)

    def asarray(self, data: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None) -> ndarray:
        if isinstance(data, ndarray) and not copy and dtype in (None, data.dtype):
            return data
        return self.array(data, dtype, copy=bool(copy), order=order or "K")

    def full(self, shape: Any, value: Any, dtype: Any = None) -> ndarray:
        return wrap(made(lambda: np.full(shape, raw(value), dtype), value))


xp: Any = Namespace()


# ------------------------------------------------------------------------------------------------ the backend
class Strict:
    """See `engine.backends.protocol.Backend`. Errors of indices come as late as on a GPU: with the next read."""

    name: str

    def __init__(self, number: int = 0) -> None:
        self.name, self._number = f"strict:{number}", number
        self._wrong: list[Exception] = []

    @property
    def xp(self) -> Any:
        return xp

    def owns(self, array: object) -> bool:
        return isinstance(array, ndarray) and array._number == self._number

    def asarray(self, data: object, dtype: Any = None, copy: bool | None = None) -> Any:
        if not isinstance(data, ndarray):
            replay.refuse(*replay.HOST_VALUES)
        with self.active():
            if isinstance(data, ndarray) and data._number != self._number:  # from device to device
                data = ndarray(data._raw.copy())
            return xp.asarray(data, dtype, copy=copy)

    def to_numpy(self, array: Any) -> Any:
        replay.refuse(*replay.READING)
        values = array.get()
        self._raise()
        return values

    def compile(self, formula: Any) -> Callable[..., Any]:
        return self._launched(cpu.compile(formula))

    def compile_sum(self, formula: Any) -> Callable[..., Any]:
        return self._launched(cpu.compile_sum(formula))

    def _launched(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        run = self._on_raw_arrays(kernel)

        def call(*args: Any, **options: Any) -> Any:
            with self.active():
                return run(*args, **options)

        return call

    def compile_update(self, formula: Any) -> Callable[..., None]:
        update = cpu.compile_update(formula)

        def call(*xs: Any, out: Any) -> None:
            def run() -> None:
                numbers = zip(formula.inputs, map(raw, xs), strict=True)
                update(*(number(x) if name in formula.params else x for name, x in numbers), out=[raw(o) for o in out])

            with self.active():
                written(run)

        return call

    def kernel(self, module: str, name: str) -> Callable[..., Any]:
        return self._on_raw_arrays(cpu.kernel(module, name))

    def _on_raw_arrays(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            def run() -> Any:
                return kernel(*(raw(number(a)) for a in args), **{k: raw(v) for k, v in options.items()})

            if isinstance(options.get("out"), (ndarray, list, tuple)):
                written(run)
                return options["out"]
            return wrap(made(run, args, tuple(options.values())))

        return call

    def scatter_add(self, target: Any, index: Any, values: Any) -> None:
        written(lambda: cpu.scatter_add(raw(target), checked_index(index, target.shape), raw(values)))

    def assign(self, target: Any, index: Any, values: Any) -> None:
        with self.active():
            assign_last(xp, target, index, values)

    def random_bits(self, seed: int, stream: int, start: int, n: int) -> Any:
        with self.active():
            return wrap(made(lambda: cpu.random_bits(seed, number(stream), start, n)))

    def check_bounds(self, indices: Any, low: int, high: int, explain: Callable[..., Exception]) -> None:
        recorded = _tape is not None

        def run() -> None:
            try:
                cpu.check_bounds(indices._raw, low, high, explain)
            except Exception as problem:
                self._wrong.append(problem)
                clamped = np.clip(indices._raw, low, max(low, high - 1))  # a GPU's kernels clamp, too
                if recorded:
                    indices._raw[...] = clamped
                else:
                    indices._raw = clamped

        written(run)

    @contextmanager
    def active(self) -> Iterator[None]:
        global _device
        before, _device = _device, self._number
        try:
            yield
        finally:
            _device = before

    def synchronize(self) -> None:
        replay.refuse(*replay.WAITING)
        cross("wait")
        self._raise()

    def graph(self) -> Tape:
        return Tape()

    def empty_cache(self) -> None:
        pass

    def _raise(self) -> None:
        if self._wrong:
            first = self._wrong[0]
            self._wrong.clear()
            raise first


def number(x: Any) -> Any:
    """A number that lies on the device, as it is when the work is done: what a kernel reads there."""
    if isinstance(x, replay.Word):
        return int(x.memory._raw[0])
    return x.item() if isinstance(x, np.ndarray) and x.shape == (1,) else x
