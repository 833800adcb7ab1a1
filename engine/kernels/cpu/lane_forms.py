"""Which ops have lane mathematics, and what is known of the range of an argument."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from engine.expr import Sym, number

from . import lane_circle as circle, lane_math as mathematics, lane_numbers as numbers
from .lane_math import word

inf = math.inf
Form = Callable[..., Sym]

FORMULAS: dict[str, Form] = {
    **{
        name: getattr(mathematics, name)
        for name in (
            "exp", "exp2", "expm1", "cosh", "sinh", "tanh", "log", "log1p", "log2", "log10", "asinh", "acosh", "atanh",
            "pow", "erf", "erfc", "normal_pdf", "normal_cdf",
        )
    },
    **{
        name: getattr(circle, name)
        for name in ("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinc", "sinc_slope")
    },
    **{
        name: getattr(numbers, name)
        for name in (
            "sign", "clamp", "isnan", "isinf", "isfinite", "imag", "nextafter", "hypot", "remainder", "floor_divide",
        )
    },
    **dict.fromkeys(("positive", "conj", "real"), numbers.same),
    "signbit": word("lane.signbit"),
}  # fmt: skip

# Cheaper forms where the argument is known to lie between lo and hi: op -> (lo, hi, form).
SHARPER: dict[str, tuple[tuple[float, float, Form], ...]] = {
    "exp": ((-inf, 0.0, mathematics.exp_down),),
    "expm1": ((-inf, 0.0, mathematics.expm1_down),),
    "log1p": ((0.0, 1.0, mathematics.log1p_of_share),),
    "normal_cdf": ((-inf, 0.0, mathematics.normal_cdf_down),),
}

Range = tuple[float, float]
ANY: Range = (-inf, inf)


def range_of(e: Sym, args: Sequence[Range]) -> Range:
    """Where the values of a node lie, if they aren't nan, given where those of its arguments do."""
    if e.name == "const":
        return (e.args[0], e.args[0])
    rule = RANGES.get(e.name)
    if rule is not None:
        return rule(*args)
    if e.name == "multiply" and e.args[0] is e.args[1]:
        return (0.0, inf)
    if e.name == "multiply" and (factor := number(e.args[0])) is not None:
        lo, hi = args[1]
        ends = [factor * end for end in (lo, hi) if factor or math.isfinite(end)]
        return (min(ends), max(ends)) if len(ends) == 2 else ANY
    return ANY


RANGES: dict[str, Callable[..., Range]] = {
    "abs": lambda x: (0.0, max(-x[0], x[1])),
    "square": lambda x: (0.0, inf),
    "negative": lambda x: (-x[1], -x[0]),
    "maximum": lambda x, y: (max(x[0], y[0]), max(x[1], y[1])),
    "minimum": lambda x, y: (min(x[0], y[0]), min(x[1], y[1])),
    "exp": lambda x: (0.0, 1.0 if x[1] <= 0 else inf),
}
