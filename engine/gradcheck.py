r"""Is the gradient right? Two checks that need no tolerance by hand, and a report that prints.

For f: inputs -> y, a random cotangent ȳ and a random direction d in one input, both sides of

    ⟨ȳ, ∂f/∂x_i · d⟩   =   ⟨vjp_i(ȳ), d⟩
    central difference      what backward gives

are one number. The cotangent is random, never ones: a ones cotangent cannot tell a softmax gradient from three times
it.

The Taylor slope needs no step size: r(h) = |φ(x + h d) - φ(x) - h ⟨∇φ, d⟩| falls as h² iff the gradient is right, as h
if it is not. On a log-log picture a right gradient is a line of slope 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import autograd
from .dtypes import GRADIENT, is_float
from .errors import ArgumentError
from .op import OPS, Op
from .planted import planted as planted
from .samples import Draw
from .tensor import Tensor, asarray, tensor

STEP = 3e-4  # of the fourth-order difference in float64: truncation h⁴ and rounding eps/h are both below 1e-12


@dataclass
class Comparison:
    """One input, one order: the derivative along a random direction, by backward and by differences."""

    input: str
    order: int
    analytic: float
    numeric: float
    floor: float  # the rounding error of the difference itself
    tolerance: float = GRADIENT
    slope: float | None = None  # of the Taylor remainder; None where it vanishes (f is linear along d)
    taylor: tuple[tuple[float, float], ...] = ()  # (h, remainder) where that stands clear of rounding

    @property
    def error(self) -> float:
        return abs(self.analytic - self.numeric)

    @property
    def agrees(self) -> bool:
        if np.isnan(self.analytic) or np.isnan(self.numeric):
            return False
        return self.error <= self.tolerance * max(abs(self.analytic), abs(self.numeric)) + self.floor

    def __str__(self) -> str:
        mark = "agrees" if self.agrees else "DIFFERS"
        slope = "" if self.slope is None else f"  Taylor slope {self.slope:.2f}"
        relative = self.error / max(abs(self.analytic), abs(self.numeric), 1e-300)
        order = "first " if self.order == 1 else "second"
        return (
            f"  {order} order in {self.input:<8} backward {self.analytic:+.9e}  differences {self.numeric:+.9e}  "
            f"relative error {relative:.1e}  {mark}{slope}"
        )


@dataclass
class Report:
    """What a gradient check found. `bool(report)` and `report.agrees` say whether all comparisons agree."""

    name: str
    equation: str
    shapes: list[tuple[int, ...]]
    params: dict[str, Any]
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return all(c.agrees for c in self.comparisons)

    def __bool__(self) -> bool:
        return self.agrees

    def __str__(self) -> str:
        head = f"gradient check of {self.name}: " + (
            "every derivative agrees" if self.agrees else "a derivative DIFFERS"
        )
        equation = [f"  {self.equation}"] if self.equation else []  # a user's own function has none
        facts = f"  inputs {self.shapes} {self.params or ''}".rstrip()
        return "\n".join([head, *equation, facts, *map(str, self.comparisons)])

    def _repr_html_(self) -> str:
        from .view.given import escape

        rows = "".join(
            f"<tr><td>{escape(c.input)}</td><td>{c.order}</td><td>{c.analytic:.9e}</td><td>{c.numeric:.9e}</td>"
            f"<td>{'' if c.slope is None else f'{c.slope:.2f}'}</td><td>{'agrees' if c.agrees else 'differs'}</td></tr>"
            for c in self.comparisons
        )
        head = (
            "<tr><th>input</th><th>order</th><th>backward</th><th>differences</th><th>Taylor slope</th><th></th></tr>"
        )
        return f"<table><caption>{escape(self.name)}</caption>{head}{rows}</table>{self.svg()}"

    def svg(self) -> str:
        """The Taylor remainders over the step, log-log: slope 2 says right, slope 1 wrong. Needs slope=True."""
        from .view.slope import draw

        return draw(self.comparisons)


def gradcheck(
    f: Callable[..., Tensor],
    inputs: Sequence[Any],
    *,
    order: int = 2,
    seed: int = 0,
    name: str | None = None,
    slope: bool = False,
    params: Mapping[str, Any] | None = None,
) -> Report:
    """Check f's gradient at `inputs` (float64 is used throughout) in every floating input, up to `order` (1 or 2).

    f(*tensors, **params) -> Tensor, or several. Second order checks that the gradient's own gradient is right, for a
    random direction in each input, which includes the cotangent's. Returns a Report; it never raises for a wrong
    gradient.
    """
    params = dict(params or {})
    if order not in (1, 2):
        raise ArgumentError(f"gradcheck: order must be 1 or 2, got {order}")
    rng = np.random.default_rng(seed)
    f, inputs = _of_those_given(f, inputs)
    xs = [_float64(x) for x in inputs]
    report = Report(str(name or getattr(f, "__name__", "f")), _equation(f), [np.shape(x) for x in xs], params)

    def first(*arrays: Any) -> Tensor:
        return _one_tensor(f(*arrays, **params))

    y = first(*map(_tensor, xs))
    if not is_float(y.dtype):
        raise ArgumentError(f"gradcheck: {report.name} gives {y.dtype}; only floating results have a gradient")
    ybar = rng.standard_normal(y.shape)
    names = _names(f, len(xs))
    for i, x in enumerate(xs):
        if _differentiable(x):
            c = _compare(first, xs, i, ybar, rng, names[i], 1, slope)
            report.comparisons += [] if c is None else [c]
    if order == 2:
        report.comparisons += _second(first, xs, ybar, rng, names)
    return report


def _of_those_given(f: Callable[..., Any], inputs: Sequence[Any]) -> tuple[Callable[..., Any], list[Any]]:
    """f as a function of the inputs that are not None, and these."""
    there = [i for i, x in enumerate(inputs) if x is not None]
    if len(there) == len(inputs):
        return f, list(inputs)

    def given(*xs: Any, **params: Any) -> Any:
        args = dict(zip(there, xs, strict=True))
        return f(*(args.get(i) for i in range(len(inputs))), **params)

    names = _names(f, len(inputs))
    given.inputs, given.latex, given.__name__ = [names[i] for i in there], _equation(f), getattr(f, "__name__", "f")  # type: ignore[attr-defined]
    return given, [inputs[i] for i in there]


def _one_tensor(y: Any) -> Tensor:
    """Several results end to end, but for those without a gradient (indices)."""
    from .ops import concat, reshape

    if isinstance(y, Tensor):
        return y
    if not isinstance(y, (tuple, list)) or not all(isinstance(t, Tensor) for t in y):
        raise ArgumentError(f"gradcheck: the function gives a {type(y).__name__}; what is checked gives tensors")
    return concat([reshape(t, shape=-1) for t in y if is_float(t.dtype)])


def check_op(op: str | Op, *, seed: int = 0, order: int = 2, slope: bool = True) -> Report:
    """Check a registered op on inputs drawn from its own record."""
    record = OPS[op] if isinstance(op, str) else op
    if not record.differentiable:
        raise ArgumentError(f"check_op: '{record.name}' has no derivative")
    for k in range(100):  # a draw may be empty, which checks nothing
        inputs, params = sample(record, Draw.seeded(seed + k))
        if all(np.size(x) for x in inputs if isinstance(x, np.ndarray)):
            break
    f = record if not getattr(record, "variadic", False) else _joined(record)
    return gradcheck(f, inputs, order=order, seed=seed, name=record.name, slope=slope, params=params)


def _joined(record: Op) -> Callable[..., Tensor]:
    def call(*xs: Any, **params: Any) -> Tensor:
        return record(list(xs), **params)

    call.__name__ = record.name
    return call


def sample(record: Op, draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    """Inputs and params for an op, from its record: its own `samples`, or (elementwise) its domains, away from
    kinks.
    """
    if record.note.samples is not None:
        inputs, params = record.note.samples(draw)
        return list(inputs), params
    domains = record.note.domain
    params = {k: v for k, v in getattr(record, "params", {}).items() if v is not None}
    shapes = draw.broadcastable(len(domains)) if len(domains) > 1 else [draw.shape(0, 4)]
    inputs = [draw.array(s, d) for s, d in zip(shapes, domains, strict=True)]
    return away_from_kinks(record, inputs, params, draw), params


def away_from_kinks(record: Op, inputs: list[Any], params: dict[str, Any], draw: Draw) -> list[Any]:
    """Draw again, in the first floating input, what lies on a kink."""
    if not record.note.kinks:
        return inputs
    i = next(k for k, d in enumerate(record.note.domain) if d.kind == "float")
    for _ in range(100):
        shape = np.broadcast_shapes(*map(np.shape, inputs))
        close = np.zeros(shape, bool)
        for k in record.note.kinks:
            close |= np.abs(np.broadcast_to(k.distance(*inputs, **params), shape)) < k.margin
        if not close.any():
            break
        redraw = draw.array(inputs[i].shape, record.note.domain[i])
        lead = len(shape) - inputs[i].ndim
        bad: Any = close.any(axis=tuple(range(lead))) if lead else close
        for axis, n in enumerate(inputs[i].shape):
            if n == 1 and bad.shape[axis] != 1:
                bad = bad.any(axis=axis, keepdims=True)
        inputs[i] = np.where(bad, redraw, inputs[i])
    return inputs


# ------------------------------------------------------------------------------------------------ the comparison
def _compare(
    f: Callable[..., Tensor],
    xs: Sequence[Any],
    i: int,
    ybar: Any,
    rng: np.random.Generator,
    name: str,
    order: int,
    slope: bool,
) -> Comparison | None:
    """Both sides for input i. None when there is nothing to differentiate (an empty input)."""
    x = xs[i]
    if x.size == 0:
        return None
    direction = rng.standard_normal(x.shape)
    leaf = _tensor(x).requires_grad_()
    tensors = [leaf if k == i else _tensor(other) for k, other in enumerate(xs)]
    y = f(*tensors)
    if y.requires_grad:
        g = autograd.grad(y, leaf, ybar, allow_unused=True)
        analytic = 0.0 if g is None else float(np.vdot(g.numpy(), direction))
    else:
        analytic = 0.0

    def phi(h: float) -> float:
        moved = [_tensor(other + h * direction) if k == i else _tensor(other) for k, other in enumerate(xs)]
        return float(np.vdot(f(*moved).numpy(), ybar))

    scale = max(1.0, float(np.abs(x).max()))
    h = STEP * scale
    numeric = (8 * (phi(h) - phi(-h)) - (phi(2 * h) - phi(-2 * h))) / (12 * h)  # a fourth-order central difference
    terms = np.abs(y.numpy())
    magnitude = float((np.abs(ybar) * np.where(np.isfinite(terms), terms, 0)).sum()) + 1e-300
    floor = 20 * float(np.finfo(np.float64).eps) * magnitude / h
    comparison = Comparison(name, order, analytic, numeric, floor)
    if slope:
        comparison.slope, comparison.taylor = _taylor_slope(phi, analytic, scale, magnitude)
    return comparison


def _taylor_slope(
    phi: Callable[[float], float], derivative: float, scale: float, magnitude: float
) -> tuple[float | None, tuple[tuple[float, float], ...]]:
    """Slope of log|φ(h) - φ(0) - h φ'| over log h, fitted where it stands clear of rounding; and the points there."""
    hs = scale * 10.0 ** np.arange(-1.5, -4.1, -0.25)
    base = phi(0.0)
    remainder = np.array([abs(phi(float(h)) - base - h * derivative) for h in hs])
    clear = remainder > 1e3 * np.finfo(np.float64).eps * magnitude
    if clear.sum() < 3:
        return None, ()
    slope = float(np.polyfit(np.log(hs[clear]), np.log(remainder[clear]), 1)[0])
    return slope, tuple(zip(hs[clear].tolist(), remainder[clear].tolist(), strict=True))


