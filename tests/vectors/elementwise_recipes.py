"""One row per elementwise op: PyTorch's name, the definition for mpmath, where to look, what IEEE 754 says."""

from collections.abc import Callable
from dataclasses import dataclass, field

import mpmath as mp
import torch

INF, NAN = float("inf"), float("nan")
TINY, HUGE = 1e-300, 1e300

# Points where formulas break: zeros, tiny, about a seam, the last place a naive form still works, and beyond it.
MIDDLE = [0.1, -0.5, 0.7, 1.0, -1.0, 1.5, -2.25, 3.0, -7.0]
SMALL = [TINY, -TINY, 1e-20, -1e-9, 3e-5, -2e-3]
TAILS = [12.5, -20.0, 25.0, -37.5, 100.0, -300.0]
POSITIVE = [TINY, 1e-20, 1e-9, 0.3, 0.999999, 1.0, 1.0000001, 2.0, 10.0, 12345.678, 1e20, HUGE]


def odd_at(*pairs):
    """f(-x) = -f(x), signed zeros kept: state it for x >= 0."""
    return [*pairs, *((-x, -y) for x, y in pairs), (NAN, NAN)]


@dataclass
class Row:
    torch: Callable
    exact: Callable                                 # the textbook definition, for mpmath numbers
    points: list                                    # finite points for mpmath (numbers, or tuples for several inputs)
    special: list = field(default_factory=list)     # (point, value) as IEEE 754 and C99 annex F have it
    low: float = -3.0                               # where PyTorch's random inputs are drawn
    high: float = 3.0
    kinks: tuple = ()                               # no derivative (or a convention for it) here
    flat: bool = False                              # the derivative is zero wherever there is one: none is recorded
    names: tuple = ("x",)
    params: dict = field(default_factory=dict)
    ranges: tuple = ()                              # per input, in place of low and high
    tolerance: float = 1e-13                        # how far PyTorch and mpmath may differ (relative), with its reason:
    why: str = ""
    source: str = ""                                # where it is not one PyTorch function


def where(condition, a, b):
    return a if condition else b


def sign(x):
    return where(x > 0, mp.mpf(1), where(x < 0, mp.mpf(-1), mp.mpf(0)))


def round_half_even(x):
    return mp.nint(x)


def mp_sinc(x):
    return mp.sin(mp.pi * x) / (mp.pi * x) if x else mp.mpf(1)


ZERO = odd_at((0.0, 0.0))
ODD_SATURATING = odd_at((0.0, 0.0), (INF, 1.0), (1e3, 1.0))
BOTH = ("x1", "x2")

