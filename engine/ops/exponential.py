"""Exponentials, logarithms, powers, and the integral of the bell curve."""

from __future__ import annotations

import math

from ..op import ElementwiseOp, elementwise
from ..samples import interval, real
from .arithmetic import square
from .comparison import where

inf, nan = math.inf, math.nan
LN2, LN10 = math.log(2), math.log(10)

# ------------------------------------------------------------------------------------------------ exponentials
exp = elementwise(
    "exp", numpy="np.exp", mpmath="mp.exp", cuda="exp", latex="e^{{{0}}}",
    vjp=[lambda g, x, y: g * y],
    special={0.0: 1.0, inf: inf, -inf: 0.0, 710.0: inf, -800.0: 0.0, nan: nan},
    invariants=[lambda f, x: (f(x) * f(-x), x * 0 + 1), lambda f, x: (f(2 * x), f(x) ** 2)],
)  # fmt: skip

exp2 = elementwise(
    "exp2",
    definition=lambda x: pow(2.0, x),
    numpy="np.exp2", cuda="exp2", latex="2^{{{0}}}",
    vjp=[lambda g, x, y: g * y * LN2],
    special={0.0: 1.0, 10.0: 1024.0, -1.0: 0.5, inf: inf, -inf: 0.0, 1024.0: inf, nan: nan},
    invariants=[lambda f, x: (f(x + 1), 2 * f(x))],
)  # fmt: skip

