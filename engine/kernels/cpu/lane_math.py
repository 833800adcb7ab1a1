r"""Transcendental functions of float32 numbers, as formulas that SIMD lanes can compute.

Each reduces its argument to a short interval, evaluates a polynomial there, and undoes the reduction. The polynomials
are best approximations (`tests/lane_polynomials.py` derives them); the bound beside each function, in units in the last
place, is held by a test over the bit patterns of float32. Infinities, nan, -0 and subnormals come out as in NumPy.

The words: `fma(a, b, c)` is a b + c, fused where the processor can; `fused(a, b, c)` always. `nearest` rounds to a
whole number. `power(k)` is 2^k, `scale(p, k)` is p 2^k also where 2^k over- or underflows. `exponent` and `mantissa`
split x = m 2^k with m in [√½, √2). `wide` and `narrow` go to float64 and back; a float32 that meets a float64 becomes
one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from engine.expr import Sym, lift, make

Word = Callable[..., Sym]


def word(name: str) -> Word:
    return partial(make, name)


fma, nearest, power, scale = word("lane.fma"), word("lane.nearest"), word("lane.power"), word("lane.scale")
exponent, mantissa, fused = word("lane.exponent"), word("lane.mantissa"), word("lane.fused")
wide, narrow = word("lane.wide"), word("lane.narrow")
where, equal, copysign, absolute = word("where"), word("equal"), word("copysign"), word("abs")
sqrt, floor, trunc, rounded, signbit = word("sqrt"), word("floor"), word("trunc"), word("round"), word("lane.signbit")
inf, nan = math.inf, math.nan
TINY = 2.0**-126  # the smallest normal number


def polynomial(x: Sym, coefficients: tuple[float, ...]) -> Sym:
    """Horner's scheme, the highest power first."""
    value = lift(coefficients[0])
    for c in coefficients[1:]:
        value = fma(value, x, c)
    return value


def at_most(x: Sym, hi: float) -> Sym:
    """min(x, hi), but nan stays: one instruction."""
    return where(x > hi, hi, x)


def at_least(x: Sym, lo: float) -> Sym:
    return where(x < lo, lo, x)


# ---------------------------------------------------------------------------------------------- exponentials
LOG2_E = 1.4426950408889634
LN2_HEAD, LN2_REST = 0.693359375, -2.12194440e-4  # the head has 10 bits: whole multiples of it are exact
EXP = (0.0013946554, 0.008366644, 0.04166628, 0.16666542, 0.5)


def _expm1_short(f: Sym) -> Sym:
    """e^f - 1 = f + f^2 P(f) for |f| ≤ ln(2) / 2."""
    return fma(polynomial(f, EXP), f * f, f)


def _exp_parts(x: Sym) -> tuple[Sym, Sym]:
    """(q, k): e^x = (1 + q) 2^k, q = e^f - 1 with f = x - k ln 2."""
    k = nearest(x * LOG2_E)
    return _expm1_short(fma(k, -LN2_REST, fma(k, -LN2_HEAD, x))), k


def _exp_parts_of_product(x: Sym, y: Sym) -> tuple[Sym, Sym]:
    """(q, k) of e^(x y). The product is never rounded: at x y = -100 that would cost 100 ulp."""
    k = nearest(x * y * LOG2_E)
    return _expm1_short(fma(k, -LN2_REST, fused(x, y, k * -LN2_HEAD))), k


def exp(x: Sym) -> Sym:
    """1.1 ulp."""
    q, k = _exp_parts(at_least(at_most(x, 89.0), -104.0))  # e^-104 is 0, e^89 is inf
    return scale(1 + q, k)


def exp_down(x: Sym) -> Sym:
    """e^x for x ≤ 0, 1.1 ulp; below the smallest normal number, from x = -87.3 on, it is 0."""
    q, k = _exp_parts(at_least(x, -88.0))
    t = power(k)
    return fma(q, t, t)


