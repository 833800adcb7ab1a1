"""Structural ops: functions of whole arrays with a vjp beside them, and functions of tensors made of other ops."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from . import integers, precision
from .autograd import ANOMALY, AUTOCAST, RECORDING, Node, check_finite_step, enable_grad, grad, modes
from .backends import Array, get_backend, scalar
from .dtypes import bool_, default_dtype, float32, float64, int64, is_float, is_half, promote
from .errors import ArgumentError, GradientError
from .index import latex_of
from .record import Note, Op, rebuild, record, result_of, unwrap
from .shapes import Signature
from .tensor import Tensor, asarray

MISSING = inspect.Parameter.empty


class StructuralOp(Op):
    """A function of whole arrays. Its body gets this device's arrays and returns y, or (y, aux)."""

    def __init__(
        self, name: str, note: Note, body: Callable[..., Any], shapes: str, options: Mapping[str, Any]
    ) -> None:
        super().__init__(name, note, body)
        self.body = body
        self.signature = Signature.parse(shapes)
        self._any_shape = self.signature.takes_any
        parameters = inspect.signature(body).parameters.values()
        self.inputs = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.integers = integers.declared(body)
        self.required = {name for name, value in self.defaults.items() if value is MISSING}
        self.optional = {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty}
        self.dtype_rule: str = options.get("dtype", "float")
        self.indices: frozenset[str] = frozenset(options.get("indices", ()))
        self.view: bool = options.get("view", False)
        self.composition: Callable[..., Any] | None = options.get("composition")
        self.rule: Callable[..., Any] | None = None
        self.saves: frozenset[str] = frozenset()
        self._keep: tuple[bool, ...] = (True,) * len(self.inputs)  # are an input's values kept for the vjp?
        self._indexed = tuple([name in self.indices for name in self.inputs])
        self.differentiable = self.composition is not None
        self.__doc__ = body.__doc__
        self.__signature__ = inspect.signature(body)
        self.__wrapped__ = body

    def vjp(self, rule: Callable[..., Any] | None = None, *, saves: Sequence[str] | None = None) -> Any:
        """Decorator for the op's vjp. What it reads is kept until backward; `saves` names it where reading is
        only of shapes.
        """
        if rule is None:
            return lambda f: self.vjp(f, saves=saves)
        self.rule = rule
        self.saves = frozenset(_variables_read(rule) if saves is None else saves)
        self._keep = tuple([self.composition is not None or name in self.saves for name in self.inputs])
        self.differentiable = True
        return rule

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        if len(args) != len(self.inputs) or self.variadic or not params.keys() <= self.defaults.keys():
            args, params = self._bind(args, params)
        elif len(params) < len(self.defaults):
            params = self._completed(params)
        for name, usual, kinds in self.integers:
            if (type(params[name]) is not int or "int" not in kinds) and params[name] is not usual:
                params = integers.checked(self.name, self.integers, params)
                break
        now = modes().value
        usual = self._usual(args) if now <= RECORDING else None
        tensors: Sequence[Tensor | None]
        if usual is not None:
            arrays, tensors, out = usual, args, self.body(*usual, **params)
            y, aux = out if type(out) is tuple else (out, None)
        else:
            arrays, tensors, y, aux = self._with_care(args, params, now)
        if isinstance(y, np.generic):  # NumPy makes scalars of what has no axes
            y = np.asarray(y)
        if now & ANOMALY:
            check_finite_step(self.name, "forward", y)
        if now & RECORDING and self.differentiable and is_float(y.dtype) and _any_wanted(tensors):
            keep = self._keep * len(arrays) if self.variadic else self._keep
            result = record(self, y, aux, arrays, tensors, params, keep, "y" in self.saves)
        else:
            result = Tensor(y)
        if self.view and tensors[0] is not None and _aliases(y, arrays[0]):
            result.share_storage(tensors[0])
        return result

    def _usual(self, args: Sequence[Any]) -> list[Any] | None:
        """The arrays of tensors on the CPU whose floats are all float32, or all float64; None where there is more to
        think about.
        """
        arrays: list[Any] = []
        dtype = None
        for a, is_index in zip(args, repeat(False) if self.variadic else self._indexed):  # noqa: B905 (both are as long)
            if not isinstance(a, Tensor):
                return None
            x = a.data
            if type(x) is not np.ndarray:
                return None
            if not is_index and x.dtype is not dtype:
                if dtype is not None:
                    return None
                dtype = x.dtype
            arrays.append(x)
        if dtype is not float32 and dtype is not float64:
            return None
        if not self._any_shape:
            self.signature.check(self.name, [x.shape for x in arrays])  # type: ignore[union-attr]
        return arrays

    def _with_care(
        self, args: tuple[Any, ...], params: dict[str, Any], now: int
    ) -> tuple[list[Any], Sequence[Tensor | None], Any, Any]:
        """The inputs as promoted, the tensors among them, the result, and aux."""
        if self.note.autocast and now & AUTOCAST:
            args = precision.cast(self.note.autocast, args)
        arrays, tensors, device, _ = unwrap(self.name, args)
        if device == "cpu":
            arrays, y, aux = self._run(arrays, device, params)
        else:
            with get_backend(device).active():
                arrays, y, aux = self._run(arrays, device, params)
        return arrays, tensors, y, aux

    def _run(self, arrays: list[Any], device: str, params: dict[str, Any]) -> tuple[list[Any], Any, Any]:
        """The inputs as promoted, the result, and aux."""
        arrays, half = self._promoted(arrays, device)
        self.signature.check(self.name, [None if a is None else a.shape for a in arrays])  # type: ignore[union-attr]
        if half is None or self.dtype_rule == "any":
            out = self.body(*arrays, **params)
            return arrays, *(out if isinstance(out, tuple) else (out, None))
        # 16 bits are storage: compute in float32, round once
        arrays_32 = [a.astype(float32) if a is not None and is_half(a.dtype) else a for a in arrays]
        out = self.body(*arrays_32, **params)
        y, aux = out if isinstance(out, tuple) else (out, None)
        return arrays, y.astype(half) if is_float(y.dtype) else y, aux

    def _bind(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs in order and parameters complete; inputs may come by name, parameters by position."""
        if self.variadic:
            args, params = _unpacked(args, self.defaults, params)
            if not args:
                raise ArgumentError(f"{self.name}: needs at least one tensor, got none")
        else:
            n = len(self.inputs)
            if len(args) > n:
                names = list(self.defaults)[: len(args) - n]
                if len(args) - n > len(self.defaults):
                    raise ArgumentError(
                        f"{self.name}: takes at most {n + len(self.defaults)} arguments, got {len(args)}"
                    )
                params = dict(zip(names, args[n:], strict=True)) | params
                args = args[:n]
            for name in self.inputs[len(args) :]:
                if name not in params and name not in self.optional:
                    raise ArgumentError(
                        f"{self.name}: input '{name}' is missing; call {self.name}{inspect.signature(self.body)}"
                    )
                args += (params.pop(name, None),)
        unknown = params.keys() - self.defaults.keys()
        if unknown:
            raise ArgumentError(f"{self.name}: unknown argument {sorted(unknown)}; it takes {list(self.defaults)}")
        return args, self._completed(params)

    def _completed(self, params: dict[str, Any]) -> dict[str, Any]:
        """Parameters with the defaults of those that are not given."""
        if self.required and not self.required <= params.keys():
            missing = next(k for k in self.defaults if k in self.required and k not in params)
            raise ArgumentError(
                f"{self.name}: argument {missing}= is missing; call {self.name}{inspect.signature(self.body)}"
            )
        return {**self.defaults, **params}

    def _input_names(self, n: int) -> Sequence[str]:
        return [self.inputs[0]] * n if self.variadic else self.inputs

    def _promoted(self, arrays: list[Any], device: str) -> tuple[list[Any], Any]:
        """Floats to one dtype; integers to the default float where the op computes in floats. Indices stay integers.
        Also the 16-bit dtype among them, if there is one.
        """
        names = self._input_names(len(arrays))
        dtype = None
        for a, n in zip(arrays, names, strict=True):  # the usual case: arrays of one float dtype, and nothing to do
            if isinstance(a, (float, int)):
                break
            if a is not None and n not in self.indices:
                if dtype is not None and a.dtype != dtype:
                    break
                dtype = a.dtype
        else:
            if dtype in (float32, float64):
                return arrays, None
        backend = get_backend(device)
        values = [scalar(backend, a) if isinstance(a, (float, int)) else a for a in arrays]
        mixed = [a.dtype for a, n, raw in zip(values, names, arrays, strict=True)
                 if a is not None and n not in self.indices and not isinstance(raw, (float, int))]  # fmt: skip
        dtype = promote(*mixed) if mixed else default_dtype()
        if self.dtype_rule == "float" and not is_float(dtype):
            dtype = default_dtype()
        elif self.dtype_rule == "number" and dtype == bool_:
            dtype = int64
        cast = [
            a if a is None or n in self.indices or a.dtype == dtype else a.astype(dtype)
            for a, n in zip(values, names, strict=True)
        ]
        return cast, next((a.dtype for a in cast if a is not None and is_half(a.dtype)), None)

    def pull(self, node: Node, g: Any, create_graph: bool) -> Sequence[Any]:
        needs = tuple([p is not None for p in node.parents])
        inputs = rebuild(node, create_graph)
        if self.composition is not None and (create_graph or self.rule is None):
            return self._pull_composition(inputs, needs, g, node.params, create_graph)
        y = result_of(node, create_graph)
        g = g if create_graph else Tensor(g)
        if self.composition is not None and is_half(node.dtype):  # a rule of kernels: 16 bits are storage there too
            g, y, *inputs = (_computing(t) for t in (g, y, *inputs))
        assert self.rule is not None
        cotangents: Any = self.rule(g, y, node.aux, *inputs, needs=needs, **node.params)
        if not isinstance(cotangents, (tuple, list)):
            cotangents = (cotangents,)
        if len(cotangents) != len(inputs):
            raise GradientError(f"the vjp of '{self.name}' gave {len(cotangents)} cotangents for {len(inputs)} inputs")
        if create_graph:
            return list(cotangents)
        return [c.data if isinstance(c, Tensor) else c for c in cotangents]

    def _pull_composition(
        self, inputs: list[Any], needs: Sequence[bool], g: Any, params: dict[str, Any], create_graph: bool
    ) -> list[Any]:
        """Replay the composition on fresh heads of the inputs' own graphs, and differentiate that."""
        from .ops import positive

        assert self.composition is not None
        with enable_grad():
            heads = [positive(x) if n and x.requires_grad else x for x, n in zip(inputs, needs, strict=True)]
            if not create_graph:
                heads = [_detached(x) if n else x for x, n in zip(inputs, needs, strict=True)]
            y = self.composition(*heads, **params)
        wanted = [h for h, n in zip(heads, needs, strict=True) if n]
        pulled = iter(grad(y, wanted, g if create_graph else Tensor(g), create_graph=create_graph, allow_unused=True))
        return [_bare(next(pulled), create_graph) if n else None for n in needs]

    @property
    def latex(self) -> str:
        return latex_of(self.note.definition)


def _unpacked(
    args: tuple[Any, ...], defaults: Mapping[str, Any], params: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """concat([a, b], 1) is concat(a, b, axis=1): one list of inputs, and parameters after it."""
    if not args or not isinstance(args[0], (list, tuple)):
        return args, params
    return tuple(args[0]), dict(zip(defaults, args[1:], strict=False)) | params


def _computing(x: Any) -> Any:
    return Tensor(x.data.astype(float32)) if isinstance(x, Tensor) and is_half(x.dtype) else x


def _detached(x: Tensor) -> Tensor:
    t = x.detach()
    t.requires_grad = True
    return t


def _bare(g: Any, create_graph: bool) -> Any:
    return g if create_graph or g is None else g.data


def _any_wanted(tensors: Sequence[Tensor | None]) -> bool:
    for t in tensors:  # noqa: SIM110 (a generator costs more than the rest)
        if t is not None and t.requires_grad:
            return True
    return False


def _aliases(y: Array, x: Array) -> bool:
    """Is y x itself, or a view of it? By base pointer: NumPy gives every view the array that owns the memory."""
    base = getattr(y, "base", None)
    return y is x or (base is not None and (base is x or base is getattr(x, "base", None)))


def _variables_read(f: Callable[..., Any]) -> set[str]:
    """Names that a function's own code reads."""
    names: set[str] = set(f.__code__.co_cellvars)
    for i in dis.get_instructions(f):
        if i.opname.startswith(("LOAD_FAST", "LOAD_CLOSURE", "LOAD_DEREF")):
            names.update(i.argval if isinstance(i.argval, tuple) else (i.argval,))
    parameters = list(inspect.signature(f).parameters.values())
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL and p.name in names:
            names.add(p.name)
    return names


def op(
    name: str,
    *,
    shapes: str,
    definition: str = "",
    dtype: str = "float",
    indices: Sequence[str] = (),
    view: bool = False,
    composition: Callable[..., Any] | None = None,
    **note: Any,
) -> Callable[[Callable[..., Any]], StructuralOp]:
    """Register a structural op. The decorated body gets arrays and returns y or (y, aux).

    shapes       the shape language, checked at each call
    definition   index notation over the core axes (`engine/index.py`): LaTeX, the tests' oracle, the kernel's contract
    dtype        "float": integers become the default float; "number": booleans count as integers; "any": every dtype
    indices      names of integer inputs, which are neither promoted nor differentiated
    view         the result may share memory with the first input
    composition  a function of tensors that a fused kernel equals; replayed under create_graph
    Further keywords are fields of `Note`: samples, special, invariants, errors, why, source, equations, reference.
    """

    def register(body: Callable[..., Any]) -> StructuralOp:
        options = {"dtype": dtype, "indices": indices, "view": view, "composition": composition}
        return StructuralOp(name, Note(definition=definition, **note), body, shapes, options)

    return register


class CompositeOp(Op):
    """A function of tensors made of other ops; a drawn graph shows those."""

    def __init__(
        self, name: str, note: Note, body: Callable[..., Any], shapes: str, differentiable: bool = True
    ) -> None:
        super().__init__(name, note, body)
        self.body, self.signature, self.differentiable = body, Signature.parse(shapes), differentiable
        self.__doc__, self.__wrapped__, self.__signature__ = body.__doc__, body, inspect.signature(body)
        parameters = self.__signature__.parameters.values()
        self.inputs = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL))
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.integers = integers.declared(body)

    def __call__(self, *args: Any, **params: Any) -> Any:
        """Inputs become tensors; parameters may come by position, after them."""
        n = len(self.inputs)
        if self.variadic:
            args, params = _unpacked(args, self.defaults, params)
        elif len(args) > n:
            if len(args) > n + len(self.defaults):
                raise ArgumentError(f"{self.name}: takes at most {n + len(self.defaults)} arguments, got {len(args)}")
            params = dict(zip(self.defaults, args[n:], strict=False)) | params
            args = args[:n]
        params = integers.checked(self.name, self.integers, params)
        if self.note.autocast and modes().value & AUTOCAST:
            args = precision.cast(self.note.autocast, args)
        if not all(isinstance(a, Tensor) for a in args):
            device = next((a.device for a in args if isinstance(a, Tensor)), None)  # arrays and lists go there too
            args = tuple(a if isinstance(a, (Tensor, str)) or a is None else asarray(a, device=device) for a in args)
        return self.body(*args, **params)

    @property
    def latex(self) -> str:
        return latex_of(self.note.definition)


def composite(
    name: str, *, shapes: str, definition: str = "", differentiable: bool = True, **note: Any
) -> Callable[[Callable[..., Any]], CompositeOp]:
    """Register a function of tensors made of other ops. Keywords as for `op`."""

    def register(body: Callable[..., Any]) -> CompositeOp:
        return CompositeOp(name, Note(definition=definition, **note), body, shapes, differentiable)

    return register
