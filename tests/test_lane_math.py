"""Functions in SIMD lanes keep the bounds that their docstrings promise, in units in the last place, at all kinds of
numbers.
"""

from __future__ import annotations

import lane_polynomials
import mpmath
import numpy as np
import pytest
from scipy import special

import engine.ops  # noqa: F401
from engine.expr import make
from engine.formula import Formula

lane_cache = pytest.importorskip("engine.kernels.cpu.lane_cache")
if not lane_cache.enabled():
    pytest.skip("machine code is switched off here", allow_module_level=True)

from engine.kernels.cpu import lane_circle, lane_math  # noqa: E402

inf, nan = np.inf, np.nan
TINY = np.finfo(np.float32).tiny

# Units in the last place against float64; the docstrings of lane_math promise these.
BOUNDS = {
    "exp": 1.1, "exp2": 1.1, "expm1": 2, "sinh": 2, "cosh": 1.5, "tanh": 1.5, "log": 1, "log1p": 1.5, "log2": 2,
    "log10": 2, "asinh": 1.5, "acosh": 1.5, "atanh": 1.6, "erf": 1.5, "erfc": 7, "sin": 2, "cos": 2, "tan": 3.5,
    "asin": 2.5, "acos": 1.5, "atan": 2, "normal_pdf": 3, "normal_cdf": 7,
}  # fmt: skip
BOUNDS_OF_TWO = {"pow": 1.5, "atan2": 3, "hypot": 0.51, "remainder": 0.51, "floor_divide": 0.51}
FLUSHED = {"normal_pdf", "normal_cdf"}  # 0 below the smallest normal number
REFERENCE = {name: getattr(np, name, None) or getattr(special, name, None) for name in (*BOUNDS, *BOUNDS_OF_TWO)}
REFERENCE |= {"normal_pdf": lambda x: np.exp(-x * x / 2) / np.sqrt(2 * np.pi), "normal_cdf": special.ndtr}
SPECIAL = np.array(
    [0.0, -0.0, inf, -inf, nan, 1e-45, -1e-45, 1e-40, -1e-40, TINY, -TINY, 3.4e38, -3.4e38, 1, -1, 2, 4, 0.125,
     88.72283, 88.7229, 89.4, 89.5, -87.4, -103.9, -104.1, -150, 1e-30, -1e-30, 5, -5,
     10, 10.05, -10, 20, -20, 127, 128, -149, -150.5],
    np.float32,
)  # fmt: skip


def distance(y, exact):
    """In units in the last place of float32, infinite where the kinds of number differ."""
    with np.errstate(all="ignore"):
        near = exact.astype(np.float32)
        unit = np.maximum(np.spacing(np.abs(np.where(np.isfinite(near), near, 1))), 2.0**-149).astype(float)
        d = np.abs(y.astype(float) - exact) / unit
    same = (y == near) | (np.isnan(y) & np.isnan(exact))
    d[same] = 0
    d[~same & ~(np.isfinite(y) & np.isfinite(near))] = inf
    return d


# ------------------------------------------------------------------------------------------------ one number
@pytest.mark.parametrize("name", BOUNDS)
def test_lane_mathematics_keeps_its_bound(name):
    run = lane_cache.function(Formula.trace(lambda x: make(name, x)), "f")
    x = np.arange(0, 1 << 32, 4093, dtype=np.uint32).view(np.float32)  # a million bit patterns of all kinds
    with np.errstate(all="ignore"):
        exact = REFERENCE[name](x.astype(float))
    d = distance(run(x), exact)
    d[(name in FLUSHED) & (exact < TINY) & (run(x) >= 0) & (run(x) < TINY)] = 0
    worst = int(np.argmax(d))
    assert d[worst] <= BOUNDS[name], f"{name}({x[worst]!r}) is {run(x)[worst]!r}, {d[worst]} ulp from {exact[worst]!r}"


@pytest.mark.parametrize("name", BOUNDS)
def test_lane_mathematics_at_special_values(name):
    run = lane_cache.function(Formula.trace(lambda x: make(name, x)), "f")
    with np.errstate(all="ignore"):
        exact = REFERENCE[name](SPECIAL.astype(float))
    y = run(SPECIAL)
    d = distance(y, exact)
    d[(name in FLUSHED) & (exact < TINY) & (y >= 0) & (y < TINY)] = 0
    assert d.max() <= BOUNDS[name]
    signed = ~np.isnan(exact)
    np.testing.assert_array_equal(np.signbit(y)[signed], np.signbit(exact)[signed])


@pytest.mark.parametrize(("form", "exactly"), [(lane_math.logistic, special.expit), (lane_math.tanh_short, np.tanh)])
def test_the_functions_of_recurrent_cells_keep_their_bound(form, exactly):
    run = lane_cache.function(Formula.trace(form), "f")
    x = np.concatenate([np.arange(0, 1 << 32, 4093, dtype=np.uint32).view(np.float32), SPECIAL])
    with np.errstate(all="ignore"):
        y, exact = run(x), exactly(x.astype(float))
    d = distance(y, exact)
    d[(np.abs(exact) < TINY) & (np.abs(y) < TINY)] = 0
    assert d.max() <= 2.5