def logistic(x: Sym) -> Sym:
    """1 / (1 + e^-x), 2.5 ulp; from x = -88.4 down it is 0."""
    q, k = _exp_parts(at_least(at_most(-x, 89.0), -88.0))
    return 1 / fma(1 + q, power(k), 1)  # 2^128 is inf, 2^-127 is 0 here


def tanh_short(x: Sym) -> Sym:
    """2.5 ulp, 0 for -0: e / (e + 2) with e = e^2x - 1, which does not cancel: for x close to 0 it is q."""
    q, k = _exp_parts(at_least(at_most(2 * x, 20.0), -20.0))  # tanh 10 is 1
    t = power(k)
    e = fma(q, t, t - 1)
    return e / (e + 2)


def exp2(x: Sym) -> Sym:
    """1.1 ulp, exact at whole numbers."""
    x = at_least(at_most(x, 129.0), -151.0)
    k = nearest(x)
    return scale(1 + _expm1_short((x - k) * math.log(2)), k)


def expm1(x: Sym) -> Sym:
    """2 ulp: 2 (q t + (t - ½)) with t = 2^(k-1), which neither cancels nor overflows before the last step."""
    q, k = _exp_parts(at_least(at_most(x, 89.0), -30.0))
    t = power(k - 1)
    return copysign(2 * fma(q, t, t - 0.5), x)  # for -0, and where q t is too small to keep its sign


def expm1_down(x: Sym) -> Sym:
    """expm1 for x ≤ 0."""
    q, k = _exp_parts(at_least(x, -30.0))
    t = power(k)
    return copysign(fma(q, t, t - 1), x)


# ---------------------------------------------------------------------------------------------- hyperbolic functions
SINH = (2.8174395e-06, 0.00019836066, 0.0083333505, 0.16666667)
TANH = (-0.005717045, 0.020650588, -0.053743497, 0.13331491, -0.33333284)


def _half_exp(x: Sym) -> Sym:
    """e^|x| / 2, which overflows where sinh and cosh do, and not before."""
    q, k = _exp_parts(at_most(absolute(x), 91.0))
    return scale(1 + q, k - 1)


def cosh(x: Sym) -> Sym:
    """1.5 ulp: h + 1/(4h) with h = e^|x| / 2."""
    h = _half_exp(x)
    return h + 0.25 / h


def sinh(x: Sym) -> Sym:
    """2 ulp: h - 1/(4h), and below 1, where that cancels, x + x s P(s) with s = x^2."""
    h = _half_exp(x)
    s = x * x
    return where(absolute(x) < 1, fma(x, s * polynomial(s, SINH), x), copysign(h - 0.25 / h, x))


def tanh(x: Sym) -> Sym:
    """1.5 ulp: 1 - 2 / (e^2|x| + 1), and below 5/8, where that cancels, x + x s P(s) with s = x^2."""
    q, k = _exp_parts(at_most(absolute(2 * x), 20.0))  # tanh 10 is 1
    s, t = x * x, power(k)
    y = where(absolute(x) < 0.625, fma(x, s * polynomial(s, TANH), x), 1 - 2 / (fma(q, t, t) + 1))
    return copysign(y, x)  # of the whole: -0 would come out as 0


# ---------------------------------------------------------------------------------------------- logarithms
LOG1P = (
    -0.0034138076,
    0.02063047,
    -0.058455568,
    0.10759569,
    -0.15401176,
    0.19710858,
    -0.24961476,
    0.3333077,
    -0.4999994,
)
LOG = (-0.078596205, 0.12881652, -0.13128753, 0.1418119, -0.16624554, 0.20002286, -0.2500081, 0.33333316)


def _log_parts(x: Sym) -> tuple[Sym, Sym, Sym]:
    """(k, f, r) for a positive x = (1 + f) 2^k, 1 + f in [√½, √2): log(1 + f) = f + r."""
    small = x < TINY  # subnormal numbers have no exponent to split off
    z = where(small, x * 2.0**23, x)
    k, f = exponent(z) - where(small, 23.0, 0.0), mantissa(z) - 1
    return k, f, f * f * fma(polynomial(f, LOG), f, -0.5)


