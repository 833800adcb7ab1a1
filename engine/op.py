"""The record of an operation, and the registry of all of them.

There are three kinds, and each is written in one place:

    elementwise(...)   a formula: `definition` as the textbook has it, `forward` if that is not the stable form, `vjp`
    @op(...)           a function of arrays (a kernel call, or NumPy), with its vjp beside it
    @composite(...)    a function of tensors made of other ops: its derivative follows

From the record come the kernels, the derivative of every order, the shape errors, the tests, the docs page, the drawn graph.

    vjp(g, y, aux, *inputs, needs, **params) -> one cotangent or None per input

g is the cotangent of y. aux is what forward handed over besides y (indices, statistics, a seed); it is not differentiated.
A vjp is written with differentiable ops: recorded, it gives the second derivative; unrecorded, it runs at raw speed. What
a vjp does not read is not kept.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from . import expr
from .autograd import Node as _Node
from .autograd import _anomaly, _recording, check_finite_step, grad
from .backends import Array, backend_of, get_backend
from .dtypes import bool_, canonical, default_dtype, float32, int64, is_float, is_half, promote
from .errors import ArgumentError, DeviceError, DTypeError, ShapeError
from .expr import ATOMS, Atom, Formula, Sym
from .samples import Domain, Draw, Kink, real
from .shapes import Shape, Signature, broadcast_shapes
from .tensor import Tensor, asarray

OPS: dict[str, Op] = {}


@dataclass(frozen=True)
class Note:
    """What the record says besides what runs: for the reader, the docs and the tests."""

    definition: str = ""  # index notation or LaTeX of structural ops
    why: str = ""  # the reason for a stable form, and what it avoids
    source: str = ""  # paper, section, equation
    equations: tuple[str, ...] = ()  # the documents' numbers, e.g. ("E12",)
    special: Mapping[Any, Any] = field(default_factory=dict)
    kinks: Sequence[Kink] = ()
    invariants: Sequence[Callable[..., Any]] = ()
    domain: Sequence[Domain] = ()
    samples: Callable[[Draw], tuple[Sequence[Any], dict[str, Any]]] | None = None  # inputs and params for a test
    errors: Sequence[tuple[Callable[..., Any], str]] = ()  # (a bad call of the op, what the message must match)
    reference: Callable[..., Any] | None = None  # plain NumPy or loops, where index notation can't say it
    letters: Callable[..., Mapping[str, Any]] | None = None  # (*inputs, **params) -> what else the definition's letters stand for


class Op:
    """An operation: callable on tensors, arrays and Python scalars."""

    name: str
    note: Note
    signature: Signature | None = None
    differentiable = True

    def __init__(self, name: str, note: Note, source: Callable[..., Any] | None) -> None:
        if name in OPS:
            raise ValueError(f"there is an op '{name}' already, in {OPS[name].where}: choose another name")
        self.name, self.note, self.__name__ = name, note, name
        code = getattr(inspect.unwrap(source), "__code__", None) if source else None
        frame = sys._getframe(3)
        self.file: str = code.co_filename if code else frame.f_code.co_filename
        self.line: int = code.co_firstlineno if code else frame.f_lineno
        self.__module__ = frame.f_globals.get("__name__", "engine.ops")
        OPS[name] = self

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        raise NotImplementedError

    def pull(self, node: _Node, g: Any, create_graph: bool) -> Sequence[Any]:
        """One cotangent per input, of the cotangent g of the node's result."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<op {self.name}>"


# ------------------------------------------------------------------------------------------------ tensors in and out
def _unwrap(op: str, args: Sequence[Any]) -> tuple[list[Any], list[Tensor | None], str, bool]:
    """Arrays and weak scalars of args, the tensors among them, their device, and whether a gradient is wanted."""
    arrays: list[Any] = []
    tensors: list[Tensor | None] = []
    device: str | None = None
    wanted = False
    for a in args:
        if isinstance(a, Tensor):
            data = a.data
            arrays.append(data)
            tensors.append(a)
            wanted = wanted or a.requires_grad
            name = "cpu" if type(data) is np.ndarray else backend_of(data).name
            if device is not None and name != device:
                raise DeviceError(f"{op}: tensors on '{device}' and '{name}' meet; move one of them with .to(\"{device}\")")
            device = name
        else:
            tensors.append(None)
            arrays.append(a if a is None or type(a) in (float, int, bool) else _foreign(op, a))
    return arrays, tensors, device or "cpu", wanted


