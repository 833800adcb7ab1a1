"""Elementwise ops: a scalar formula applied to every element; inputs broadcast against each other."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from . import expr
from .autograd import ANOMALY, RECORDING, Node, check_finite_step, mode
from .backends import backend_of, get_backend
from .dtypes import bool_, default_dtype, int64, is_float, promote
from .errors import ArgumentError, DTypeError, ShapeError
from .expr import ATOMS, Atom, Sym
from .formula import Formula, latex
from .record import OPS, Note, Op, rebuild, record, refuse_second, result_of, unwrap
from .samples import Domain, Kink, real
from .shapes import Shape, broadcast_shapes
from .tensor import Tensor


class ElementwiseOp(Op):
    """A scalar formula applied to every element; inputs broadcast against each other."""

    def __init__(
        self,
        name: str,
        note: Note,
        atom: Atom,
        inputs: tuple[str, ...],
        params: dict[str, Any],
        result: str,
        condition: str,
    ) -> None:
        super().__init__(name, note, None)
        self.inputs, self.params, self.result, self.atom, self.condition = inputs, params, result, atom, condition
        self.differentiable = any(v is not None for v in atom.vjp)
        self.plain = result not in ("bool", "integer") and not condition  # dtypes need no thought if all are one float
        self._forward_kernels: dict[str, Callable[..., Any]] = {}
        self._attempt: Callable[[list[Any]], Any] | None = None  # the CPU kernel's short way
        self._pullers: dict[str, list[Callable[[tuple[Any, ...]], Any] | None]] = {}

    # -- the formulas, traced when first wanted
    def _trace(self, f: Callable[..., Any] | None) -> Formula:
        symbols = [expr.var(n) for n in (*self.inputs, *self.params)]
        n = len(self.inputs)
        out = (
            expr.node(self.name, *symbols)
            if f is None
            else f(*symbols[:n], **dict(zip(self.params, symbols[n:], strict=True)))
        )
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
        if params or self.params or len(args) != len(self.inputs):
            args, params = self._bind(args, params)
        arrays: list[Any] = []
        tensors: list[Tensor | None] = []
        wanted = False
        for a in args:
            if isinstance(a, Tensor):
                arrays.append(a.data)
                tensors.append(a)
                wanted = wanted or a.requires_grad
            else:
                arrays.append(a)
                tensors.append(None)
        y = self._usual(arrays, params)  # tensors of one float dtype and Python numbers, in one attempt
        if y is None:
            if any(type(a) is Sym for a in args):
                return expr.make(self.name, *args, *params.values())  # type: ignore[return-value]
            if any(a is None for a in args):
                raise DTypeError(f"{self.name}: an input is None; give a tensor, an array or a number")
            arrays, tensors, device, wanted = unwrap(self.name, args)
            arrays = self._promoted(arrays, device)
            y = self._computed(arrays, params, device)
        now = mode()
        if now & ANOMALY:
            check_finite_step(self.name, "forward", y)
        if wanted and now & RECORDING and self.differentiable and is_float(y.dtype):
            return record(self, y, None, arrays, tensors, params, self.keep, self.keep_y)
        return Tensor(y)

    def _usual(self, arrays: list[Any], params: dict[str, Any]) -> Any:
        """The result, if the kernel knows these arrays for what it meets all the time; else None."""
        if self._attempt is None:
            return None
        try:
            return self._attempt([*arrays, *params.values()] if params else arrays)
        except (ValueError, OverflowError):  # to be explained with care
            return None

    def _computed(self, arrays: list[Any], params: dict[str, Any], device: str) -> Any:
        """The result by this device's kernel."""
        kernel = self._forward_kernels.get(device)
        if kernel is None:
            kernel = self._forward_kernels[device] = get_backend(device).compile(self.forward)
            if self.plain:
                self._attempt = getattr(kernel, "usual", None)
        try:
            return kernel(*arrays, *params.values())
        except ValueError as problem:
            raise self._explained(problem, arrays) from None
        except OverflowError as problem:
            remedy = "cast the tensor to a wider dtype, e.g. .astype('float32')"
            raise DTypeError(f"{self.name}: {problem}; {remedy}") from None

    def _bind(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs and complete parameters; parameters may come by position, after the inputs."""
        n = len(self.inputs)
        if self.params and len(args) > n:
            params = dict(zip(self.params, args[n:], strict=False)) | params
            args = args[:n]
        unknown = sorted(params.keys() - self.params.keys())
        if unknown:
            takes = list(self.params) if self.params else f"only its inputs {self.inputs}"
            raise ArgumentError(f"{self.name}: unknown argument {unknown}; it takes {takes}")
        if len(args) != n:
            raise ArgumentError(f"{self.name}: takes {n} inputs ({', '.join(self.inputs)}), got {len(args)}")
        return args, {**self.params, **params}

    def _explained(self, problem: ValueError, arrays: Sequence[Any]) -> ArgumentError | ShapeError:
        """What NumPy's complaint means here."""
        try:
            broadcast_shapes(*(np.shape(a) for a in arrays))
        except ShapeError as e:
            return ShapeError(f"{self.name}: {e}")
        remedy = "; cast with .astype('float32')" if self.result == "number" else ""
        return ArgumentError(f"{self.name}: {str(problem).rstrip('.')}{remedy}")

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
                out.append(
                    a
                    if keep_weak and n != self.condition
                    else xp.asarray(a, dtype=bool_ if n == self.condition else dtype)
                )
            else:
                goal = bool_ if n == self.condition else dtype
                out.append(a if a.dtype == goal else a.astype(goal))
        return out

    # -- backward
    def pull(self, node: Node, g: Any, create_graph: bool) -> Sequence[Any]:
        if create_graph:
            xp, n = get_backend(g.device).xp, len(self.inputs)
            inputs, y = rebuild(node, True), result_of(node, True)
            # a weak scalar on its own would compute in the default dtype: here it takes the result's
            inputs = [Tensor(xp.asarray(a, dtype=g.dtype)) if isinstance(a, (float, int)) else a for a in inputs]
            rules = zip(self.atom.vjp, node.parents, strict=False)
            pulled = [
                None
                if rule is None or p is None
                else _broadcast_like(rule(g, *inputs[:n], y, **node.params), node.shape)
                for rule, p in rules
            ]
            return pulled + [None] * (len(node.parents) - len(pulled))
        device = "cpu" if type(g) is np.ndarray else backend_of(g).name
        pullers = self._pullers.get(device)
        if pullers is None:
            pullers = self._pullers[device] = [self._puller(i, device) for i in range(len(self.inputs))]
        values = (g, *node.arrays, *node.params.values(), node.y)
        return [
            None if parent is None or puller is None else puller(values)
            for parent, puller in zip(node.parents, pullers, strict=True)
        ]

    def _puller(self, i: int, device: str) -> Callable[[tuple[Any, ...]], Any] | None:
        """The cotangent of input i, of the values (g, *inputs, *params, y)."""
        formula = self.vjps[i] if i < len(self.vjps) else None
        if formula is None:
            return None
        if formula.outs[0] is expr.var("g"):  # x̄ = ȳ: nothing to compute
            return operator.itemgetter(0)
        if "g" not in formula.used:  # flat: the derivative is zero wherever it exists
            xp = get_backend(device).xp
            return lambda values: xp.zeros_like(values[0])
        kernel = get_backend(device).compile(formula)
        order = ("g", *self.inputs, *self.params, "y")
        slots = [order.index(n) for n in formula.inputs]
        if len(slots) == 1:
            return lambda values: kernel(values[0])
        pick = operator.itemgetter(*slots)
        return lambda values: kernel(*pick(values))

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
        name = latex(expr.var(self.inputs[i]))
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
    ulps: int = 8,
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
    ulps        how far `forward` may be from the definition, in float64 units in the last place over the domain
    special     {x or (x1, x2): y}: values met exactly
    """
    refuse_second(name)  # before anything of the first is touched
    if definition is not None:
        signature = inspect.signature(definition).parameters.values()
        names = tuple(p.name for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD)
        keywords = tuple(p.name for p in signature if p.kind is p.KEYWORD_ONLY)
    else:
        names, keywords = tuple(inputs.split()), tuple(params or {})
    defaults = {k: (params or {})[k] for k in keywords}
    if vjp is None:
        vjp = (
            []
            if result in ("bool", "integer") or definition is None
            else [_symbolic_rule(definition, i) for i in range(len(names))]
        )
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
        domain=domains, errors=errors, ulps=ulps,
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