@pytest.mark.parametrize("name", BOUNDS_OF_TWO)
def test_lane_mathematics_of_two_numbers(name):
    """Bit patterns of all kinds, ordinary numbers, numbers close to each other, whole ones, and all special values."""
    run = lane_cache.function(Formula.trace(lambda a, b: make(name, a, b)), "ff")
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, (2, 400_000), dtype=np.uint32).view(np.float32)
    plain = rng.standard_normal((2, 400_000)).astype(np.float32) * np.float32([[30], [3]])
    near = np.abs(bits[0]), rng.choice(np.float32([1, 0.99999, 1.00001, 2, 3]), bits.shape[1])
    whole = rng.integers(-40, 40, (2, 400_000)).astype(np.float32)
    hard = (x.ravel() for x in np.meshgrid(SPECIAL, np.concatenate([SPECIAL, [0.5, 3.0, -3.0, 2.5]], dtype=np.float32)))
    with np.errstate(all="ignore"):
        near = near[0], near[0] * near[1]
    a, b = (np.concatenate(x) for x in zip(bits, plain, near, whole, hard, (plain[0] ** 2, plain[1] * 9), strict=True))
    with np.errstate(all="ignore"):
        y = run(a, b)
        exact = REFERENCE[name](a.astype(float), b.astype(float))
    d = distance(y, exact)
    w = int(np.argmax(d))
    assert d[w] <= BOUNDS_OF_TWO[name], f"{name}({a[w]!r}, {b[w]!r}) is {y[w]!r}, {d[w]} ulp from {exact[w]!r}"
    zero = exact == 0
    np.testing.assert_array_equal(np.signbit(y)[zero], np.signbit(exact)[zero])


def test_the_neighbour_of_a_number():
    run = lane_cache.function(Formula.trace(lambda a, b: make("nextafter", a, b)), "ff")
    a, b = (x.ravel() for x in np.meshgrid(SPECIAL, SPECIAL))
    np.testing.assert_array_equal(run(a, b), np.nextafter(a, b))
    np.testing.assert_array_equal(np.signbit(run(a, b)), np.signbit(np.nextafter(a, b)))


@pytest.mark.parametrize(("name", "of"), [("exp", lambda x: -abs(x)), ("expm1", lambda x: -abs(x))])
def test_a_known_range_changes_no_more_than_the_last_place(name, of):
    """Where an argument can't be positive there is a cheaper form; it may flush subnormal results to 0."""
    run = lane_cache.function(Formula.trace(lambda x: make(name, of(x))), "f")
    x = np.arange(0, 1 << 31, 4093, dtype=np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        exact = REFERENCE[name](of(x.astype(float)))
        d = distance(run(x), exact)
    d[(name == "exp") & (exact < TINY) & (run(x) >= 0) & (run(x) < TINY)] = 0
    assert d.max() <= BOUNDS[name], x[d.argmax()]


def test_the_logarithm_of_one_and_a_share():
    run = lane_cache.function(Formula.trace(lambda x: make("log1p", make("exp", -abs(x)))), "f")
    x = np.linspace(0, 90, 300_001, dtype=np.float32)
    d = distance(run(x), np.where(x < 87.3, np.log1p(np.exp(-x.astype(float))), 0))
    assert d[x < 87.3].max() <= 2.2 and d[x > 87.7].max() == 0


@pytest.mark.parametrize("name", ["exp", "erfc", "log1p"])
def test_the_float64_reference_is_one(name):
    """SciPy's and NumPy's float64 functions are the oracle above; here is theirs."""
    x = np.linspace(-0.9, 9, 50)
    with mpmath.workdps(30):
        exact = [float(getattr(mpmath, name)(mpmath.mpf(v))) for v in x]
    np.testing.assert_allclose(REFERENCE[name](x), exact, rtol=1e-14)


@pytest.mark.parametrize("name", lane_polynomials.FITS)
def test_coefficients_are_those_of_the_best_approximation(name):
    function, weight, lo, hi, degree = lane_polynomials.FITS[name]
    _, best = lane_polynomials.remez(function, weight, lo, hi, degree)
    x = np.linspace(lo, hi, 101)
    with mpmath.workdps(30):
        exact, weights = (np.array([float(f(mpmath.mpf(v))) for v in x]) for f in (function, weight))
    coefficients = getattr(lane_math, name, None) or getattr(lane_circle, name)
    error = np.abs(weights * (exact - np.polyval(coefficients, x)))
    written = np.abs(weights) * np.polyval(np.abs(coefficients), np.abs(x)) * 2.0**-23  # what float32 costs
    assert (error <= 1.01 * best + written).all()