def _second(
    f: Callable[..., Tensor], xs: Sequence[Any], ybar: Any, rng: np.random.Generator, names: Sequence[str]
) -> list[Comparison]:
    """The vjp as a function of the inputs and the cotangent, checked like any other function."""
    wanted = [i for i, x in enumerate(xs) if _differentiable(x) and x.size]
    weights = [rng.standard_normal(xs[i].shape) for i in wanted]

    def pulled(*arrays: Any) -> Tensor:
        """Σ_i ⟨vjp_i(ȳ), w_i⟩, a scalar. Unrecorded for the differences, so the raw kernels are met too."""
        *inputs, cotangent = arrays
        recorded = any(a.requires_grad for a in arrays)
        leaves = [
            x if x.requires_grad or i not in wanted else _tensor(x).requires_grad_() for i, x in enumerate(inputs)
        ]
        y = f(*leaves)
        if not y.requires_grad:
            return tensor(np.zeros(()))
        gs = autograd.grad(y, [leaves[i] for i in wanted], cotangent, create_graph=recorded, allow_unused=True)
        total = tensor(np.zeros(()))
        for g, w in zip(gs, weights, strict=True):
            if g is not None:
                total = total + (g * w).sum()
        return total

    everything = [*xs, ybar]
    labels = [*names[: len(xs)], "ȳ"]
    found = []
    for i in [*wanted, len(xs)]:
        c = _compare(pulled, everything, i, np.asarray(rng.standard_normal()), rng, labels[i], 2, False)
        if c is not None:
            # the inner vjp has rounding of its own: the scale is that of its terms, not of their sum
            c.floor += (
                1e-9 * float(sum(np.abs(w).sum() for w in weights)) * max(1.0, float(np.abs(ybar).max(initial=0.0)))
            )
            found.append(c)
    return found


def _float64(x: Any) -> Any:
    a = np.asarray(x.numpy() if isinstance(x, Tensor) else x)
    return a.astype(np.float64) if a.dtype.kind == "f" else a


def _tensor(x: Any) -> Tensor:
    return asarray(x.detach()) if isinstance(x, Tensor) else tensor(np.array(x))


def _differentiable(x: Any) -> bool:
    return bool(x.dtype.kind == "f")


def _names(f: Any, n: int) -> list[str]:
    inputs = getattr(f, "inputs", None)
    return list(inputs) if inputs and len(inputs) == n else [f"x{i}" for i in range(n)]


def _equation(f: Any) -> str:
    return str(getattr(f, "latex", ""))