def _foreign(op: str, a: Any) -> Any:
    """An argument that is no tensor: an array keeps its dtype, a list takes the default one, a scalar is weak."""
    if isinstance(a, (np.generic, np.ndarray)):
        canonical(a.dtype)
        return a.item() if isinstance(a, np.generic) and a.dtype.kind in "fiub" else a
    if isinstance(a, (list, tuple, range)):
        array = np.asarray([x.data if isinstance(x, Tensor) else x for x in a])
        return array.astype(default_dtype()) if array.dtype == np.float64 else array
    if hasattr(a, "__array__") or hasattr(a, "__dlpack__"):
        return np.asarray(a)
    if isinstance(a, complex):
        raise DTypeError(f"{op}: complex tensors are not supported yet; keep real and imaginary parts as two tensors")
    raise DTypeError(f"{op}: an argument of type {type(a).__name__} is not a tensor, an array or a number; convert it with engine.tensor(...)")


def _record(
    op: Op,
    y: Array,
    aux: Any,
    arrays: Sequence[Any],
    tensors: Sequence[Tensor | None],
    params: dict[str, Any],
    keep: Sequence[bool],
    keep_y: bool,
) -> Tensor:
    """The result as a tensor with its node on the tape."""
    out = Tensor(y)
    out.requires_grad = True
    parents = tuple(None if t is None or not t.requires_grad else _source(t) for t in tensors)
    metas = tuple((np.shape(a), getattr(a, "dtype", None)) for a in arrays)
    saved = tuple(a if k else None for a, k in zip(arrays, keep, strict=True))
    versions = [(t.storage, t.storage.version) for t, k in zip(tensors, keep, strict=True) if k and t is not None]
    if keep_y:
        versions.append((out.storage, out.storage.version))
    out.node = _Node(op, parents, saved, metas, params, y if keep_y else None, aux, tuple(versions), y.shape)
    return out


def _source(t: Tensor) -> _Node | Tensor:
    """Where a cotangent of t goes: the node that made it, or the leaf itself."""
    return t if t.node is None else t.node


def _rebuild(node: _Node, create_graph: bool) -> list[Any]:
    """The inputs a vjp sees: with their graph under create_graph, else bare tensors; a stub where nothing was kept."""
    inputs: list[Any] = []
    for parent, array, (shape, dtype) in zip(node.parents, node.arrays, node.metas, strict=True):
        if array is None:
            inputs.append(Unkept(shape, dtype) if dtype is not None else None)
        elif dtype is None:  # a Python scalar
            inputs.append(array)
        elif create_graph and isinstance(parent, Tensor):
            inputs.append(parent)
        else:
            t = Tensor(array)
            if create_graph and isinstance(parent, _Node):
                t.node, t.requires_grad = parent, True
            inputs.append(t)
    return inputs


def _result(node: _Node, create_graph: bool) -> Any:
    if node.y is None:
        return Unkept(node.shape, None)
    y = Tensor(node.y)
    if create_graph:
        y.node, y.requires_grad = node, True
    return y


