"""Elementwise ops: a scalar formula applied to every element; inputs broadcast against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from . import expr
from .autograd import ANOMALY, RECORDING, Node, check_finite_step, mode
from .backends import backend_of, get_backend
from .dtypes import bool_, default_dtype, int64, is_float, promote
from .errors import ArgumentError, DTypeError, ShapeError
from .expr import Atom, Sym
from .formula import Formula, latex
from .record import Note, Op, rebuild, record, result_of, unwrap
from .shapes import Shape, broadcast_shapes
from .tensor import Tensor


class Pull:
    """x̄_i as a function of the values (g, *inputs, *params, y).

    kernel    computes it from the values it reads
    short     short(run, *values) is run(the values it reads): the way to call `kernel.direct`, see `arity.py`
    """

    __slots__ = ("kernel", "reads", "short")

    def __init__(self, formula: Formula, names: Sequence[str], device: str) -> None:
        if formula.outs[0] is expr.var("g"):  # x̄ = ȳ: nothing to compute
            self.kernel: Any = Given(lambda g: g)
        elif "g" not in formula.used:  # flat: the derivative is zero wherever it exists
            self.kernel, formula = Given(get_backend(device).xp.zeros_like), Formula(("g",), formula.outs)
        else:
            self.kernel = get_backend(device).compile(formula)
        self.reads = [names.index(n) for n in formula.inputs]
        self.short = eval(f"lambda run, {', '.join(names)}: run({', '.join(formula.inputs)})")

    def __call__(self, values: Sequence[Any]) -> Any:
        return self.kernel(*[values[k] for k in self.reads])


class Given:
    """A kernel that is a function already, or none at all."""

    def __init__(self, function: Callable[..., Any] | None) -> None:
        self.direct = function

    def __call__(self, g: Any) -> Any:
        assert self.direct is not None
        return self.direct(g)


class ElementwiseOp(Op):
    """A scalar formula applied to every element; inputs broadcast against each other."""

    def __init_subclass__(cls) -> None:
        # an op says what it computes, not of which kind it is
        cls.__doc__ = ElementwiseOp.__dict__["__doc__"]  # type: ignore[method-assign]

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
        self.plain = result != "integer" and not condition and not params  # dtypes need no thought if all are one float
        self._forward_kernels: dict[str, Callable[..., Any]] = {}
        self._kernel: Any = Given(None)  # the CPU's, for the short ways
        self._as_they_are: set[tuple[Any, ...]] = set()  # dtypes of inputs that need no promotion, met before
        self._pulls: dict[str, list[Pull | None]] = {}  # by device

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
        """As it runs: one word, which a target that does not know it expands to the stable form."""
        return self._trace(None)

    @cached_property
    def stable(self) -> Formula:
        """What a target computes that has no word of its own for the op."""
        return self._trace(self.atom.forward or self.atom.definition)

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
        kinds: list[Any] = []
        wanted, run = False, None
        for a in args:
            if isinstance(a, Tensor):
                arrays.append(a.data)
                tensors.append(a)
                kinds.append(a.data.dtype)
                wanted = wanted or a.requires_grad
            else:
                arrays.append(a)
                tensors.append(None)
                kinds.append(a.dtype if type(a) is np.ndarray else type(a))
        key = tuple(kinds)
        if key in self._as_they_are:
            run = self._kernel.small(key, [*arrays, *params.values()])
        if run is not None:
            y = self._explaining(run, arrays, params)
        else:
            if any(type(a) is Sym for a in args):
                return expr.make(self.name, *args, *params.values())  # type: ignore[return-value]
            if any(a is None for a in args):
                raise DTypeError(f"{self.name}: an input is None; give a tensor, an array or a number")
            given = arrays
            arrays, tensors, device, wanted = unwrap(self.name, args)
            arrays = self._promoted(arrays, device)
            y = self._explaining(self._kernel_on(device), arrays, params)
            if device == "cpu" and all(a is b for a, b in zip(given, arrays, strict=True)):
                self._as_they_are.add(key)
        now = mode()
        if now & ANOMALY:
            check_finite_step(self.name, "forward", y)
        if wanted and now & RECORDING and self.differentiable and is_float(y.dtype):
            return record(self, y, None, arrays, tensors, params, self.keep, self.keep_y)
        return Tensor(y)

    def _kernel_on(self, device: str) -> Any:
        kernel = self._forward_kernels.get(device)
        if kernel is None:
            kernel = self._forward_kernels[device] = get_backend(device).compile(self.forward)
            if device == "cpu":
                self._kernel = kernel
        return kernel

    def _explaining(self, run: Callable[..., Any], arrays: list[Any], params: dict[str, Any]) -> Any:
        """run(...), what goes wrong in the op's words."""
        try:
            return run(*arrays, *params.values())
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
        pulls = self.pulls("cpu" if type(g) is np.ndarray else backend_of(g).name)
        values = (g, *node.arrays, *node.params.values(), node.y)
        return [
            None if parent is None or pull is None else pull(values)
            for parent, pull in zip(node.parents, pulls, strict=True)
        ]

    def pulls(self, device: str) -> list[Pull | None]:
        """One for each input that has a derivative."""
        found = self._pulls.get(device)
        if found is None:
            names = ("g", *self.inputs, *self.params, "y")
            formulas = [self.vjps[i] if i < len(self.vjps) else None for i in range(len(self.inputs))]
            found = self._pulls[device] = [None if f is None else Pull(f, names, device) for f in formulas]
        return found

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