def _at_the_ends(x: Sym, y: Sym) -> Sym:
    """y, a logarithm of x, where x is positive and finite."""
    return where(x > 0, where(x < inf, y, x), where(equal(x, 0), -inf, nan))


def log(x: Sym) -> Sym:
    """1 ulp."""
    k, f, r = _log_parts(x)
    return _at_the_ends(x, fma(k, LN2_HEAD, fma(k, LN2_REST, r) + f))


def log1p_of_share(t: Sym) -> Sym:
    """log(1 + t) for 0 ≤ t ≤ 1, 1 ulp: t + t^2 P(t)."""
    return fma(t * t, polynomial(t, LOG1P), t)


def log_wide(u: Sym) -> Sym:
    """log u of a positive float64, 1.5 ulp of float32, also where u is close to 1: u - 1 is known to 52 bits."""
    k, f = exponent(u), narrow(mantissa(u) - 1)
    r = f * f * fma(polynomial(f, LOG), f, -0.5)
    return fma(k, LN2_HEAD, fma(k, LN2_REST, r) + f)


def log1p(x: Sym) -> Sym:
    """1.5 ulp: log(1 + x) with 1 + x in float64, which is exact until it is x that is the answer."""
    y = where(absolute(x) < 2.0**-29, x, log_wide(1 + wide(x)))
    return where(x > -1, where(x < inf, y, x), where(equal(x, -1), -inf, nan))


def log2(x: Sym) -> Sym:
    """2 ulp, exact at powers of two: k + (f + r) log2(e)."""
    k, f, r = _log_parts(x)
    return _at_the_ends(x, fma(f + r, LOG2_E, k))


LOG10_2_HEAD, LOG10_2_REST = 0.30078125, 0.00024874566  # the head has 7 bits
LOG10_E_HEAD, LOG10_E_REST = 0.43359375, 0.00070073


def log10(x: Sym) -> Sym:
    """2 ulp: k log10(2) + (f + r) log10(e), both constants in two parts."""
    k, f, r = _log_parts(x)
    small = fma(f + r, LOG10_E_REST, fma(r, LOG10_E_HEAD, k * LOG10_2_REST))
    return _at_the_ends(x, fma(k, LOG10_2_HEAD, fma(f, LOG10_E_HEAD, small)))


def asinh(x: Sym) -> Sym:
    """1.5 ulp: log(a + √(a² + 1)) in float64, a = |x|; x itself where that is 1."""
    a = absolute(x)
    w = wide(a)
    return copysign(where(a < 2.0**-25, a, where(a < inf, log_wide(w + sqrt(w * w + 1)), a)), x)


def acosh(x: Sym) -> Sym:
    """1.5 ulp: log(x + √(x² - 1)) in float64."""
    w = wide(x)
    return where(x < inf, where(x < 1, nan, log_wide(w + sqrt(w * w - 1))), x)


def atanh(x: Sym) -> Sym:
    """1.5 ulp: ½ log((1 + a) / (1 - a)) in float64, a = |x|."""
    a = absolute(x)
    w = wide(a)
    y = where(a < 2.0**-25, a, 0.5 * log_wide((1 + w) / (1 - w)))
    return copysign(where(a < 1, y, where(equal(a, 1), inf, nan)), x)


# ---------------------------------------------------------------------------------------------- powers
LOG2_RATIO = (0.3407449644605141, 0.4116718768260172, 0.5770835998643981, 0.9617966732575446, 2.8853900817901605)


