"""Comparison and choice: which is larger, is it a number, take this one or that one.

A comparison is flat: it has no derivative. A choice passes the cotangent to the number that was chosen.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..op import ElementwiseOp, composite, elementwise
from ..samples import Draw, Kink, boolean, integers, real
from ..tensor import Tensor

inf, nan = math.inf, math.nan

# ------------------------------------------------------------------------------------------------ comparison
less = elementwise(
    "less", inputs="a b", native="{0} < {1}", latex="{0} < {1}", precedence=1, result="bool",
    special={(1.0, 2.0): True, (2.0, 2.0): False, (-inf, inf): True, (nan, 1.0): False},
    invariants=[lambda f, a, b: f(a, b) == greater(b, a)],
)  # fmt: skip

less_equal = elementwise(
    "less_equal", inputs="a b", native="{0} <= {1}", latex=r"{0} \le {1}", precedence=1, result="bool",
    special={(1.0, 2.0): True, (2.0, 2.0): True, (0.0, -0.0): True, (nan, nan): False},
    invariants=[lambda f, a, b: f(a, b) == less(a, b) | equal(a, b)],
)  # fmt: skip

greater: ElementwiseOp = elementwise(
    "greater", inputs="a b", native="{0} > {1}", latex="{0} > {1}", precedence=1, result="bool",
    special={(2.0, 1.0): True, (2.0, 2.0): False, (inf, 1e30): True, (1.0, nan): False},
    invariants=[lambda f, a, b: f(a, b) == ~less_equal(a, b)],  # but for nan
)  # fmt: skip

greater_equal = elementwise(
    "greater_equal", inputs="a b", native="{0} >= {1}", latex=r"{0} \ge {1}", precedence=1, result="bool",
    special={(2.0, 1.0): True, (2.0, 2.0): True, (-0.0, 0.0): True, (nan, nan): False},
    invariants=[lambda f, a, b: f(a, b) == less_equal(b, a)],
)  # fmt: skip

equal: ElementwiseOp = elementwise(
    "equal", inputs="a b", native="{0} == {1}", latex="{0} = {1}", precedence=1, result="bool",
    special={(2.0, 2.0): True, (0.0, -0.0): True, (inf, inf): True, (nan, nan): False},
    invariants=[lambda f, a, b: f(a, a), lambda f, a, b: f(a, b) == f(b, a)],
)  # fmt: skip

not_equal = elementwise(
    "not_equal", inputs="a b", native="{0} != {1}", latex=r"{0} \ne {1}", precedence=1, result="bool",
    special={(2.0, 2.0): False, (0.0, -0.0): False, (1.0, 2.0): True, (nan, nan): True},
    invariants=[lambda f, a, b: f(a, b) == ~equal(a, b)],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ what kind of number
isnan = elementwise(
    "isnan", numpy="np.isnan", mpmath="mp.isnan", cuda="isnan", latex=r"{0} = \text{{nan}}", precedence=1,
    result="bool", special={nan: True, inf: False, 0.0: False},
)  # fmt: skip

isinf = elementwise(
    "isinf", numpy="np.isinf", mpmath="mp.isinf", cuda="isinf", latex=r"\left|{0}\right| = \infty", precedence=1,
    result="bool", special={inf: True, -inf: True, nan: False, 1e30: False},
)  # fmt: skip

isfinite = elementwise(
    "isfinite", numpy="np.isfinite", mpmath="mp.isfinite", cuda="isfinite", latex=r"\left|{0}\right| < \infty",
    precedence=1, result="bool", special={1e30: True, inf: False, -inf: False, nan: False},
    invariants=[lambda f, x: f(x) == ~(isnan(x) | isinf(x))],
)  # fmt: skip

signbit = elementwise(
    "signbit", numpy="np.signbit", mpmath="{0} < 0", cuda="signbit", latex="{0} < 0", precedence=1, result="bool",
    why="the bit itself: it tells -0 from 0, which x < 0 does not",
    special={-2.0: True, 2.0: False, -0.0: True, -inf: True},
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ choice
where: ElementwiseOp = elementwise(
    "where", inputs="c a b", condition="c", numpy="np.where", mpmath="{1} if {0} else {2}", cuda="{0} ? {1} : {2}",
    latex=r"\begin{{cases}} {1} & {0} \\ {2} & \text{{otherwise}} \end{{cases}}", precedence=0, result="any",
    vjp=[None, lambda g, c, a, b, y: where(c, g, 0), lambda g, c, a, b, y: where(c, 0, g)],
    domain=[boolean, real, real],
    special={(True, 1.0, nan): 1.0, (False, 1.0, 2.0): 2.0},
    invariants=[lambda f, c, a, b: (f(c, a, b), f(~c, b, a)), lambda f, c, a, b: (f(c, a, a), a)],
)  # fmt: skip

# A tie shares the cotangent: half each, so that the gradient doesn't depend on the order of the arguments.
maximum = elementwise(
    "maximum", inputs="a b", numpy="np.maximum", mpmath="max", cuda="{0} != {0} || {0} > {1} ? {0} : {1}",
    latex=r"\max\left({0}, {1}\right)", result="any",
    vjp=[lambda g, a, b, y: where(a < b, 0, where(a == b, 0.5 * g, g)),
         lambda g, a, b, y: where(b < a, 0, where(a == b, 0.5 * g, g))],
    special={(1.0, 2.0): 2.0, (-inf, 3.0): 3.0, (inf, 3.0): inf, (nan, 1.0): nan, (1.0, nan): nan},
    kinks=[Kink(lambda a, b: a - b, (1.5, 1.5), (0.5, 0.5))],
    invariants=[lambda f, a, b: (f(a, b), f(b, a)), lambda f, a, b: (f(a, b) + minimum(a, b), a + b)],
)  # fmt: skip

minimum: ElementwiseOp = elementwise(
    "minimum", inputs="a b", numpy="np.minimum", mpmath="min", cuda="{0} != {0} || {0} < {1} ? {0} : {1}",
    latex=r"\min\left({0}, {1}\right)", result="any",
    vjp=[lambda g, a, b, y: where(a > b, 0, where(a == b, 0.5 * g, g)),
         lambda g, a, b, y: where(b > a, 0, where(a == b, 0.5 * g, g))],
    special={(1.0, 2.0): 1.0, (-inf, 3.0): -inf, (inf, 3.0): 3.0, (nan, 1.0): nan, (1.0, nan): nan},
    kinks=[Kink(lambda a, b: a - b, (1.5, 1.5), (0.5, 0.5))],
    invariants=[lambda f, a, b: (f(a, b), f(b, a)), lambda f, a, b: (f(a, b), -maximum(-a, -b))],
)  # fmt: skip

clamp = elementwise(
    "clamp",
    definition=lambda x, lo, hi: minimum(maximum(x, lo), hi),
    numpy="np.clip", result="any",
    vjp=[lambda g, x, lo, hi, y: where((x >= lo) & (x <= hi), g, 0),
         lambda g, x, lo, hi, y: where((x < lo) & (lo < hi), g, 0),
         lambda g, x, lo, hi, y: where((x > hi) | (lo > hi), g, 0)],
    special={(5.0, 0.0, 1.0): 1.0, (-5.0, 0.0, 1.0): 0.0, (0.5, 0.0, 1.0): 0.5, (inf, 0.0, 1.0): 1.0,
             (nan, 0.0, 1.0): nan},
    kinks=[Kink(lambda x, lo, hi: x - lo, (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
           Kink(lambda x, lo, hi: x - hi, (1.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
           Kink(lambda x, lo, hi: lo - hi)],
    invariants=[lambda f, x, lo, hi: (f(f(x, lo, hi), lo, hi), f(x, lo, hi)), lambda f, x, lo, hi: f(x, lo, hi) <= hi],
)  # fmt: skip


def _sample_clip(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    x = np.asarray(draw.array(draw.shape(), integers(-12, 12)) / 4 + 0.1)  # no closer than 0.1 to a bound
    return [x], draw.choice([{"min": -0.75, "max": 1.25}, {"min": 0.5}, {"max": -1}, {}])


@composite(
    "clip",
    shapes="x:(*B) -> y:(*B)",
    definition=r"y = \min\left(\max\left(x, \mathrm{min}\right), \mathrm{max}\right)",
    samples=_sample_clip,
    reference=lambda x, min=None, max=None: x if min is None and max is None else x.clip(min, max),
    errors=[(lambda f: f([0.0, 1.0], min=2.0, max=1.0), r"clip: min is 2.0, above max = 1.0; exchange them")],
)
def clip(x: Tensor, *, min: Any = None, max: Any = None) -> Tensor:
    """x kept between `min` and `max` (numbers or tensors that broadcast with x; None: no bound on that side).

    The gradient passes where min <= x <= max, at both bounds too. Raises ArgumentError for numbers with min > max.
    """
    if isinstance(min, (int, float)) and isinstance(max, (int, float)) and min > max:
        raise ArgumentError(f"clip: min is {min}, above max = {max}; exchange them")
    if min is None and max is None:
        return x + 0
    lo, hi = _limits(x)
    return clamp(x, lo if min is None else min, hi if max is None else max)


def _limits(x: Tensor) -> tuple[float, float]:
    """The least and the largest value of x's dtype."""
    if x.dtype.kind in "iu":
        bits = 8 * x.dtype.itemsize
        return (0, 2**bits - 1) if x.dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return -inf, inf
