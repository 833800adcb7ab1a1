"""Elementwise ops: a scalar formula applied to every element; inputs broadcast against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import expr
from .autograd import ANOMALY, RECORDING, Node, check_finite_step, modes
from .backends import backend_of, get_backend, scalar
from .dtypes import bool_, default_dtype, int64, is_float, promote
from .errors import ArgumentError, DTypeError, ShapeError
from .expr import Atom, Sym
from .forks import cached_property
from .formula import Formula, latex
from .kernels.cpu.objects import declined
from .record import Note, Op, meta, rebuild, result_of, unwrap
from .shapes import broadcast_shapes
from .tensor import Tensor

ndarray = np.ndarray
PLAIN = bool, int, float, Sym  # what a param may be
WEAK = {"b": bool, "i": int, "u": int, "f": float}  # what NumPy's numbers become, by the kind of their dtype


class Pull:
    """x̄_i as a function of the values of `names`: (g, *inputs, *params, y), without params that are as declared.

    kernel    the formula of those that it reads; `kernel.short` takes all the values, see `backends.cpu.Elementwise`
    """

    __slots__ = ("kernel", "reads")

    def __init__(self, formula: Formula, names: Sequence[str], device: str) -> None:
        self.reads = [names.index(n) for n in formula.inputs]
        if formula.outs[0] is expr.var("g"):  # x̄ = ȳ: nothing to compute
            self.kernel: Any = SAME
            return
        if not formula.used:  # flat: the derivative is zero wherever it exists
            formula, self.reads = Formula(("g",), formula.outs), [0]
        self.kernel = get_backend(device).compile(formula)
        if device == "cpu":
            self.kernel.given, self.kernel.read = len(names), self.reads

    def __call__(self, values: Sequence[Any]) -> Any:
        return self.kernel(*[values[k] for k in self.reads])


class Same:
    """x̄ = ȳ."""

    def __call__(self, g: Any) -> Any:
        return g

    def short(self, g: Any, *_: Any) -> Any:
        return g


SAME = Same()


class Unused:
    """In place of a kernel that was not wanted yet."""

    short = staticmethod(declined)
    ready: dict[Any, Any] = {}


UNUSED: Any = Unused()


class Kernels:
    """What an op runs on a device, made when first wanted: params as they are declared are numbers in the formulas."""

    def __init__(self, op: ElementwiseOp, device: str, declared: bool) -> None:
        self.op, self.device, self.numbers = op, device, op.params if declared else {}
        self.names = ("g", *op.inputs, *(() if declared else op.params), "y")  # what a pull may read

    @cached_property
    def forward(self) -> Callable[..., Any]:
        return get_backend(self.device).compile(self.op.forward.bound(self.numbers))

    @cached_property
    def pulls(self) -> list[Pull | None]:
        """One for each input that has a derivative."""
        op, rules = self.op, self.op.vjps
        formulas = [rules[i] if i < len(rules) else None for i in range(len(op.inputs))]
        bound = [None if f is None else _only_used(f.bound(self.numbers)) for f in formulas]
        return [None if f is None else Pull(f, self.names, self.device) for f in bound]


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
        self._kernels: dict[tuple[str, bool], Kernels] = {}  # by device, and whether params are as declared
        self._kernel = self._open = UNUSED  # the CPU's forward kernels: params as declared, params as inputs
        self._pulls: list[Pull | None] | None = None  # likewise, once used

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
        if params or len(args) != len(self.inputs):
            args, params = self._bind(args, params)
        if not params or params == self.params:
            params = self.params
        arrays: Any = [a.data if isinstance(a, Tensor) else a for a in args]
        try:
            if params is self.params:
                y = self._kernel.short(*arrays)
            else:
                y = self._open.short(*arrays, *params.values())
        except ValueError:  # shapes that don't broadcast: to be explained with care
            y = NotImplemented
        return self._unusual(args, arrays, params) if y is NotImplemented else self._done(y, arrays, args, params)

    def _unusual(self, args: Sequence[Any], arrays: Sequence[Any], params: dict[str, Any]) -> Tensor:
        """What the short way declines: other dtypes, large arrays of several shapes or out of order, other devices,
        symbols, first calls, mistakes.
        """
        kernel, given = self._kernel, arrays
        if params is not self.params:
            kernel, given = self._open, [*arrays, *params.values()]
        kinds = tuple([a.dtype if type(a) is ndarray else type(a) for a in given])
        run = kernel.ready.get(kinds)
        if run is not None:
            try:
                y = kernel.large(run, given)
            except (ValueError, OverflowError) as problem:
                raise self._explained(problem, arrays) from None
            return self._done(y, arrays, args, params)
        return self._not_met(args, params, kinds)

    def _not_met(self, args: Sequence[Any], params: dict[str, Any], kinds: Any) -> Tensor:
        """What no function is ready for: the op looks at it with care."""
        plain = [plain_number(a) for a in args]
        if any(a is not b for a, b in zip(args, plain, strict=True)):
            return self(*plain, **({} if params is self.params else params))
        if any(type(a) is Sym for a in args):
            return expr.make(self.name, *args, *params.values())  # type: ignore[return-value]
        return self._done(*self._with_care(args, params, kinds), params)

    def _done(self, y: Any, arrays: Sequence[Any], tensors: Sequence[Any], params: dict[str, Any]) -> Tensor:
        """The result as a tensor, on the tape if that is wanted."""
        now = modes().value
        if now & ANOMALY:
            check_finite_step(self.name, "forward", y)
        if now & RECORDING and self.differentiable and is_float(y.dtype):
            for t in tensors:
                if isinstance(t, Tensor) and t.requires_grad:
                    return self._recorded(y, arrays, tensors, params)
        return Tensor(y)

    def _with_care(self, args: Sequence[Any], params: dict[str, Any], kinds: Any) -> tuple[Any, Any, Any]:
        """The result, the inputs as they were computed with, and the tensors among them."""
        if any(a is None for a in args):
            raise DTypeError(f"{self.name}: an input is None; give a tensor, an array or a number")
        given, tensors, device, _ = unwrap(self.name, args)
        with get_backend(device).active():
            arrays = self._promoted(given, device)
        declared = params is self.params
        kernel: Any = self.kernels(device, declared).forward
        values = [*arrays, *(() if declared else params.values())]
        try:
            y = kernel(*values)
        except (ValueError, OverflowError) as problem:
            raise self._explained(problem, arrays) from None
        if device == "cpu":
            if declared:
                self._kernel = kernel
            else:
                self._open = kernel
            found = [a.data if isinstance(a, Tensor) else a for a in args]  # of a list `kinds` says only that it is one
            if kinds not in kernel.ready and all(a is b for a, b in zip(found, arrays, strict=True)):
                kernel.prepare(kinds, values)
        return y, arrays, tensors

    def _recorded(self, y: Any, arrays: Sequence[Any], tensors: Sequence[Any], params: dict[str, Any]) -> Tensor:
        """The result as a tensor with its node on the tape."""
        parents: list[Any] = []
        saved: list[Any] = []
        shape, alike = y.shape, True
        for a, t, kept in zip(arrays, tensors, self.keep):  # noqa: B905 (all are as many; a keyword costs)
            is_tensor, number = isinstance(t, Tensor), type(a) is not ndarray and isinstance(a, (float, int))
            parents.append((t.node or t) if is_tensor and t.requires_grad else None)
            saved.append(a if kept or number else None)
            if type(a) is not ndarray or a.shape != shape or (is_tensor and t.data is not a):
                alike = False
        metas = None
        if not alike:
            metas = [meta(t.data if isinstance(t, Tensor) else a) for a, t in zip(arrays, tensors, strict=True)]
        node = Node(self, parents, saved, metas, params, y if self.keep_y else None, None, shape, y.dtype)
        return Tensor(y, True, node)

    def kernels(self, device: str, declared: bool = True) -> Kernels:
        """What runs on a device; `declared`: with the declared values of its params, else they are inputs."""
        key = device, declared
        if key not in self._kernels:
            self._kernels[key] = Kernels(self, device, declared)
        return self._kernels[key]

    def _bind(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs and complete parameters; parameters may come by position, after the inputs."""
        n = len(self.inputs)
        if self.params and len(args) > n:
            params = dict(zip(self.params, args[n:], strict=False)) | params
            args = args[:n]
        unknown = sorted(params.keys() - self.params.keys())
        if unknown:
            takes = f"{list(self.params)}, and" if self.params else "only"
            inputs = f"its inputs ({', '.join(self.inputs)}) by position"
            raise ArgumentError(f"{self.name}: unknown argument {unknown}; it takes {takes} {inputs}")
        if len(args) != n:
            inputs = f"{n} input{'s' if n > 1 else ''} ({', '.join(self.inputs)})"
            raise ArgumentError(f"{self.name}: takes {inputs}, got {len(args)}")
        plain = {k: plain_number(v) for k, v in params.items()}
        for k, v in plain.items():
            if not isinstance(v, PLAIN):
                remedy = "; .item() gives that of one element" if isinstance(v, (Tensor, ndarray)) else ""
                raise ArgumentError(f"{self.name}: {k} is {type(v).__name__}, but it takes a plain number{remedy}")
        return args, {**self.params, **plain}

    def _explained(self, problem: Exception, arrays: Sequence[Any]) -> Exception:
        """What NumPy's complaint means here."""
        if isinstance(problem, OverflowError):
            return DTypeError(f"{self.name}: {problem}; cast the tensor to a wider dtype, e.g. .astype('float32')")
        try:
            broadcast_shapes(*(getattr(a, "shape", ()) for a in arrays))
        except ShapeError as e:
            return ShapeError(f"{self.name}: {e}")
        remedy = "; cast with .astype('float32')" if self.result == "number" else ""
        return ArgumentError(f"{self.name}: {str(problem).rstrip('.')}{remedy}")

    def _promoted(self, arrays: list[Any], device: str) -> list[Any]:
        """Inputs in the dtype they are computed in. Python scalars stay weak beside an array."""
        backend = get_backend(device)
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
                    else scalar(backend, a, bool_ if n == self.condition else dtype)
                )
            else:
                goal = bool_ if n == self.condition else dtype
                out.append(a if a.dtype == goal else a.astype(goal))
        return out

    # -- backward
    def pull(self, node: Node, g: Any, create_graph: bool) -> Sequence[Any]:
        if create_graph:
            backend, n = get_backend(g.device), len(self.inputs)
            inputs, y = rebuild(node, True), result_of(node, True)
            # a weak scalar on its own would compute in the default dtype: here it takes the result's
            inputs = [Tensor(scalar(backend, a, g.dtype)) if isinstance(a, (float, int)) else a for a in inputs]
            rules = zip(self.atom.vjp, node.parents, strict=False)
            pulled = [
                None
                if rule is None or p is None
                else _like(rule(g, *inputs[:n], y, **node.params), g)
                for rule, p in rules
            ]
            return pulled + [None] * (len(node.parents) - len(pulled))
        host, declared = type(g) is ndarray, node.params is self.params
        pulls = self._pulls
        if pulls is None or not (host and declared):
            pulls = self.kernels("cpu" if host else backend_of(g).name, declared).pulls
            if host and declared:
                self._pulls = pulls
        values = (g, *node.arrays, *(() if declared else node.params.values()), node.y)
        cotangents: list[Any] = []
        for parent, pull in zip(node.parents, pulls):  # noqa: B905 (both are as many as the inputs; a keyword costs)
            x_bar = None
            if parent is not None and pull is not None:
                x_bar = pull.kernel.short(*values) if host else NotImplemented
                if x_bar is NotImplemented:
                    x_bar = pull(values)
            cotangents.append(x_bar)
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


def plain_number(x: Any) -> Any:
    """A number of NumPy's as Python's, which is weak beside an array; anything else as it is."""
    make = WEAK.get(x.dtype.kind) if isinstance(x, np.generic) else None  # .item() keeps a long double
    return x if make is None else make(x)


def _like(x: Any, g: Tensor) -> Any:
    """A flat rule (zero) may come back as a number."""
    return x if isinstance(x, Tensor) else Tensor(g.backend.xp.full(g.shape, float(x), g.dtype))