class Unkept:
    """Stands for an input whose values the vjp does not read: it has a shape and a dtype, and no data."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Shape, dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)


# ------------------------------------------------------------------------------------------------ elementwise
class ElementwiseOp(Op):
    """A scalar formula applied to every element; inputs broadcast against each other."""

    def __init__(
        self, name: str, note: Note, atom: Atom, inputs: tuple[str, ...], params: dict[str, Any], result: str, condition: str
    ) -> None:
        super().__init__(name, note, None)
        self.inputs, self.params, self.result, self.atom, self.condition = inputs, params, result, atom, condition
        self.differentiable = any(v is not None for v in atom.vjp)
        self._forward_kernels: dict[str, Callable[..., Any]] = {}
        self._pull_kernels: dict[tuple[str, int], Callable[..., Any]] = {}

    # -- the formulas, traced when first wanted
    def _trace(self, f: Callable[..., Any] | None) -> Formula:
        symbols = [expr.var(n) for n in (*self.inputs, *self.params)]
        n = len(self.inputs)
        out = expr.node(self.name, *symbols) if f is None else f(*symbols[:n], **dict(zip(self.params, symbols[n:], strict=True)))
        return Formula((*self.inputs, *self.params), (expr.lift(out),), tuple(self.params))

    @cached_property
    def definition(self) -> Formula:
        """As the textbook has it."""
        return self._trace(self.atom.definition)

    @cached_property
    def forward(self) -> Formula:
        """As it runs: this target's own word for a primitive, else the stable form."""
        return self._trace(None if self.atom.numpy else self.atom.forward or self.atom.definition)

    @cached_property
    def vjps(self) -> list[Formula | None]:
        """The cotangent of each input, as a formula of g, the inputs and y; only what it uses is among its inputs."""
        names = ("g", *self.inputs, *self.params, "y")
        symbols = {n: expr.var(n) for n in names}
        head = [symbols[n] for n in ("g", *self.inputs, "y")]
        keywords = {p: symbols[p] for p in self.params}
        outs = [None if rule is None else expr.lift(rule(*head, **keywords)) for rule in self.atom.vjp]
        return [None if out is None else _only_used(Formula(names, (out,), tuple(self.params))) for out in outs]

    @cached_property
    def keep(self) -> tuple[bool, ...]:
        """Per input: does some vjp read its values?"""
        return tuple(any(f is not None and n in f.used for f in self.vjps) for n in self.inputs)

    @cached_property
    def keep_y(self) -> bool:
        return any(f is not None and "y" in f.used for f in self.vjps)

    # -- forward
    def __call__(self, *args: Any, **params: Any) -> Tensor:
        n = len(self.inputs)
        if self.params:
            if len(args) > n:
                params = dict(zip(self.params, args[n:], strict=False)) | params
                args = args[:n]
            if params.keys() - self.params.keys():
                raise ArgumentError(f"{self.name}: unknown argument {sorted(params.keys() - self.params.keys())}; it takes {list(self.params)}")
            params = {**self.params, **params}
        elif params:
            raise ArgumentError(f"{self.name}: unknown argument {sorted(params)}; it takes only its inputs {self.inputs}")
        if len(args) != n:
            raise ArgumentError(f"{self.name}: takes {n} inputs ({', '.join(self.inputs)}), got {len(args)}")
        if any(type(a) is Sym for a in args):
            return expr.make(self.name, *args, *params.values())  # type: ignore[return-value]
        arrays, tensors, device, wanted = _unwrap(self.name, args)
        if any(type(a) in (float, int, bool) or a.dtype != arrays[0].dtype for a in arrays) or not is_float(arrays[0].dtype):
            arrays = self._promoted(arrays, device)
        kernel = self._forward_kernels.get(device)
        if kernel is None:
            kernel = self._forward_kernels[device] = get_backend(device).compile(self.forward)
        try:
            y = kernel(*arrays, *params.values())
        except ValueError:
            shapes = [np.shape(a) for a in arrays]
            try:
                broadcast_shapes(*shapes)
            except ShapeError as e:
                raise ShapeError(f"{self.name}: {e}") from None
            raise
        if _anomaly.get():
            check_finite_step(self.name, "forward", y)
        if wanted and self.differentiable and is_float(y.dtype) and _recording.get():
            return _record(self, y, None, arrays, tensors, params, self.keep, self.keep_y)
        return Tensor(y)

    def _promoted(self, arrays: list[Any], device: str) -> list[Any]:
        """Inputs in the dtype they are computed in. Python scalars stay weak beside an array."""
        xp = get_backend(device).xp
        values = [a for a, n in zip(arrays, self.inputs, strict=True) if n != self.condition]
        strong = [a.dtype for a in values if not isinstance(a, (float, int, bool))]
        weak = {type(a) for a in values if isinstance(a, (float, int, bool))}
        dtype = promote(*strong) if strong else bool_
        if not is_float(dtype):
            if float in weak or self.result == "float":
                dtype = default_dtype()
            elif dtype == bool_ and (int in weak or self.result == "number"):
                dtype = int64
        if self.result == "integer" and is_float(dtype):
            raise DTypeError(f"{self.name}: takes integers or booleans, got {dtype}; cast with .astype('int64')")
        keep_weak = bool(strong) and self.result != "bool"
        out = []
        for a, n in zip(arrays, self.inputs, strict=True):
            if isinstance(a, (float, int, bool)):
                out.append(a if keep_weak and n != self.condition else xp.asarray(a, dtype=bool_ if n == self.condition else dtype))
            else:
                goal = bool_ if n == self.condition else dtype
                out.append(a if a.dtype == goal else a.astype(goal))
        return out

    # -- backward
    def pull(self, node: _Node, g: Any, create_graph: bool) -> Sequence[Any]:
        if create_graph:
            inputs, y = _rebuild(node, True), _result(node, True)
            n = len(self.inputs)
            rules = zip(self.atom.vjp, node.parents, strict=False)
            pulled = [
                None if rule is None or p is None else _broadcast_like(rule(g, *inputs[:n], y, **node.params), node.shape)
                for rule, p in rules
            ]
            return pulled + [None] * (len(node.parents) - len(pulled))
        values = {"g": g, "y": node.y, **dict(zip(self.inputs, node.arrays, strict=True)), **node.params}
        device = "cpu" if type(g) is np.ndarray else backend_of(g).name
        cotangents: list[Any] = []
        for i, parent in enumerate(node.parents):
            formula = self.vjps[i] if i < len(self.vjps) else None
            if parent is None or formula is None:
                cotangents.append(None)
            elif formula.inputs == ("g",) and formula.outs[0].name == "var":
                cotangents.append(g)  # x̄ = ȳ: nothing to compute
            elif "g" not in formula.used:  # flat: the derivative is zero wherever it exists
                cotangents.append(get_backend(device).xp.zeros_like(g))
            else:
                kernel = self._pull_kernels.get((device, i))
                if kernel is None:
                    kernel = self._pull_kernels[device, i] = get_backend(device).compile(formula)
                cotangents.append(kernel(*(values[n] for n in formula.inputs)))
        return cotangents

    # -- words
    @property
    def latex(self) -> str:
        """y = ..., as the textbook has it."""
        return f"y = {self.definition.latex()}"

    def derivative_latex(self, i: int = 0) -> str:
        """x̄_i in terms of ȳ, the inputs and y: what backward computes."""
        formula = self.vjps[i] if i < len(self.vjps) else None
        if formula is None:
            return r"\text{not differentiable}"
        name = expr.latex(expr.var(self.inputs[i]))
        return rf"\bar{{{name}}} = {formula.latex()}"

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        arguments = (*self.inputs, *(f"{k}={v!r}" for k, v in self.params.items()))
        lines = [f"{self.name}({', '.join(arguments)})", "", f"    {self.latex}"]
        lines += [f"    {self.derivative_latex(i)}" for i in range(len(self.inputs)) if self.differentiable]
        lines += ["", "Elementwise; inputs broadcast: any shapes -> their broadcast shape."]
        if self.note.why:
            lines += [f"Stable form: {self.note.why}."]
        if self.note.source:
            lines += [f"Source: {self.note.source}"]
        return "\n".join(lines)


