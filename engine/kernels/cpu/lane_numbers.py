"""Size, sign, remainder and kind of float32 numbers, in the words of `lane_math.py`."""

from __future__ import annotations

from engine.expr import Sym, lift, make

from .lane_math import absolute, equal, floor, inf, nan, narrow, sqrt, trunc, where, wide, word

neighbour, far_fmod = word("lane.neighbour"), word("lane.far_fmod")


# ---------------------------------------------------------------------------------------------- signs, kinds of numbers
def sign(x: Sym) -> Sym:
    return where(x > 0, 1, where(x < 0, -1, where(equal(x, 0), 0, x)))


def clamp(x: Sym, lo: Sym, hi: Sym) -> Sym:
    return make("minimum", make("maximum", x, lo), hi)


def isnan(x: Sym) -> Sym:
    return make("not_equal", x, x)


def isinf(x: Sym) -> Sym:
    return equal(absolute(x), inf)


def isfinite(x: Sym) -> Sym:
    return absolute(x) < inf


def same(x: Sym) -> Sym:
    return x


def imag(x: Sym) -> Sym:
    return lift(0.0)


def nextafter(a: Sym, b: Sym) -> Sym:
    """Exact: a float32 and its neighbour of larger size differ by 1 when their bits are taken as a whole number."""
    least = make("copysign", 2.0**-149, b)
    y = where(equal(a, 0), least, neighbour(a, equal_truths(a < b, a > 0)))
    return where(equal(a, b), b, where(equal(a, a), where(equal(b, b), y, b), a))


def equal_truths(p: Sym, q: Sym) -> Sym:
    return make("logical_not", make("logical_xor", p, q))


# ---------------------------------------------------------------------------------------------- length
def hypot(a: Sym, b: Sym) -> Sym:
    """0.5 ulp: in float64 no square of a float32 over- or underflows. An infinite side outweighs a nan."""
    u, v = wide(a), wide(b)
    y = narrow(sqrt(u * u + v * v))
    return where(equal(absolute(a), inf), inf, where(equal(absolute(b), inf), inf, y))


# ---------------------------------------------------------------------------------------------- division with remainder
MOST = 2.0**28  # quotients up to here are exact in float64: a / b is no closer than 2^-24 to a whole number it isn't


def remainder(a: Sym, b: Sym) -> Sym:
    """Exact but for the last step, as in NumPy: a - b trunc(a / b) in float64, plus b where its sign is not b's."""
    u, v = wide(a), wide(b)
    q = u / v
    r = narrow(u - v * trunc(q))
    far = make("logical_and", absolute(narrow(q)) > MOST, make("logical_and", absolute(a) < inf, absolute(b) > 0))
    r = far_fmod(r, far, a, b)
    r = where(equal(absolute(b), inf), where(absolute(a) < inf, a, nan), r)
    wrong = make("logical_xor", r < 0, b < 0)
    return where(equal(r, 0), make("copysign", 0.0, b), where(equal(b, b), where(wrong, r + b, r), b))


def floor_divide(a: Sym, b: Sym) -> Sym:
    """0.5 ulp: floor(a / b) in float64; a / b where b is 0."""
    q = wide(a) / wide(b)
    y = narrow(floor(q))
    y = where(make("logical_and", equal(absolute(b), inf), a * b < 0), -1, y)  # just below 0
    return where(equal(absolute(a), inf), where(equal(b, 0), y, nan), y)
