"""Circular and hyperbolic functions and their inverses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..op import ElementwiseOp, elementwise
from ..samples import Kink, interval
from .arithmetic import abs, hypot, remainder, round, sqrt, square
from .comparison import where
from .exponential import exp

inf, nan, pi = math.inf, math.nan, math.pi

# ------------------------------------------------------------------------------------------------ the circle
sin = elementwise(
    "sin", numpy="np.sin", mpmath="mp.sin", cuda="sin", latex=r"\sin\left({0}\right)",
    vjp=[lambda g, x, y: g * cos(x)],
    special={-0.0: -0.0, inf: nan, nan: nan},
    invariants=[lambda f, x: (f(-x), -f(x)), lambda f, x: (f(x) ** 2 + cos(x) ** 2, x * 0 + 1)],
)  # fmt: skip

cos: ElementwiseOp = elementwise(
    "cos", numpy="np.cos", mpmath="mp.cos", cuda="cos", latex=r"\cos\left({0}\right)",
    vjp=[lambda g, x, y: -g * sin(x)],
    special={0.0: 1.0, -inf: nan, nan: nan},
    invariants=[lambda f, x: (f(-x), f(x)), lambda f, x: (1 + f(2 * x), 2 * f(x) ** 2)],
)  # fmt: skip

tan = elementwise(
    "tan", numpy="np.tan", mpmath="mp.tan", cuda="tan", latex=r"\tan\left({0}\right)",
    vjp=[lambda g, x, y: g * (1 + square(y))],
    domain=interval(-1.4, 1.4), special={-0.0: -0.0, inf: nan, nan: nan},
    invariants=[lambda f, x: (f(x) * cos(x), sin(x))],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ and back to the angle
asin = elementwise(
    "asin", numpy="np.asin", mpmath="mp.asin", cuda="asin", latex=r"\arcsin\left({0}\right)",
    vjp=[lambda g, x, y: g / sqrt((1 - x) * (1 + x))],  # 1 - x * x would cancel near the ends
    domain=interval(-0.95, 0.95), special={-0.0: -0.0, 1.0: pi / 2, -1.0: -pi / 2, 1.5: nan, nan: nan},
    invariants=[lambda f, x: (sin(f(x)), x), lambda f, x: (f(-x), -f(x))],
)  # fmt: skip

acos = elementwise(
    "acos", numpy="np.acos", mpmath="mp.acos", cuda="acos", latex=r"\arccos\left({0}\right)",
    vjp=[lambda g, x, y: -g / sqrt((1 - x) * (1 + x))],
    domain=interval(-0.95, 0.95), special={1.0: 0.0, -1.0: pi, 1.5: nan, nan: nan},
    invariants=[lambda f, x: (f(x) + asin(x), x * 0 + pi / 2)],
)  # fmt: skip

atan = elementwise(
    "atan", numpy="np.atan", mpmath="mp.atan", cuda="atan", latex=r"\arctan\left({0}\right)",
    vjp=[lambda g, x, y: g / (1 + square(x))],
    special={-0.0: -0.0, inf: pi / 2, -inf: -pi / 2, nan: nan},
    invariants=[lambda f, x: (tan(f(x)), x), lambda f, x: (f(-x), -f(x))],
)  # fmt: skip

# The angle of the point (x = b, y = a). Its gradient is divided by the radius twice: the square could overflow.
atan2 = elementwise(
    "atan2", inputs="a b", numpy="np.atan2", mpmath="mp.atan2", cuda="atan2",
    vjp=[lambda g, a, b, y: g * (b / hypot(a, b)) / hypot(a, b),
         lambda g, a, b, y: -g * (a / hypot(a, b)) / hypot(a, b)],
    special={(0.0, 1.0): 0.0, (-0.0, -1.0): -pi, (1.0, 0.0): pi / 2, (inf, inf): pi / 4, (1.0, inf): 0.0,
             (nan, 1.0): nan},
    kinks=[Kink(lambda a, b: np.where(b < 0, a, np.hypot(a, b)), margin=0.05)],  # the cut: a = 0, b <= 0
    invariants=[lambda f, a, b: (hypot(a, b) * sin(f(a, b)), a), lambda f, a, b: (hypot(a, b) * cos(f(a, b)), b)],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ the hyperbola
sinh = elementwise(
    "sinh", numpy="np.sinh", mpmath="mp.sinh", cuda="sinh", latex=r"\sinh\left({0}\right)",
    vjp=[lambda g, x, y: g * cosh(x)],
    special={-0.0: -0.0, 720.0: inf, inf: inf, -inf: -inf, nan: nan},
    invariants=[lambda f, x: (f(-x), -f(x)), lambda f, x: (f(x) + cosh(x), exp(x))],
)  # fmt: skip

cosh: ElementwiseOp = elementwise(
    "cosh", numpy="np.cosh", mpmath="mp.cosh", cuda="cosh", latex=r"\cosh\left({0}\right)",
    vjp=[lambda g, x, y: g * sinh(x)],
    special={0.0: 1.0, -720.0: inf, inf: inf, -inf: inf, nan: nan},
    invariants=[lambda f, x: (f(-x), f(x)), lambda f, x: (f(2 * x), 2 * f(x) ** 2 - 1)],
)  # fmt: skip

sech = elementwise(
    "sech",
    definition=lambda x: 1 / cosh(x),
    forward=lambda x: 2 * exp(-abs(x)) / (1 + square(exp(-abs(x)))),
    mpmath="mp.sech", latex=r"\operatorname{{sech}}\left({0}\right)",
    vjp=[lambda g, x, y: -g * y * tanh(x)],
    why="cosh overflows where 1 / cosh is still a number, and infinities would meet zeros in the next derivative",
    special={0.0: 1.0, 1e3: 0.0, -1e3: 0.0, inf: 0.0, -inf: 0.0, nan: nan},
    invariants=[lambda f, x: (f(-x), f(x)), lambda f, x: (f(x) ** 2 + tanh(x) ** 2, x * 0 + 1)],
)  # fmt: skip

tanh: ElementwiseOp = elementwise(
    "tanh",
    definition=lambda x: (exp(x) - exp(-x)) / (exp(x) + exp(-x)),
    numpy="np.tanh", mpmath="mp.tanh", cuda="tanh", latex=r"\tanh\left({0}\right)",
    vjp=[lambda g, x, y: g * square(sech(x))],
    why="no exp overflows, and near 0 nothing cancels. The derivative is not 1 - y*y, which loses its tails",
    equations=("E13",),
    special={-0.0: -0.0, 1e3: 1.0, -1e3: -1.0, inf: 1.0, -inf: -1.0, nan: nan},
    invariants=[lambda f, x: (f(-x), -f(x)), lambda f, x: (f(x) * cosh(x), sinh(x))],
)  # fmt: skip

asinh = elementwise(
    "asinh", numpy="np.asinh", mpmath="mp.asinh", cuda="asinh", latex=r"\operatorname{{arsinh}}\left({0}\right)",
    vjp=[lambda g, x, y: g / hypot(x, 1.0)],
    special={-0.0: -0.0, inf: inf, -inf: -inf, nan: nan},
    invariants=[lambda f, x: (sinh(f(x)), x), lambda f, x: (f(-x), -f(x))],
)  # fmt: skip

acosh = elementwise(
    "acosh", numpy="np.acosh", mpmath="mp.acosh", cuda="acosh", latex=r"\operatorname{{arcosh}}\left({0}\right)",
    vjp=[lambda g, x, y: g / (sqrt(x - 1) * sqrt(x + 1))],  # x * x - 1 would cancel near 1 and overflow far out
    domain=interval(1.3, 8.0), special={1.0: 0.0, inf: inf, 0.5: nan, nan: nan},
    invariants=[lambda f, x: (cosh(f(x)), x)],
)  # fmt: skip

atanh = elementwise(
    "atanh", numpy="np.atanh", mpmath="mp.atanh", cuda="atanh", latex=r"\operatorname{{artanh}}\left({0}\right)",
    vjp=[lambda g, x, y: g / ((1 - x) * (1 + x))],
    domain=interval(-0.95, 0.95), special={-0.0: -0.0, 1.0: inf, -1.0: -inf, 1.5: nan, nan: nan},
    invariants=[lambda f, x: (tanh(f(x)), x), lambda f, x: (f(-x), -f(x))],
)  # fmt: skip


# ------------------------------------------------------------------------------------------------ sin(πx) / (πx)
def cosine_lag(u: Any, weight: Callable[[int], int] = lambda k: 1) -> Any:
    """L(u) = Σ_{k≥1} weight(k) 2k/(2k+1)! u^(k-1), for |u| ≤ 1: eleven terms leave 1e-22.

    z cosh z - sinh z = z³ L(z²) and sin z - z cos z = z³ L(-z²), of which the left sides cancel near 0.
    """
    terms = [weight(k) * 2 * k / math.factorial(2 * k + 1) for k in range(11, 0, -1)]
    total: Any = terms[0]
    for term in terms[1:]:
        total = total * u + term
    return total


def _sinpi(x: Any) -> Any:
    """sin πx, exact in its zeros: the nearest whole number is taken off before π rounds anything."""
    n = round(x)
    return (1 - 2 * remainder(n, 2)) * sin(pi * (x - n))


def _cospi(x: Any) -> Any:
    n = round(x)
    return (1 - 2 * remainder(n, 2)) * cos(pi * (x - n))


def _away(x: Any) -> Any:
    """x, but 1 near 0, where the series answers: the arm that isn't taken must not divide by 0."""
    return where(abs(x) < 0.3, 1, x)