def _only_used(f: Formula) -> Formula:
    return Formula(tuple(n for n in f.inputs if n in f.used), f.outs, f.params)


def _broadcast_like(x: Any, shape: Shape) -> Any:
    """A flat rule (zero) may come back as a number."""
    if isinstance(x, Tensor):
        return x
    return Tensor(np.full(shape, float(x), default_dtype()))


def elementwise(
    name: str,
    definition: Callable[..., Any] | None = None,
    *,
    forward: Callable[..., Any] | None = None,
    vjp: Sequence[Callable[..., Any] | None] | None = None,
    params: Mapping[str, Any] | None = None,
    inputs: str = "x",
    native: str | None = None,
    numpy: str | None = None,
    mpmath: str | None = None,
    cuda: str | None = None,
    latex: str | None = None,
    precedence: int = 9,
    result: str = "float",
    condition: str = "",
    domain: Domain | Sequence[Domain] = real,
    special: Mapping[Any, Any] | None = None,
    kinks: Sequence[Kink] = (),
    invariants: Sequence[Callable[..., Any]] = (),
    errors: Sequence[tuple[Callable[..., Any], str]] = (),
    why: str = "",
    source: str = "",
    equations: tuple[str, ...] = (),
) -> ElementwiseOp:
    """Register an elementwise op: the one place where it is written.

    definition  the textbook formula, of symbols named as the lambda's parameters; keyword-only ones are `params` (plain
                numbers with the defaults given). A primitive has none: `inputs` names its arguments, and `native` (or
                `numpy`, `mpmath`, `cuda` where they differ) says what the targets call it: a template ("{0} + {1}") or
                a function's name ("np.exp").
    forward     the same function in a numerically stable form, and `why`
    vjp         one rule (g, *inputs, y, **params) -> cotangent per input; None: not differentiable in that input. Left
                out, it is the symbolic derivative of the definition.
    result      "float": integers become the default float; "number": integers stay, booleans count as integers; "any":
                every dtype stays; "bool"; "integer": floats are refused
    condition   the name of an input that is a truth value
    domain      where draws come from, one for all inputs or one each; `kinks` are kept away from and tested by value
    special     {x or (x1, x2): y}: values met exactly
    """
    if definition is not None:
        signature = inspect.signature(definition).parameters.values()
        names = tuple(p.name for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD)
        keywords = tuple(p.name for p in signature if p.kind is p.KEYWORD_ONLY)
    else:
        names, keywords = tuple(inputs.split()), tuple(params or {})
    defaults = {k: (params or {})[k] for k in keywords}
    if vjp is None:
        vjp = [] if result in ("bool", "integer") or definition is None else [_symbolic_rule(definition, i) for i in range(len(names))]
    arguments = ", ".join(f"{{{i}}}" for i in range(len(names) + len(keywords)))
    atom = Atom(
        name=name,
        numpy=_template(numpy or native, arguments),
        mpmath=_template(mpmath or native, arguments),
        cuda=_template(cuda or native, arguments),
        latex=latex if latex is not None else rf"\operatorname{{{{{_latex_name(name)}}}}}\left({arguments}\right)",
        precedence=precedence,
        boolean=result == "bool",
        definition=definition,
        forward=forward,
        vjp=tuple(vjp),
        params=keywords,
    )
    ATOMS[name] = atom
    domains = (domain,) * len(names) if isinstance(domain, Domain) else tuple(domain)
    note = Note(
        why=why, source=source, equations=equations, special=special or {}, kinks=kinks, invariants=invariants,
        domain=domains, errors=errors,
    )  # fmt: skip
    return ElementwiseOp(name, note, atom, names, defaults, result, condition)


