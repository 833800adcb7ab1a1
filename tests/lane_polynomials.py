"""Where the coefficients of `engine/kernels/cpu/lane_math.py` come from: best approximations, by Remez' exchange.

python tests/lane_polynomials.py      prints them
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np

Function = Callable[[Any], Any]


def remez(f: Function, weight: Function, lo: float, hi: float, degree: int) -> tuple[list[float], float]:
    """The polynomial P with the least max |weight (f - P)| on [lo, hi]: its coefficients, highest first, and that max.

    The best one errs by the same amount, with alternating sign, at degree + 2 points. Those points are guessed, the
    polynomial solved for, and the points moved to where it errs most, until they stay.
    """
    angles = np.linspace(0, np.pi, 2001)
    x = (lo + hi) / 2 - (hi - lo) / 2 * np.cos(angles)
    with mp.workdps(40):
        y = np.array([float(f(mp.mpf(v))) for v in x])
        w = np.array([float(weight(mp.mpf(v))) for v in x])
    keep = w > 0
    x, y, w = x[keep], y[keep], w[keep]
    at = np.linspace(0, len(x) - 1, degree + 2).round().astype(int)
    for _ in range(30):
        signs = (-1.0) ** np.arange(degree + 2)
        rows = np.column_stack([np.vander(x[at], degree + 1), signs / w[at]])
        solution = np.linalg.solve(rows, y[at])
        error = w * (y - np.polyval(solution[:-1], x))
        cuts = [0, *(np.flatnonzero(np.diff(np.sign(error))) + 1), len(x)]
        peaks = [a + int(np.argmax(np.abs(error[a:b]))) for a, b in zip(cuts, cuts[1:], strict=False)]
        while len(peaks) > degree + 2:
            peaks.pop(0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1)
        if len(peaks) < degree + 2 or list(at) == peaks:
            break
        at = np.array(peaks)
    return [float(c) for c in solution[:-1]], float(np.abs(error).max())


def _exp_rest(f: Any) -> Any:
    return (mp.expm1(f) - f) / f**2 if f else mp.mpf(1) / 2


def _log_rest(f: Any) -> Any:
    return (mp.log1p(f) - f + f * f / 2) / f**3 if f else mp.mpf(1) / 3


def _odd_rest(f: Function, first: float, power: int) -> Function:
    """(f(x) / x - first) / x^power as a function of s = x^2."""

    def rest(s: Any) -> Any:
        x = mp.sqrt(s) if s > 1e-20 else mp.mpf(10) ** -10
        return (f(x) / x - first) / x**power

    return rest


def _scaled_erfc(t: Any) -> Any:
    """e^(a²) erfc(a) / w with w = 6 / (a + 3), of t = 1 - w."""
    a = 6 / (1 - t) - 3
    return mp.exp(a * a) * mp.erfc(a) / (1 - t)


def _normal_tail(u: Any) -> Any:
    """e^(a²/2) Φ(-a) / w with w = 9.5 / (a + 4.75), of u = 1 - w."""
    a = 9.5 / (1 - u) - 4.75
    return mp.exp(a * a / 2) * mp.erfc(a / mp.sqrt(2)) / 2 / (1 - u)


def _of_square(f: Function) -> Function:
    """f(x) as a function of s = x^2."""
    return lambda s: f(mp.sqrt(s) if s > 1e-20 else mp.mpf(10) ** -10)


def _log2_ratio(z: Any) -> Any:
    return mp.log((1 + z) / (1 - z), 2) / z


def _cosine_rest(s: Any) -> Any:
    return (mp.cos(mp.sqrt(s)) - 1 + s / 2) / s**2 if s > 1e-10 else mp.mpf(1) / 24


def _log1p_rest(t: Any) -> Any:
    return (mp.log1p(t) - t) / t**2 if t > 1e-8 else mp.mpf(-0.5)


def _sinc_slope_rest(x: Any) -> Any:
    return (mp.cospi(x) - mp.sincpi(x)) / x**2


LOG2 = float(mp.log(2)) / 2 * 1.001  # with room for the rounding of the reduction

# name: (function, weight, lo, hi, degree)
FITS: dict[str, tuple[Function, Function, float, float, int]] = {
    "EXP": (_exp_rest, lambda f: abs(f), -LOG2, LOG2, 4),
    "LOG": (_log_rest, lambda f: f * f, float(mp.sqrt(0.5)) - 1, float(mp.sqrt(2)) - 1, 7),
    "TANH": (_odd_rest(mp.tanh, 1, 2), lambda s: s, 0.0, 0.625**2, 4),
    "SINH": (_odd_rest(mp.sinh, 1, 2), lambda s: s, 0.0, 1.0, 3),
    "ERF": (_odd_rest(mp.erf, 1, 0), lambda s: mp.mpf(1), 0.0, 0.875**2, 5),
    "ERF_TAIL": (lambda t: mp.log(mp.erfc(t)), lambda t: mp.erfc(t), 0.875, 4.0, 6),
    "LOG1P": (_log1p_rest, lambda t: t, 0.0, 1.0, 8),
    "LOG2_RATIO": (_of_square(_log2_ratio), lambda s: mp.mpf(1), 0.0, 0.1716**2, 4),
    "SIN": (_odd_rest(mp.sin, 1, 2), lambda s: s, 0.0, 0.8**2, 2),
    "COS": (_cosine_rest, lambda s: s * s, 0.0, 0.8**2, 2),
    "ASIN": (_odd_rest(mp.asin, 1, 2), lambda s: s, 0.0, 0.25, 4),
    "ATAN": (_odd_rest(mp.atan, 1, 2), lambda s: s, 0.0, 1.0, 8),
    "SINC": (_of_square(mp.sincpi), lambda s: mp.mpf(1), 0.0, 0.25, 4),
    "COSPI": (_of_square(mp.cospi), lambda s: mp.mpf(1), 0.0, 0.25, 5),
    "SINC_SLOPE": (_of_square(_sinc_slope_rest), lambda s: mp.mpf(1), 0.0, 0.25, 4),
    "NORMAL": (_normal_tail, lambda u: 1 / _normal_tail(u), -1.0, 1 - 9.5 / 18.02, 8),
    "ERFC": (_scaled_erfc, lambda t: 1 / _scaled_erfc(t), -1.0, (10.1 - 3) / (10.1 + 3), 9),
}

if __name__ == "__main__":
    for name, fit in FITS.items():
        coefficients, error = remez(*fit)
        print(f"{name} = ({', '.join(repr(float(np.float32(c))) for c in coefficients)})  # {error:.1e}")