expm1 = elementwise(
    "expm1", numpy="np.expm1", mpmath="mp.expm1", cuda="expm1", latex="e^{{{0}}} - 1", precedence=2,
    vjp=[lambda g, x, y: g * exp(x)],  # not y + 1, which loses the left tail
    why="e^x - 1 cancels near 0, where it is x",
    special={-0.0: -0.0, 1e-20: 1e-20, inf: inf, -inf: -1.0, nan: nan},
    invariants=[lambda f, x: (f(x), exp(x) - 1), lambda f, x: (f(-x) * exp(x), -f(x))],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ logarithms
log = elementwise(
    "log", numpy="np.log", mpmath="mp.log", cuda="log", latex=r"\log\left({0}\right)",
    vjp=[lambda g, x, y: g / x],
    domain=interval(0.3, 8.0), special={1.0: 0.0, 0.0: -inf, inf: inf, -1.0: nan, nan: nan},
    invariants=[lambda f, x: (exp(f(x)), x), lambda f, x: (f(1 / x), -f(x))],
)  # fmt: skip

log2 = elementwise(
    "log2",
    definition=lambda x: log(x) / LN2,
    numpy="np.log2", cuda="log2", latex=r"\log_2\left({0}\right)",
    vjp=[lambda g, x, y: g / (x * LN2)],
    why="exact at the powers of two",
    domain=interval(0.3, 8.0), special={8.0: 3.0, 0.125: -3.0, 1.0: 0.0, 0.0: -inf, inf: inf, -1.0: nan, nan: nan},
    invariants=[lambda f, x: (exp2(f(x)), x)],
)  # fmt: skip

log10 = elementwise(
    "log10",
    definition=lambda x: log(x) / LN10,
    numpy="np.log10", cuda="log10", latex=r"\log_{{10}}\left({0}\right)",
    vjp=[lambda g, x, y: g / (x * LN10)],
    why="exact at the powers of ten",
    domain=interval(0.3, 8.0), special={1000.0: 3.0, 1.0: 0.0, 0.0: -inf, inf: inf, -1.0: nan, nan: nan},
    invariants=[lambda f, x: (f(10 * x), f(x) + 1)],
)  # fmt: skip

log1p = elementwise(
    "log1p", numpy="np.log1p", mpmath="mp.log1p", cuda="log1p", latex=r"\log\left(1 + {0}\right)",
    vjp=[lambda g, x, y: g / (1 + x)],
    why="1 + x rounds away the digits of a small x",
    domain=interval(-0.9, 8.0), special={-0.0: -0.0, 1e-20: 1e-20, -1.0: -inf, inf: inf, -2.0: nan, nan: nan},
    invariants=[lambda f, x: (expm1(f(x)), x)],
)  # fmt: skip

xlogy = elementwise(
    "xlogy",
    definition=lambda a, b: a * log(b),
    forward=lambda a, b: where((a == 0) & (b == b), 0, a * log(b)),
    latex=r"{0} \, \log\left({1}\right)", precedence=4,
    # log and 1/b see a harmless 1 where 0 log 0 has been set to 0.
    vjp=[lambda g, a, b, y: g * log(where((a == 0) & (b <= 0), 1, b)),
         lambda g, a, b, y: g * (a / where((a == 0) & (b <= 0), 1, b))],
    why="0 log 0 is 0, the limit, as entropies need it",
    domain=[real, interval(0.3, 8.0)],
    special={(0.0, 0.0): 0.0, (0.0, inf): 0.0, (1.0, 0.0): -inf, (0.0, nan): nan, (2.0, 1.0): 0.0},
    invariants=[lambda f, a, b: (f(a, b), -f(a, 1 / b))],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ powers
pow: ElementwiseOp = elementwise(
    "pow", inputs="a b", numpy="np.power", mpmath="mp.power", cuda="pow", latex="{{{0}}}^{{{1}}}", result="number",
    # d a^0 = 0 at a = 0 too, and 0^b stays 0 as b > 0 moves: the base 1 stands in where 0^-1 or log 0 would answer.
    vjp=[lambda g, a, b, y: g * b * pow(where(b == 0, 1, a), b - 1),
         lambda g, a, b, y: g * y * log(where((a == 0) & (b >= 0), 1, a))],
    domain=[interval(0.3, 4.0), interval(-3.0, 3.0)],
    special={(2.0, 10.0): 1024.0, (0.0, 0.0): 1.0, (0.0, -1.0): inf, (-2.0, 3.0): -8.0, (-2.0, 0.5): nan,
             (nan, 0.0): 1.0, (1.0, nan): 1.0, (0.5, inf): 0.0, (-1.0, inf): 1.0, (10.0, 400.0): inf},
    invariants=[lambda f, a, b: (f(a, b) * f(a, -b), a / a + 0 * b), lambda f, a, b: (f(a, b), exp(b * log(a)))],
    errors=[(lambda f: f([2, 3], -1), r"pow: Integers to negative integer powers are not allowed; cast with \.astype")],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ the error function
TWO_BY_ROOT_PI = 2 / math.sqrt(math.pi)

erf = elementwise(
    "erf", numpy="special.erf", mpmath="mp.erf", cuda="erf",
    vjp=[lambda g, x, y: g * TWO_BY_ROOT_PI * exp(-square(x))],
    source="NIST Digital Library of Mathematical Functions, 7.2.1",
    special={-0.0: -0.0, 30.0: 1.0, inf: 1.0, -inf: -1.0, nan: nan},
    invariants=[lambda f, x: (f(-x), -f(x))],
)  # fmt: skip

erfc = elementwise(
    "erfc", numpy="special.erfc", mpmath="mp.erfc", cuda="erfc",
    vjp=[lambda g, x, y: -g * TWO_BY_ROOT_PI * exp(-square(x))],
    why="1 - erf(x) is 0 from x = 6 on; this falls to 1e-300 before it is",
    ulps=16,
    source="NIST Digital Library of Mathematical Functions, 7.2.2",
    special={0.0: 1.0, 40.0: 0.0, inf: 0.0, -inf: 2.0, nan: nan},
    invariants=[lambda f, x: (f(x) + erf(x), x * 0 + 1), lambda f, x: (f(x) + f(-x), x * 0 + 2)],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ the bell curve
ROOT_HALF, DENSITY = 1 / math.sqrt(2), 1 / math.sqrt(2 * math.pi)

normal_pdf = elementwise(
    "normal_pdf",
    definition=lambda x: DENSITY * exp(-0.5 * x**2),
    latex=r"\varphi\left({0}\right)",
    vjp=[lambda g, x, y: -g * x * y],
    ulps=32,  # the square's rounding counts x² fold
    source="NIST Digital Library of Mathematical Functions, 7.1; density of the standard normal distribution",
    special={inf: 0.0, -inf: 0.0, nan: nan},
    invariants=[lambda f, x: (f(-x), f(x))],
)  # fmt: skip

normal_cdf = elementwise(
    "normal_cdf",
    definition=lambda x: 0.5 * (1 + erf(ROOT_HALF * x)),
    numpy="special.ndtr", forward=lambda x: 0.5 * erfc(-ROOT_HALF * x), cuda="normcdf",
    latex=r"\Phi\left({0}\right)",
    vjp=[lambda g, x, y: g * normal_pdf(x)],
    why="1 + erf cancels for x < 0 and is 0 from -8 on; erfc keeps the tail",
    ulps=32,  # the argument's own rounding counts x² fold in a tail that falls like e^(-x²/2)
    special={0.0: 0.5, inf: 1.0, -inf: 0.0, nan: nan},
    invariants=[lambda f, x: (f(x) + f(-x), x * 0 + 1)],
)  # fmt: skip