def _template(word: str | None, arguments: str) -> str | None:
    return word if word is None or "{" in word else f"{word}({arguments})"


def _latex_name(name: str) -> str:
    return name.replace("_", r"\_")


def _symbolic_rule(definition: Callable[..., Any], i: int) -> Callable[..., Any]:
    """g · ∂y/∂x_i, differentiated once on symbols and then run on whatever comes."""
    traced = Formula.trace(definition)
    names = [n for n in traced.inputs if n not in traced.params]
    derivative = traced.derivative(i)

    def rule(g: Any, *xs: Any, **params: Any) -> Any:
        values = dict(zip(names, xs, strict=False)) | params
        return g * evaluate(derivative, values)

    return rule


def evaluate(formula: Formula, values: Mapping[str, Any]) -> Any:
    """A formula's first result by calling the ops themselves: on tensors, or on symbols."""
    done: dict[Sym, Any] = {}
    for e in expr.topological(formula.outs):
        if e.name == "var":
            done[e] = values[e.args[0]]
        elif e.name == "const":
            done[e] = e.args[0]
        else:
            done[e] = OPS[e.name](*(done[a] for a in e.args))
    return done[formula.outs[0]]


# ------------------------------------------------------------------------------------------------ structural
class StructuralOp(Op):
    """A function of whole arrays. Its body gets this device's arrays and returns y, or (y, aux)."""

    def __init__(self, name: str, note: Note, body: Callable[..., Any], shapes: str, options: Mapping[str, Any]) -> None:
        super().__init__(name, note, body)
        self.body = body
        self.signature = Signature.parse(shapes)
        parameters = inspect.signature(body).parameters.values()
        self.inputs = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.optional = {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty}
        self.dtype_rule: str = options.get("dtype", "float")
        self.indices: frozenset[str] = frozenset(options.get("indices", ()))
        self.view: bool = options.get("view", False)
        self.composition: Callable[..., Any] | None = options.get("composition")
        self.rule: Callable[..., Any] | None = None
        self.saves: frozenset[str] = frozenset()
        self.differentiable = self.composition is not None
        self.__doc__ = body.__doc__
        self.__signature__ = inspect.signature(body)
        self.__wrapped__ = body

    def vjp(self, rule: Callable[..., Any] | None = None, *, saves: Sequence[str] | None = None) -> Any:
        """Decorator for the op's vjp. What it reads is kept until backward; `saves` names it where reading is only of shapes."""
        if rule is None:
            return lambda f: self.vjp(f, saves=saves)
        self.rule = rule
        self.saves = frozenset(_variables_read(rule) if saves is None else saves)
        self.differentiable = True
        return rule

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        args, params = self._bind(args, params)
        arrays, tensors, device, wanted = _unwrap(self.name, args)
        arrays = self._promoted(arrays, device)
        self.signature.check(self.name, [a.shape for a in arrays if a is not None])  # type: ignore[union-attr]
        half = next((a.dtype for a in arrays if a is not None and is_half(a.dtype)), None)
        if half is not None:  # 16 bits are storage: compute in float32, round once
            out = self.body(*(a.astype(float32) if a is not None and is_half(a.dtype) else a for a in arrays), **params)
            y, aux = out if isinstance(out, tuple) else (out, None)
            y = y.astype(half) if is_float(y.dtype) else y
        else:
            out = self.body(*arrays, **params)
            y, aux = out if isinstance(out, tuple) else (out, None)
        if type(y) is not np.ndarray and not hasattr(y, "__cuda_array_interface__"):
            y = np.asarray(y)
        if _anomaly.get():
            check_finite_step(self.name, "forward", y)
        if wanted and self.differentiable and is_float(y.dtype) and _recording.get():
            keep = [self.composition is not None or n in self.saves for n in self._input_names(len(arrays))]
            result = _record(self, y, aux, arrays, tensors, params, keep, "y" in self.saves)
        else:
            result = Tensor(y)
        if self.view and tensors[0] is not None and _aliases(y, arrays[0]):
            result.share_storage(tensors[0])
        return result

    def _bind(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs in order and parameters complete; inputs may come by name, parameters by position."""
        if self.variadic:
            if len(args) == 1 and isinstance(args[0], (list, tuple)):
                args = tuple(args[0])
            if not args:
                raise ArgumentError(f"{self.name}: needs at least one tensor, got none")
        else:
            n = len(self.inputs)
            if len(args) > n:
                names = list(self.defaults)[: len(args) - n]
                if len(args) - n > len(self.defaults):
                    raise ArgumentError(f"{self.name}: takes at most {n + len(self.defaults)} arguments, got {len(args)}")
                params = dict(zip(names, args[n:], strict=True)) | params
                args = args[:n]
            for name in self.inputs[len(args) :]:
                if name not in params and name not in self.optional:
                    raise ArgumentError(f"{self.name}: input '{name}' is missing; call {self.name}{inspect.signature(self.body)}")
                args += (params.pop(name, None),)
        unknown = params.keys() - self.defaults.keys()
        if unknown:
            raise ArgumentError(f"{self.name}: unknown argument {sorted(unknown)}; it takes {list(self.defaults)}")
        params = {**self.defaults, **params}
        missing = [k for k, v in params.items() if v is inspect.Parameter.empty]
        if missing:
            raise ArgumentError(f"{self.name}: argument {missing[0]}= is missing; call {self.name}{inspect.signature(self.body)}")
        return args, params

    def _input_names(self, n: int) -> Sequence[str]:
        return [self.inputs[0]] * n if self.variadic else self.inputs

    def _promoted(self, arrays: list[Any], device: str) -> list[Any]:
        """Floats to one dtype; integers to the default float where the op computes in floats. Indices stay integers."""
        xp = get_backend(device).xp
        names = self._input_names(len(arrays))
        values = [xp.asarray(a) if isinstance(a, (float, int, bool)) else a for a in arrays]
        mixed = [a.dtype for a, n, raw in zip(values, names, arrays, strict=True)
                 if a is not None and n not in self.indices and not isinstance(raw, (float, int, bool))]  # fmt: skip
        dtype = promote(*mixed) if mixed else default_dtype()
        if self.dtype_rule == "float" and not is_float(dtype):
            dtype = default_dtype()
        elif self.dtype_rule == "number" and dtype == bool_:
            dtype = int64
        return [
            a if a is None or n in self.indices or a.dtype == dtype else a.astype(dtype)
            for a, n in zip(values, names, strict=True)
        ]

    def pull(self, node: _Node, g: Any, create_graph: bool) -> Sequence[Any]:
        needs = tuple(p is not None for p in node.parents)
        inputs = _rebuild(node, create_graph)
        if self.composition is not None and (create_graph or self.rule is None):
            return self._pull_composition(inputs, needs, g, node.params, create_graph)
        y = _result(node, create_graph)
        g = g if create_graph else Tensor(g)
        assert self.rule is not None
        cotangents = self.rule(g, y, node.aux, *inputs, needs=needs, **node.params)
        if not isinstance(cotangents, (tuple, list)):
            cotangents = (cotangents,)
        if create_graph:
            return cotangents
        return [c.data if isinstance(c, Tensor) else c for c in cotangents]

    def _pull_composition(self, inputs: list[Any], needs: Sequence[bool], g: Any, params: dict[str, Any], create_graph: bool) -> list[Any]:
        """Replay the composition on fresh heads of the inputs' own graphs, and differentiate that."""
        from .autograd import enable_grad
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
        from .index import latex_of

        return latex_of(self.note.definition)


def _detached(x: Tensor) -> Tensor:
    t = x.detach()
    t.requires_grad = True
    return t


def _bare(g: Any, create_graph: bool) -> Any:
    return g if create_graph or g is None else g.data


def _aliases(y: Array, x: Array) -> bool:
    """Is y a view of x? By base pointer: NumPy gives every view the array that owns the memory."""
    base = getattr(y, "base", None)
    return base is not None and (base is x or base is getattr(x, "base", None))


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

    def __init__(self, name: str, note: Note, body: Callable[..., Any], shapes: str) -> None:
        super().__init__(name, note, body)
        self.body, self.signature = body, Signature.parse(shapes)
        self.__doc__, self.__wrapped__, self.__signature__ = body.__doc__, body, inspect.signature(body)
        self.inputs = tuple(
            p.name for p in self.__signature__.parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)
        )

    def __call__(self, *args: Any, **params: Any) -> Any:
        return self.body(*(a if isinstance(a, (Tensor, list, tuple)) or a is None else asarray(a) for a in args), **params)

    @property
    def latex(self) -> str:
        from .index import latex_of

        return latex_of(self.note.definition)


def composite(name: str, *, shapes: str, definition: str = "", **note: Any) -> Callable[[Callable[..., Any]], CompositeOp]:
    """Register a function of tensors made of other ops. Keywords as for `op`."""

    def register(body: Callable[..., Any]) -> CompositeOp:
        return CompositeOp(name, Note(definition=definition, **note), body, shapes)

    return register