ELEMENTWISE: dict[str, Row | list[Row]] = {
    # arithmetic
    "negative": Row(torch.negative, lambda x: -x, MIDDLE, odd_at((0.0, -0.0), (INF, -INF), (HUGE, -HUGE))),
    "positive": Row(torch.positive, lambda x: x, MIDDLE, odd_at((0.0, 0.0), (INF, INF))),
    "abs": Row(torch.abs, abs, [*MIDDLE, *SMALL], [(0.0, 0.0), (-0.0, 0.0), (-INF, INF), (INF, INF), (NAN, NAN)],
        kinks=(0,)),
    "sign": Row(torch.sign, sign, [*MIDDLE, *SMALL], [(0.0, 0.0), (-0.0, 0.0), (INF, 1.0), (-INF, -1.0), (NAN, NAN)],
        kinks=(0,), flat=True, tolerance=INF, why="PyTorch has sign(nan) = 0, the array API nan"),
    "square": Row(torch.square, lambda x: x * x, [*MIDDLE, 1e-9, 1e150],
        [(0.0, 0.0), (-0.0, 0.0), (-INF, INF), (1e200, INF), (NAN, NAN)]),
    "sqrt": Row(torch.sqrt, mp.sqrt, POSITIVE, [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-1.0, NAN), (NAN, NAN)],
        low=0.05),
    "rsqrt": Row(torch.rsqrt, lambda x: 1 / mp.sqrt(x), POSITIVE, [(0.0, INF), (INF, 0.0), (-1.0, NAN), (NAN, NAN)],
        low=0.05),
    "reciprocal": Row(torch.reciprocal, lambda x: 1 / x, [*MIDDLE, TINY, -HUGE], odd_at((0.0, INF), (INF, 0.0)),
        kinks=(0,)),
    "add": Row(torch.add, lambda a, b: a + b, [(0.1, 0.2), (1e16, 1.0), (-1.5, 1.5), (1e-20, 1.0), (HUGE, -HUGE)],
        [((INF, -INF), NAN), ((INF, 1.0), INF), ((0.0, -0.0), 0.0), ((-0.0, -0.0), -0.0)], names=BOTH),
    "subtract": Row(torch.subtract, lambda a, b: a - b, [(0.3, 0.1), (1e16, 1.0), (1.0000001, 1.0), (1e-20, 1.0)],
        [((INF, INF), NAN), ((-INF, 1.0), -INF), ((0.0, 0.0), 0.0), ((-0.0, 0.0), -0.0)], names=BOTH),
    "multiply": Row(torch.multiply, lambda a, b: a * b, [(0.1, 0.2), (-7.0, 0.3), (1e150, 1e-150), (1e-10, -3.0)],
        [((INF, 0.0), NAN), ((-INF, 2.0), -INF), ((0.0, -1.0), -0.0), ((1e200, 1e200), INF)], names=BOTH),
    "divide": Row(torch.divide, lambda a, b: a / b,
        [(1.0, 3.0), (-7.0, 0.3), (1e150, 1e-150), (0.0, 2.0), (2.0, 1e100)],
        [((1.0, 0.0), INF), ((1.0, -0.0), -INF), ((0.0, 0.0), NAN), ((INF, INF), NAN), ((1.0, INF), 0.0),
        ((-0.0, 3.0), -0.0)], names=BOTH, ranges=((-3, 3), (0.3, 3))),
    "power": Row(torch.pow, lambda a, b: mp.power(a, b),
        [(2.0, 0.5), (0.1, 3.0), (1.0000001, 1e6), (1e-5, 20.0), (12.5, -7.25), (3.0, 0.0), (0.999, 1e3)],
        [((0.0, 0.0), 1.0), ((0.0, 2.0), 0.0), ((0.0, -1.0), INF), ((-2.0, 3.0), -8.0), ((-2.0, 2.0), 4.0),
        ((-2.0, 0.5), NAN), ((NAN, 0.0), 1.0), ((1.0, NAN), 1.0), ((INF, -1.0), 0.0), ((0.5, INF), 0.0),
        ((2.0, INF), INF), ((-1.0, INF), 1.0), ((10.0, 400.0), INF)], names=BOTH, ranges=((0.2, 3), (-2, 2))),
    "hypot": Row(torch.hypot, mp.hypot, [(3.0, 4.0), (-1.0, 1e-9), (1e200, 1e200), (1e-200, 2e-200), (0.0, -2.5)],
        [((INF, NAN), INF), ((NAN, -INF), INF), ((NAN, 1.0), NAN), ((0.0, -0.0), 0.0)], names=BOTH),
    "copysign": Row(torch.copysign, lambda a, b: abs(a) * where(b < 0, -1, 1),
        [(3.0, -2.0), (-3.0, 2.0), (1.5, 1e-20), (-0.5, -7.0)],
        [((2.0, -0.0), -2.0), ((2.0, 0.0), 2.0), ((0.0, -1.0), -0.0), ((INF, -1.0), -INF)], names=BOTH,
        ranges=((-3, 3), (-3, 3)), kinks=(0,)),
    "lerp": Row(torch.lerp, lambda a, b, t: a + t * (b - a),
        [(1.0, 3.0, 0.25), (-2.0, 5.0, 0.5), (0.1, 0.7, 1.0), (0.1, 0.7, 0.0), (1.0, 2.0, -1.5), (4.0, -3.0, 2.5)],
        names=("start", "end", "weight"), ranges=((-3, 3), (-3, 3), (0, 1))),
    "maximum": Row(torch.maximum, max, [(1.0, 2.0), (-1.0, -2.0), (3.0, -1e-20)],
        [((INF, 1.0), INF), ((-INF, 1.0), 1.0), ((NAN, 1.0), NAN), ((1.0, NAN), NAN)], names=BOTH),
    "minimum": Row(torch.minimum, min, [(1.0, 2.0), (-1.0, -2.0), (3.0, -1e-20)],
        [((INF, 1.0), 1.0), ((-INF, 1.0), -INF), ((NAN, 1.0), NAN), ((1.0, NAN), NAN)], names=BOTH),
    "clip": Row(lambda x, min, max: torch.clamp(x, min, max), lambda x, min, max: sorted([min, x, max])[1], MIDDLE,
        [(INF, 1.25), (-INF, -0.75), (NAN, NAN)], params={"min": -0.75, "max": 1.25}, kinks=(-0.75, 1.25)),
    "floor": Row(torch.floor, mp.floor, [*MIDDLE, -1e-20, 0.49999999999999994, -2.5, 4503599627370495.5],
        odd_at((0.0, 0.0), (INF, INF)), flat=True),
    "ceil": Row(torch.ceil, mp.ceil, [*(v for v in MIDDLE if v != -0.5), 1e-20, 0.49999999999999994, -2.5,
        4503599627370495.5], [*odd_at((0.0, 0.0), (INF, INF)), (-0.5, -0.0)], flat=True),
    "trunc": Row(torch.trunc, lambda x: mp.floor(abs(x)) * sign(x),
        [0.1, 1.0, -1.0, 1.5, -2.25, 3.0, -7.0, 4503599627370495.5], [*odd_at((0.0, 0.0), (INF, INF)), (-0.5, -0.0)],
        flat=True),
    "round": Row(torch.round, round_half_even,
        [0.1, 0.5, 1.5, 2.5, -1.5, -2.5, 3.5000001, 0.49999999999999994, 4503599627370495.5, 1e20],
        [*odd_at((0.0, 0.0), (INF, INF)), (-0.5, -0.0), (-0.25, -0.0)], flat=True),
    "remainder": Row(torch.remainder, lambda a, b: a - b * mp.floor(a / b),
        [(5.5, 2.0), (-5.5, 2.0), (5.5, -2.0), (-5.5, -2.0), (1e10, 3.7), (0.75, 3.0)],
        [((1.0, 0.0), NAN), ((INF, 2.0), NAN)], names=BOTH, ranges=((-3, 3), (0.7, 1.3)),
        why="the sign is the divisor's", tolerance=1e-12),
    "floor_divide": Row(torch.floor_divide, lambda a, b: mp.floor(a / b),
        [(5.5, 2.0), (-5.5, 2.0), (5.5, -2.0), (-5.5, -2.0), (0.75, 3.0), (-0.75, 3.0)], names=BOTH,
        ranges=((-3, 3), (0.7, 1.3)), flat=True),

    # exponentials and logarithms
    "exp": Row(torch.exp, mp.exp, [*MIDDLE, *SMALL, *TAILS, 709.7, -708.0],
        [(0.0, 1.0), (INF, INF), (-INF, 0.0), (710.0, INF), (-800.0, 0.0), (NAN, NAN)]),
    "exp2": Row(torch.exp2, lambda x: mp.power(2, x), [*MIDDLE, *SMALL, *TAILS, 1023.5, -1021.5],
        [(0.0, 1.0), (INF, INF), (-INF, 0.0), (1024.0, INF), (NAN, NAN)]),
    "expm1": Row(torch.expm1, mp.expm1, [*MIDDLE, *SMALL, *TAILS, 709.7],
        [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (710.0, INF), (NAN, NAN)], tolerance=INF,
        why="PyTorch's y + 1 loses the left tail of the derivative"),
    "log": Row(torch.log, mp.log, POSITIVE, [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-1.0, NAN),
        (NAN, NAN)], low=0.05),
    "log2": Row(torch.log2, lambda x: mp.log(x) / mp.log(2), [*POSITIVE, 8.0, 0.125],
        [(0.0, -INF), (INF, INF), (-1.0, NAN), (NAN, NAN)], low=0.05),
    "log10": Row(torch.log10, mp.log10, [*POSITIVE, 1000.0], [(0.0, -INF), (INF, INF), (-1.0, NAN), (NAN, NAN)],
        low=0.05),
    "log1p": Row(torch.log1p, mp.log1p, [*POSITIVE, *SMALL, -0.5, -0.999999],
        [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN), (NAN, NAN)], low=-0.9),
    "logaddexp": Row(torch.logaddexp, lambda a, b: mp.log(mp.exp(a) + mp.exp(b)),
        [(0.0, 0.0), (1.0, -2.0), (800.0, 801.5), (-800.0, -800.0), (30.0, -30.0), (-1e3, 5.0)],
        [((-INF, -INF), -INF), ((INF, 1.0), INF), ((-INF, 2.0), 2.0), ((INF, INF), INF), ((INF, -INF), INF)],
        names=BOTH),
    "xlogy": Row(torch.xlogy, lambda a, b: a * mp.log(b) if a else mp.mpf(0),
        [(1.0, 2.0), (-2.5, 0.3), (3.0, 1e-300), (0.5, 1.0000001)],
        [((0.0, 0.0), 0.0), ((0.0, INF), 0.0), ((1.0, 0.0), -INF), ((0.0, NAN), NAN)], names=BOTH,
        ranges=((0.2, 3), (0.2, 3))),

    # trigonometry
    "sin": Row(torch.sin, mp.sin, [*MIDDLE, *SMALL, 3.141592653589793, 1e5, 1e22], odd_at((0.0, 0.0), (INF, NAN))),
    "cos": Row(torch.cos, mp.cos, [*MIDDLE, *SMALL, 1.5707963267948966, 1e5, 1e22],
        [(0.0, 1.0), (INF, NAN), (-INF, NAN), (NAN, NAN)]),
    "tan": Row(torch.tan, mp.tan, [*MIDDLE, *SMALL, 3.141592653589793, 1e5], odd_at((0.0, 0.0), (INF, NAN)), low=-1.2,
        high=1.2, tolerance=1e-12, why="near its poles the derivative squares the value's error"),
    "asin": Row(torch.asin, mp.asin, [0.1, -0.5, 0.7, 0.999, -0.999999, *SMALL],
        [*ZERO, (1.0, 1.5707963267948966), (-1.0, -1.5707963267948966), (1.1, NAN)], low=-0.95, high=0.95,
        tolerance=1e-9, why="1 - x*x near |x| = 1"),
    "acos": Row(torch.acos, mp.acos, [0.1, -0.5, 0.7, 0.999, -0.999999, 1e-9],
        [(1.0, 0.0), (-1.0, 3.141592653589793), (1.1, NAN), (NAN, NAN)], low=-0.95, high=0.95, tolerance=1e-9,
        why="1 - x*x near |x| = 1"),
    "atan": Row(torch.atan, mp.atan, [*MIDDLE, *SMALL, 1e5, -1e20],
        odd_at((0.0, 0.0), (INF, 1.5707963267948966), (HUGE, 1.5707963267948966))),
    "atan2": Row(torch.atan2, mp.atan2, [(1.0, 2.0), (1.0, -2.0), (-1.0, -2.0), (-1.0, 2.0), (1e-20, 3.0), (2.0, 0.0),
        (0.5, -1e-9)], [((0.0, 1.0), 0.0), ((0.0, -1.0), 3.141592653589793), ((-0.0, -1.0), -3.141592653589793),
        ((0.0, 0.0), 0.0), ((-0.0, 0.0), -0.0), ((1.0, INF), 0.0), ((INF, INF), 0.7853981633974483),
        ((INF, -INF), 2.356194490192345)], names=("x1", "x2"), ranges=((0.2, 3), (-3, -0.2))),
    "sinh": Row(torch.sinh, mp.sinh, [*MIDDLE, *SMALL, *TAILS, 710.0], odd_at((0.0, 0.0), (INF, INF), (720.0, INF)),
        tolerance=INF, why="PyTorch overflows at 710, where the value is finite"),
    "cosh": Row(torch.cosh, mp.cosh, [*MIDDLE, *SMALL, *TAILS, 710.0],
        [(0.0, 1.0), (INF, INF), (-INF, INF), (-720.0, INF), (NAN, NAN)], tolerance=INF,
        why="PyTorch overflows at 710, where the value is finite"),
    "tanh": Row(torch.tanh, mp.tanh, [*MIDDLE, *SMALL, 8.0, -18.0], ODD_SATURATING, tolerance=INF,
        why="PyTorch's 1 - y*y loses the tails of the derivative"),
    "asinh": Row(torch.asinh, mp.asinh, [*MIDDLE, *SMALL, 1e5, -1e20, HUGE], odd_at((0.0, 0.0), (INF, INF)),
        tolerance=INF, why="PyTorch squares x in the derivative, which overflows"),
    "acosh": Row(torch.acosh, mp.acosh, [1.0000001, 1.001, 1.5, 3.0, 1e5, 1e20, HUGE],
        [(1.0, 0.0), (INF, INF), (0.5, NAN), (NAN, NAN)], low=1.1, tolerance=INF,
        why="PyTorch's derivative takes x*x - 1, which cancels near 1 and overflows far away"),
    "atanh": Row(torch.atanh, mp.atanh, [0.1, -0.5, 0.7, 0.999, -0.999999, *SMALL],
        [*ZERO, (1.0, INF), (-1.0, -INF), (1.1, NAN)], low=-0.95, high=0.95, tolerance=1e-9,
        why="1 - x*x near |x| = 1"),
    "sinc": Row(torch.sinc, mp_sinc, [0.5, -0.5, 0.7, 1.5, -2.25, 1e-20, 1e-9, 1e-5, -1e-3, 0.02, 100.25],
        [(0.0, 1.0), (-0.0, 1.0), (NAN, NAN)], tolerance=INF,
        why="PyTorch's derivative (cos(pi x) pi x - sin(pi x)) / (pi x^2) cancels near 0", kinks=(0,)),
    "erf": Row(torch.erf, mp.erf, [*MIDDLE, *SMALL, 5.0, -5.9], odd_at((0.0, 0.0), (INF, 1.0), (30.0, 1.0))),
    "erfc": Row(torch.erfc, mp.erfc, [*MIDDLE, *SMALL, 5.0, 12.5, 26.0, -5.5],
        [(0.0, 1.0), (INF, 0.0), (-INF, 2.0), (40.0, 0.0), (NAN, NAN)], tolerance=1e-12),
}
