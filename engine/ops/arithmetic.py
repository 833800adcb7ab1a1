"""Arithmetic: the words that formulas are made of.

Primitives: each target has its own name for them. Sums and products first, then roots, rounding, and mixtures of two.
"""

from __future__ import annotations

import math

from ..op import ElementwiseOp, elementwise
from ..samples import Kink, interval, kink, nonzero, real as anywhere
from .comparison import where

inf, nan = math.inf, math.nan

# ------------------------------------------------------------------------------------------------ the four operations
add = elementwise(
    "add", inputs="a b", native="{0} + {1}", latex="{0} + {1}", precedence=2, result="number",
    vjp=[lambda g, a, b, y: g, lambda g, a, b, y: g],
    special={(0.1, 0.2): 0.1 + 0.2, (inf, 1.0): inf, (inf, -inf): nan, (-0.0, -0.0): -0.0},
    invariants=[lambda f, a, b: (f(a, b), f(b, a)), lambda f, a, b: (f(a, -a), 0 * b)],
)  # fmt: skip

subtract = elementwise(
    "subtract", inputs="a b", native="{0} - {1}", latex="{0} - {1}", precedence=2, result="number",
    vjp=[lambda g, a, b, y: g, lambda g, a, b, y: -g],
    special={(1.0, 1.0): 0.0, (-inf, 1.0): -inf, (inf, inf): nan},
    invariants=[lambda f, a, b: (f(a, b), -f(b, a))],
)  # fmt: skip

multiply = elementwise(
    "multiply", inputs="a b", native="{0} * {1}", latex=r"{0} \, {1}", precedence=4, result="number",
    vjp=[lambda g, a, b, y: g * b, lambda g, a, b, y: g * a],
    special={(0.0, 5.0): 0.0, (0.0, -1.0): -0.0, (-inf, 2.0): -inf, (inf, 0.0): nan},
    invariants=[lambda f, a, b: (f(a, b), f(b, a)), lambda f, a, b: (f(a, -b), -f(a, b))],
)  # fmt: skip

divide = elementwise(
    "divide", inputs="a b", native="{0} / {1}", latex=r"\frac{{{0}}}{{{1}}}",
    vjp=[lambda g, a, b, y: g / b, lambda g, a, b, y: -(g * y) / b],
    domain=[anywhere, nonzero],
    special={(1.0, -0.0): -inf, (-1.0, -0.0): inf, (0.0, 0.0): nan, (1.0, inf): 0.0, (inf, inf): nan},
    invariants=[lambda f, a, b: (f(a, b) * b, a)],
)  # fmt: skip

negative = elementwise(
    "negative", native="-{0}", latex="-{0}", precedence=3, result="number",
    vjp=[lambda g, x, y: -g],
    special={1.0: -1.0, 0.0: -0.0, inf: -inf, nan: nan},
    invariants=[lambda f, x: (f(f(x)), x)],
)  # fmt: skip

positive = elementwise(
    "positive", numpy="np.copy", mpmath="{0}", cuda="{0}", latex="+{0}", precedence=3, result="any",
    vjp=[lambda g, x, y: g],
    special={1.5: 1.5, -0.0: -0.0, -inf: -inf, nan: nan},
    invariants=[lambda f, x: (f(x), x)],
)  # fmt: skip

# ------------------------------------------------------------------------------------------- powers, reciprocals, roots
square = elementwise(
    "square",
    definition=lambda x: x * x,
    latex="{{{0}}}^2", result="number",
    vjp=[lambda g, x, y: 2 * g * x],
    special={-3.0: 9.0, -0.0: 0.0, -inf: inf, nan: nan},
    invariants=[lambda f, x: (f(-x), f(x)), lambda f, x: f(x) >= 0],
)  # fmt: skip

reciprocal = elementwise(
    "reciprocal",
    definition=lambda x: 1 / x,
    latex=r"\frac{{1}}{{{0}}}",
    vjp=[lambda g, x, y: -g * y * y],
    domain=nonzero, special={4.0: 0.25, -0.0: -inf, inf: 0.0, -inf: -0.0, nan: nan},
    invariants=[lambda f, x: (f(f(x)), x)],
)  # fmt: skip