def pow(a: Sym, b: Sym) -> Sym:
    """1.5 ulp: 2^t, t = b log2|a| in float64, where log2 m = z P(z²), z = (m - 1) / (m + 1), is known to 36 bits.

    A negative base takes whole exponents only, and the sign of an odd one. a^0 and 1^b are 1, even of nan.
    """
    u = wide(absolute(a))
    m = mantissa(u)
    z = (m - 1) / (m + 1)
    k = exponent(u)
    k = where(absolute(k) > 200, k * inf, k)  # of 0 and of infinity
    t = wide(b) * fma(z, polynomial(z * z, LOG2_RATIO), wide(k))
    t = at_least(at_most(t, 130.0), -152.0)
    n = narrow(nearest(t))
    f = narrow(t - nearest(t)) * math.log(2)
    y = scale(1 + _expm1_short(f), n)
    whole, even = equal(floor(b), b), equal(floor(0.5 * b), 0.5 * b)
    of_negative = where(whole, where(even, y, -y), where(absolute(k) < inf, nan, y))
    y = where(equal(a, a), where(signbit(a), of_negative, y), a)
    return where(equal(b, 0), 1, where(equal(absolute(a), 1), _power_of_one(a, b, even), y))


def _power_of_one(a: Sym, b: Sym, even: Sym) -> Sym:
    """1^b = 1 of all b; (-1)^b = ±1 of whole and infinite ones."""
    of_minus_one = where(equal(floor(b), b), where(even, 1, -1), nan)
    return where(a > 0, 1, of_minus_one)


# ---------------------------------------------------------------------------------------------- the error function
ERF = (-0.0006222423, 0.005035872, -0.026793955, 0.112825245, -0.37612557, 0.12837915)
ERF_TAIL = (0.00019990103, -0.003081993, 0.022381019, -0.10425018, -0.6368207, -1.1278894, -0.0001442137)
ERFC = (
    -5.4325334e-05,
    -8.072861e-05,
    0.00051334425,
    -0.00020430329,
    -0.004473265,
    0.019921495,
    -0.05174434,
    0.09837139,
    -0.14723241,
    0.17900115,
)


def erf(x: Sym) -> Sym:
    """1.5 ulp: x + x P(x^2) below 7/8, then 1 - e^Q(|x|)."""
    a = at_most(absolute(x), 4.0)  # erf 4 is 1
    s = a * a
    q, k = _exp_parts(polynomial(a, ERF_TAIL))
    return where(absolute(x) < 0.875, fma(x, polynomial(s, ERF), x), copysign(1 - (1 + q) * power(k), x))


def erfc(x: Sym) -> Sym:
    """7 ulp: e^(-a²) w P(1 - w) with a = |x|, w = 6 / (a + 3); 2 minus that for a negative x."""
    a = at_most(absolute(x), 10.1)  # erfc 10.1 is 0
    q, k = _exp_parts_of_product(a, -a)
    w = 6 / (a + 3)
    y = scale((1 + q) * (w * polynomial(1 - w, ERFC)), k)
    return where(x < 0, 2 - y, y)


def _half_square_exp(x: Sym) -> tuple[Sym, Sym]:
    """e^(-a²/2) with 1.5 ulp, and a = |x|, 13.27 at most: from 13.25 on it is 0."""
    a = at_most(absolute(x), 13.27)
    q, k = _exp_parts_of_product(a, -0.5 * a)
    t = power(k)
    return fma(q, t, t), a


NORMAL = (
    -0.00013756142,
    2.378225e-05,
    0.0012150832,
    -0.0053293356,
    0.0145375645,
    -0.029914089,
    0.04969099,
    -0.06879888,
    0.0806754,
)


def normal_pdf(x: Sym) -> Sym:
    """3 ulp: e^(-x²/2) / √(2π)."""
    return _half_square_exp(x)[0] * (1 / math.sqrt(2 * math.pi))


def normal_cdf_down(x: Sym) -> Sym:
    """Φ(x) for x ≤ 0, 7 ulp: Φ(-a) = e^(-a²/2) w P(1 - w) with w = 9.5 / (a + 4.75)."""
    bell, a = _half_square_exp(x)
    w = 9.5 / (a + 4.75)
    return bell * (w * polynomial(1 - w, NORMAL))


def normal_cdf(x: Sym) -> Sym:
    """7 ulp; 1 minus the tail for a positive x."""
    tail = normal_cdf_down(x)
    return where(x > 0, 1 - tail, tail)