def _near(x: Any) -> Any:
    """x, but 0 where the series does not answer: the arm that isn't taken must not overflow."""
    return where(abs(x) < 0.3, x, 0)


sinc = elementwise(
    "sinc", mpmath="mp.sincpi", latex=r"\frac{{\sin\left(\pi \, {0}\right)}}{{\pi \, {0}}}",
    forward=lambda x: where(x == 0, 1, _sinpi(x) / (pi * where(x == 0, 1, x))),
    vjp=[lambda g, x, y: g * sinc_slope(x)],
    why="1 at 0, where the fraction is 0/0; and 0 at the other whole numbers, which pi * x can't hit",
    special={0.0: 1.0, 2.0: 0.0, -3.0: 0.0, nan: nan},
    invariants=[lambda f, x: (f(-x), f(x)), lambda f, x: (f(2 * x), f(x) * cos(pi * x))],
)  # fmt: skip

sinc_slope: ElementwiseOp = elementwise(
    "sinc_slope",
    definition=lambda x: (cos(pi * x) - sinc(x)) / x,
    forward=lambda x: where(abs(x) < 0.3, -pi**2 * x * cosine_lag(-square(pi * x)), (_cospi(x) - sinc(x)) / _away(x)),
    latex=r"\operatorname{{sinc}}^\prime\left({0}\right)",
    vjp=[lambda g, x, y: g * where(abs(x) < 0.3, -pi**2 * cosine_lag(-square(pi * _near(x)), lambda k: 2 * k - 1),
                                   -pi**2 * sinc(x) - 2 * y / _away(x))],
    why="cos πx - sinc x cancels near 0: there, its series",
    domain=interval(0.05, 1.2), special={0.0: -0.0, 1.0: -1.0, 2.0: 0.5, nan: nan},
    invariants=[lambda f, x: (f(-x), -f(x))],
)  # fmt: skip