sqrt = elementwise(
    "sqrt", numpy="np.sqrt", mpmath="mp.sqrt", cuda="sqrt", latex=r"\sqrt{{{0}}}",
    vjp=[lambda g, x, y: 0.5 * g / y],  # infinite at 0, as the slope is
    domain=interval(0.3, 8.0), special={4.0: 2.0, -0.0: -0.0, inf: inf, -1.0: nan, nan: nan},
    invariants=[lambda f, x: (f(x) * f(x), x), lambda f, x: (f(x * x), x)],
)  # fmt: skip

rsqrt = elementwise(
    "rsqrt",
    definition=lambda x: 1 / sqrt(x),
    cuda="rsqrt", latex=r"\frac{{1}}{{\sqrt{{{0}}}}}",
    vjp=[lambda g, x, y: -0.5 * g * (y / x)],  # y / x, not y * y * y, which overflows long before
    domain=interval(0.3, 8.0), special={4.0: 0.5, 0.0: inf, inf: 0.0, -1.0: nan, nan: nan},
    invariants=[lambda f, x: (f(x) * f(x) * x, x / x)],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ size and sign
sign = elementwise(
    "sign", numpy="np.sign", mpmath="mp.sign", cuda="{0} != {0} ? {0} : T(({0} > T(0)) - ({0} < T(0)))",
    latex=r"\operatorname{{sign}}\left({0}\right)", result="number",
    vjp=[lambda g, x, y: 0.0],
    special={2.5: 1.0, -2.5: -1.0, -0.0: 0.0, -inf: -1.0, nan: nan},
    kinks=[kink(0.0, 0.0)],
    invariants=[lambda f, x: (f(x) * abs(x), x), lambda f, x: (f(f(x)), f(x))],
)  # fmt: skip

abs: ElementwiseOp = elementwise(
    "abs", numpy="np.abs", mpmath="abs", cuda="abs", latex=r"\left|{0}\right|", result="number",
    vjp=[lambda g, x, y: g * sign(x)],
    special={-1.5: 1.5, -0.0: 0.0, -inf: inf, nan: nan},
    kinks=[kink(0.0, 0.0)],
    invariants=[lambda f, x: (f(-x), f(x)), lambda f, x: f(x) >= 0],
)  # fmt: skip

copysign: ElementwiseOp = elementwise(
    "copysign",
    definition=lambda a, b: abs(a) * where(b < 0, -1, 1),
    numpy="np.copysign", cuda="copysign",
    vjp=[lambda g, a, b, y: g * sign(a) * copysign(1.0, b), lambda g, a, b, y: 0.0],
    why="the sign bit of b is copied, so -0 counts as negative",
    special={(3.0, -2.0): -3.0, (-3.0, 0.0): 3.0, (2.0, -0.0): -2.0, (0.0, -1.0): -0.0, (inf, -1.0): -inf,
             (nan, 1.0): nan},
    kinks=[Kink(lambda a, b: a, (0.0, 1.0), (0.0, 0.0)), Kink(lambda a, b: b)],
    invariants=[lambda f, a, b: (f(a, b), f(-a, b)), lambda f, a, b: (f(f(a, b), a), a)],
)  # fmt: skip

# ------------------------------------------------------------------------------------ rounding: flat, but for the steps
_STEP_AT_WHOLE = [Kink(lambda x: (x + 0.5) % 1 - 0.5, (2.0,), (0.0,))]

floor = elementwise(
    "floor", numpy="np.floor", mpmath="mp.floor", cuda="floor", latex=r"\left\lfloor {0} \right\rfloor", result="any",
    vjp=[lambda g, x, y: 0.0],
    special={1.7: 1.0, -1.2: -2.0, 2.0: 2.0, -0.0: -0.0, inf: inf, nan: nan},
    kinks=_STEP_AT_WHOLE,
    invariants=[lambda f, x: (f(x) <= x) & (x < f(x) + 1), lambda f, x: (f(f(x)), f(x))],
)  # fmt: skip

ceil = elementwise(
    "ceil", numpy="np.ceil", mpmath="mp.ceil", cuda="ceil", latex=r"\left\lceil {0} \right\rceil", result="any",
    vjp=[lambda g, x, y: 0.0],
    special={1.2: 2.0, -1.7: -1.0, -0.5: -0.0, 2.0: 2.0, -inf: -inf, nan: nan},
    kinks=_STEP_AT_WHOLE,
    invariants=[lambda f, x: (f(x), -floor(-x))],
)  # fmt: skip

trunc = elementwise(
    "trunc",
    definition=lambda x: sign(x) * floor(abs(x)),
    numpy="np.trunc", cuda="trunc", latex=r"\operatorname{{trunc}}\left({0}\right)", result="any",
    vjp=[lambda g, x, y: 0.0],
    special={1.7: 1.0, -1.7: -1.0, -0.5: -0.0, -0.0: -0.0, inf: inf, nan: nan},
    kinks=_STEP_AT_WHOLE,
    invariants=[lambda f, x: (f(-x), -f(x))],
)  # fmt: skip

round = elementwise(
    "round", numpy="np.round", mpmath="mp.nint", cuda="rint", latex=r"\operatorname{{round}}\left({0}\right)",
    result="any",
    vjp=[lambda g, x, y: 0.0],
    why="halves go to the even neighbour: rounding up would push every mean upwards",
    special={0.5: 0.0, 1.5: 2.0, 2.5: 2.0, -0.25: -0.0, 0.49999999999999994: 0.0, inf: inf, nan: nan},
    kinks=[Kink(lambda x: x % 1 - 0.5, (0.5,), (0.0,))],
    invariants=[lambda f, x: abs(f(x) - x) <= 0.5, lambda f, x: (f(-x), -f(x))],
)  # fmt: skip

# A step wherever a/b is whole.
_STEP_OF_QUOTIENT = [Kink(lambda a, b: (a / b + 0.5) % 1 - 0.5, margin=0.05)]

floor_divide = elementwise(
    "floor_divide",
    definition=lambda a, b: floor(a / b),
    numpy="np.floor_divide", cuda="floor_divide",
    latex=r"\left\lfloor \frac{{{0}}}{{{1}}} \right\rfloor", result="number",
    vjp=[lambda g, a, b, y: 0.0, lambda g, a, b, y: 0.0],
    domain=[anywhere, interval(0.8, 4.0)], kinks=_STEP_OF_QUOTIENT,
    special={(5.5, 2.0): 2.0, (-5.5, 2.0): -3.0, (5.5, -2.0): -3.0, (1.0, 0.0): inf, (0.0, 0.0): nan},
    invariants=[lambda f, a, b: (f(a, b), floor(f(a, b)))],
)  # fmt: skip

remainder = elementwise(
    "remainder",
    definition=lambda a, b: a - b * floor(a / b),
    numpy="np.remainder", cuda="remainder_of", result="number",
    latex=r"{0} \bmod {1}", precedence=4,
    vjp=[lambda g, a, b, y: g, lambda g, a, b, y: -g * floor_divide(a, b)],
    why="exact: a - b * floor(a / b) would round the quotient. The sign is the divisor's, as in Python",
    domain=[anywhere, interval(0.8, 4.0)], kinks=_STEP_OF_QUOTIENT,
    special={(5.5, 2.0): 1.5, (-5.5, 2.0): 0.5, (5.5, -2.0): -0.5, (1.0, 0.0): nan, (inf, 2.0): nan},
    invariants=[lambda f, a, b: (f(a, b) + b * floor_divide(a, b), a)],
)  # fmt: skip

# ---------------------------------------------------------------------------------------------- mixtures of two numbers
lerp = elementwise(
    "lerp",
    definition=lambda a, b, t: a + t * (b - a),
    forward=lambda a, b, t: where(abs(t) < 0.5, a + t * (b - a), b - (1 - t) * (b - a)),
    vjp=[lambda g, a, b, t, y: g * (1 - t), lambda g, a, b, t, y: g * t, lambda g, a, b, t, y: g * (b - a)],
    why="counted from the nearer end, so that t = 0 gives a and t = 1 gives b exactly",
    domain=[interval(0.5, 4.0), interval(0.5, 4.0), interval(0.0, 1.0)],  # of one sign: no cancellation
    special={(0.1, 0.7, 0.0): 0.1, (0.1, 0.7, 1.0): 0.7, (1e20, 1.0, 1.0): 1.0, (-2.0, 2.0, 0.5): 0.0},
    invariants=[lambda f, a, b, t: (f(a, b, t), f(b, a, 1 - t))],
)  # fmt: skip

hypot = elementwise(
    "hypot",
    definition=lambda a, b: sqrt(a * a + b * b),
    numpy="np.hypot", cuda="hypot", latex=r"\sqrt{{{{{0}}}^2 + {{{1}}}^2}}",
    # The subgradient 0 at the origin, where a/y would be 0/0; the divisor is made harmless, so that no order sees it.
    vjp=[lambda g, a, b, y: g * (a / where(y == 0, 1, y)), lambda g, a, b, y: g * (b / where(y == 0, 1, y))],
    why="no square that overflows or vanishes: hypot(1e200, 1e200) is finite",
    special={(3.0, 4.0): 5.0, (0.0, 0.0): 0.0, (0.0, -2.5): 2.5, (inf, nan): inf, (nan, 1.0): nan},
    kinks=[Kink(lambda a, b: a * a + b * b, (0.0, 0.0), (0.0, 0.0))],
    invariants=[lambda f, a, b: (f(a, b), f(b, a)), lambda f, a, b: f(a, b) >= abs(a)],
)  # fmt: skip

nextafter = elementwise(
    "nextafter", inputs="a b", numpy="np.nextafter", cuda="nextafter",
    # On the grid of float64, whose spacing halves just below a power of two.
    mpmath="{0} + mp.sign({1} - {0}) * mp.ldexp(1, max(-1074, mp.frexp({0})[1] - 53"
           " - (abs(mp.frexp({0})[0]) == 0.5 and mp.sign({1} - {0}) == -mp.sign({0}))))",
    vjp=[],
    special={(1.0, 2.0): 1.0 + 2.0**-52, (1.0, 0.0): 1.0 - 2.0**-53, (0.0, 1.0): 5e-324, (2.0, 2.0): 2.0,
             (nan, 1.0): nan},
    invariants=[lambda f, a, b: (f(f(a, b), a), a), lambda f, a, b: (f(a, b) > a) == (b > a)],
)  # fmt: skip

# ----------------------------------------------------------------------------------------------- names for real numbers
# The array API has them for complex numbers too; a real one is its own conjugate and its own real part.
real = elementwise(
    "real",
    definition=lambda x: x,
    numpy="np.copy", cuda="{0}", latex=r"\operatorname{{Re}}\left({0}\right)", result="any",
    vjp=[lambda g, x, y: g],
    special={-1.5: -1.5, -inf: -inf, nan: nan},
)  # fmt: skip

conj = elementwise(
    "conj",
    definition=lambda x: x,
    numpy="np.copy", cuda="{0}", latex=r"\overline{{{0}}}", result="any",
    vjp=[lambda g, x, y: g],
    special={-1.5: -1.5, -inf: -inf, nan: nan},
    invariants=[lambda f, x: (f(f(x)), x)],
)  # fmt: skip

imag = elementwise(
    "imag", numpy="np.zeros_like", mpmath="0 * {0}", cuda="({0}, T(0))", latex=r"\operatorname{{Im}}\left({0}\right)",
    result="any",
    vjp=[lambda g, x, y: 0.0],
    special={-1.5: 0.0, inf: 0.0},
)  # fmt: skip
