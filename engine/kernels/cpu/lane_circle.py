r"""Angles: circular functions and their inverses, of float32 numbers, in the words of `lane_math.py`.

`odd(k)`: is the whole number k odd? `turned(x, k)`: x after k quarter turns, its sign changed for k = 2, 3, 6, 7 and so
on. `times_sign(y, x)`: y, with its sign changed where x is negative. `far_sin(y, where, x)` and its like: y, but
the C library's answer in those few lanes where an angle is too large for 17 bits of quarter turns.
"""

from __future__ import annotations

import math

from engine.expr import Sym, make

from .lane_math import (  # isort: skip
    absolute, copysign, equal, fma, inf, narrow, nearest, polynomial, rounded, signbit, sqrt, where, wide, word,
)  # fmt: skip

odd, turned, times_sign = word("lane.odd"), word("lane.turned"), word("lane.times_sign")
far_sin, far_cos, far_tan = word("lane.far_sin"), word("lane.far_cos"), word("lane.far_tan")

# ---------------------------------------------------------------------------------------------- the circle
FAR = 2.0**17  # 83443 quarter turns
QUARTER_HEAD, QUARTER_REST = 1.570796326780692, 1.4204458674054e-11  # π/2; the head has 36 bits: times k it is exact
SIN = (-0.0001950524, 0.0083320905, -0.16666654)
COS = (2.4424924e-05, -0.0013887251, 0.041666646)


def _quarters(x: Sym) -> tuple[Sym, Sym, Sym]:
    """(k, sin r, cos r): x = k π/2 + r, |r| ≤ 0.79; r is found in float64, as x may be close to any multiple of π/2."""
    k = nearest(x * (2 / math.pi))
    r = narrow(fma(k, -QUARTER_REST, fma(k, -QUARTER_HEAD, wide(x))))
    s = r * r
    return k, fma(r * s, polynomial(s, SIN), r), fma(s * s, polynomial(s, COS), 1 - 0.5 * s)


def sin(x: Sym) -> Sym:
    """1.5 ulp."""
    k, sine, cosine = _quarters(absolute(x))
    y = times_sign(turned(where(odd(k), cosine, sine), k), x)
    return far_sin(y, _is_far(x), x)


def cos(x: Sym) -> Sym:
    """1.5 ulp."""
    k, sine, cosine = _quarters(absolute(x))
    y = turned(where(odd(k), sine, cosine), k + 1)
    return far_cos(y, _is_far(x), x)


def tan(x: Sym) -> Sym:
    """3 ulp: sin r / cos r, or after a quarter turn -cos r / sin r."""
    k, sine, cosine = _quarters(absolute(x))
    y = times_sign(where(odd(k), -cosine, sine) / where(odd(k), sine, cosine), x)
    return far_tan(y, _is_far(x), x)


def _is_far(x: Sym) -> Sym:
    return make("logical_and", absolute(x) > FAR, absolute(x) < inf)


# ---------------------------------------------------------------------------------------------- and back to the angle
ASIN = (0.042218573, 0.024147596, 0.0454771, 0.07495242, 0.16666754)
ATAN = (-0.0018272139, 0.011064446, -0.03145571, 0.05823456, -0.0841946, 0.10957576, -0.14265245, 0.19998638, -0.333333)
HALF_PI_HEAD, HALF_PI_REST = 1.5707963705062866, -4.371139e-08


def _arcsine(a: Sym) -> tuple[Sym, Sym]:
    """(p, is a > ½?) for 0 ≤ a: asin a = p, or π/2 - 2p = π/2 - 2 asin √((1 - a)/2)."""
    large = a > 0.5
    s = where(large, 0.5 - 0.5 * a, a * a)
    t = where(large, sqrt(s), a)
    return fma(t * s, polynomial(s, ASIN), t), large


def asin(x: Sym) -> Sym:
    """2 ulp."""
    p, large = _arcsine(absolute(x))
    return copysign(where(large, HALF_PI_HEAD - (2 * p - HALF_PI_REST), p), x)


def acos(x: Sym) -> Sym:
    """2 ulp: 2p, π - 2p, or π/2 - asin x."""
    p, large = _arcsine(absolute(x))
    near = HALF_PI_HEAD - (copysign(p, x) - HALF_PI_REST)
    return where(large, where(x > 0, 2 * p, 2 * HALF_PI_HEAD - (2 * p - 2 * HALF_PI_REST)), near)


def _arctangent(t: Sym) -> Sym:
    """atan t for 0 ≤ t ≤ 1: t + t s P(s) with s = t²."""
    s = t * t
    return fma(t * s, polynomial(s, ATAN), t)


def _beyond(p: Sym) -> Sym:
    """π/2 - p."""
    return HALF_PI_HEAD - (p - HALF_PI_REST)


def atan(x: Sym) -> Sym:
    """2 ulp: beyond 1 it is π/2 - atan(1/a)."""
    a = absolute(x)
    p = _arctangent(where(a > 1, 1 / a, a))
    return copysign(where(a > 1, _beyond(p), p), x)


def atan2(y: Sym, x: Sym) -> Sym:
    """3 ulp: the arctangent of the smaller side by the larger one, then mirrored at the diagonal and at the axes."""
    a, b = absolute(y), absolute(x)
    steep = a > b
    large, small = where(steep, a, b), where(steep, b, a)
    t = where(equal(small, large), where(equal(large, 0), 0, 1), small / large)
    p = _arctangent(t)
    p = where(steep, _beyond(p), p)
    p = where(signbit(x), 2 * HALF_PI_HEAD - (p - 2 * HALF_PI_REST), p)
    return where(equal(x, x), where(equal(y, y), copysign(p, y), y), x)


# ---------------------------------------------------------------------------------------------- sin(πx) / (πx)
SINC = (0.024719758, -0.19044231, 0.81171495, -1.6449332, 1.0)
COSPI = (-0.024396718, 0.23493756, -1.3352121, 4.0587091, -4.934802, 1.0)
SINC_SLOPE = (-0.022372784, 0.20894668, -1.14449, 3.246969, -3.289868)


def _from_whole(x: Sym) -> tuple[Sym, Sym]:
    """(x less the nearest whole number n, is n odd?)"""
    n = rounded(x)
    return x - n, equal(rounded(0.5 * n), 0.5 * n)


def sinc(x: Sym) -> Sym:
    """2 ulp: ± (r / x) P(r²), P(s) = sin(πr) / (πr), with r = x - n of at most ½, exactly."""
    r, even = _from_whole(x)
    y = where(equal(x, 0), 1, r / x) * polynomial(r * r, SINC)
    return where(even, y, -y)


def sinc_slope(x: Sym) -> Sym:
    """(cos πx - sinc x) / x; below ½, where that cancels, x P(x²). 4 ulp of the larger of 1 and the result."""
    r, even = _from_whole(x)
    c = polynomial(r * r, COSPI)
    return where(absolute(x) < 0.5, x * polynomial(x * x, SINC_SLOPE), (where(even, c, -c) - sinc(x)) / x)
