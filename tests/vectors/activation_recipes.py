"""One row per activation, as in elementwise_recipes.py: PyTorch's function, the definition, where to look."""

import mpmath as mp
import torch
import torch.nn.functional as F
from elementwise_recipes import HUGE, INF, MIDDLE, NAN, SMALL, TAILS, TINY, Row, odd_at, sign, where
from recipe import TORCH


def mp_sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def mp_elu(x, alpha):
    return where(x > 0, x, alpha * mp.expm1(x))


def mp_hard_sigmoid(x):
    return sorted([mp.mpf(0), x + 3, mp.mpf(6)])[1] / 6


def mp_phi(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


# The float64 gradients of F.hardsigmoid and F.celu carry 1/6 and 1/alpha in single precision: eight good digits.
COMPOSED = TORCH + " (composition)"
SELU_ALPHA, SELU_SCALE = "1.6732632423543772848170429916717", "1.0507009873554804934193349852946"

ACTIVATION: dict[str, Row | list[Row]] = {
    "relu": Row(torch.relu, lambda x: where(x > 0, x, mp.mpf(0)), [*MIDDLE, TINY, -TINY],
        [(0.0, 0.0), (INF, INF), (-INF, 0.0), (NAN, NAN)], kinks=(0,)),
    "leaky_relu": [Row(F.leaky_relu, lambda x, negative_slope: where(x > 0, x, negative_slope * x), MIDDLE,
        [(0.0, 0.0), (INF, INF), (-INF, -INF)], params={"negative_slope": s}, kinks=(0,)) for s in (0.01, 0.3)],
    "relu6": Row(F.relu6, lambda x: sorted([mp.mpf(0), x, mp.mpf(6)])[1], [*MIDDLE, 5.5, 8.0],
        [(0.0, 0.0), (6.0, 6.0), (INF, 6.0), (-INF, 0.0)], low=-2, high=8, kinks=(0, 6)),
    "hard_tanh": Row(F.hardtanh, lambda x: sorted([mp.mpf(-1), x, mp.mpf(1)])[1], [0.1, -0.5, 0.7, 1.5, -2.25],
        [(1.0, 1.0), (-1.0, -1.0), (INF, 1.0), (-INF, -1.0)], kinks=(-1, 1)),
    "hard_sigmoid": Row(lambda x: F.relu6(x + 3) / 6, mp_hard_sigmoid, MIDDLE,
        [(3.0, 1.0), (-3.0, 0.0), (INF, 1.0), (-INF, 0.0)], low=-5, high=5, kinks=(-3, 3), source=COMPOSED),
    "hard_swish": Row(F.hardswish, lambda x: x * mp_hard_sigmoid(x), MIDDLE,
        [(0.0, 0.0), (3.0, 3.0), (-3.0, 0.0), (INF, INF)], low=-5, high=5, kinks=(-3, 3)),
    "softshrink": [Row(lambda x, threshold: F.softshrink(x, threshold), lambda x,
        threshold: sign(x) * max(abs(x) - threshold, mp.mpf(0)), MIDDLE, [(0.0, 0.0), (INF, INF), (-INF, -INF)],
        params={"threshold": t}, kinks=(-t, t)) for t in (0.5, 1.2)],
    "hardshrink": [Row(lambda x, threshold: F.hardshrink(x, threshold), lambda x,
        threshold: where(abs(x) > threshold, x, mp.mpf(0)), MIDDLE, [(0.0, 0.0), (INF, INF), (-INF, -INF)],
        params={"threshold": t}, kinks=(-t, t)) for t in (0.5, 1.2)],
    "threshold": Row(lambda x, threshold, value: F.threshold(x, threshold, value), lambda x, threshold,
        value: where(x > threshold, x, value), MIDDLE, [(INF, INF), (-INF, -2.0)],
        params={"threshold": 0.25, "value": -2.0}, kinks=(0.25,)),
    "softsign": Row(F.softsign, lambda x: x / (1 + abs(x)), [*MIDDLE, 1e-20, -1e-9, 1e20, -HUGE], odd_at((0.0, 0.0)),
        tolerance=INF, why="PyTorch squares 1 + |x|"),
    "sigmoid": Row(torch.sigmoid, mp_sigmoid, [*MIDDLE, 1e-20, -1e-9, *TAILS, -700.0],
        [(0.0, 0.5), (INF, 1.0), (-INF, 0.0), (1e3, 1.0), (-1e3, 0.0), (NAN, NAN)], tolerance=INF,
        why="PyTorch's y (1 - y) loses the right tail of the derivative"),
    "log_sigmoid": Row(F.logsigmoid, lambda x: -mp.log1p(mp.exp(-x)), [*MIDDLE, 1e-20, -1e-9, *TAILS, -700.0, 700.0],
        [(INF, 0.0), (-INF, -INF), (-1e3, -1e3), (NAN, NAN)], tolerance=1e-12),
    "softplus": Row(F.softplus, lambda x: mp.log1p(mp.exp(x)), [*MIDDLE, 1e-20, -1e-9, *TAILS, -700.0, 700.0],
        [(INF, INF), (-INF, 0.0), (1e3, 1e3), (-1e3, 0.0), (NAN, NAN)], tolerance=1e-8,
        why="PyTorch returns x itself beyond 20"),
    "silu": Row(F.silu, lambda x: x * mp_sigmoid(x), [*MIDDLE, 1e-20, -1e-9, *TAILS],
        [(0.0, 0.0), (INF, INF), (1e3, 1e3), (-1e3, -0.0), (NAN, NAN)], tolerance=1e-11),
    "mish": Row(F.mish, lambda x: x * mp.tanh(mp.log1p(mp.exp(x))), [*MIDDLE, 1e-20, -1e-9, *TAILS],
        [(0.0, 0.0), (INF, INF), (1e3, 1e3), (-1e3, -0.0), (NAN, NAN)], tolerance=1e-11),
    "gelu": Row(F.gelu, lambda x: x * mp_phi(x), [*MIDDLE, 1e-20, -1e-9, 12.5, -5.0, -12.5, -30.0, 100.0],
        [(0.0, 0.0), (INF, INF), (1e3, 1e3), (-1e3, -0.0), (NAN, NAN)], tolerance=INF,
        why="PyTorch's 1 + erf(x) cancels in the left tail"),
    "gelu_tanh": Row(lambda x: F.gelu(x, approximate="tanh"),
        lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))),
        [*MIDDLE, 1e-20, -1e-9, 12.5, -5.0, -12.5, 100.0],
        [(0.0, 0.0), (INF, INF), (1e3, 1e3), (-1e3, -0.0), (NAN, NAN)], tolerance=INF,
        why="PyTorch's 1 + tanh(u) cancels in the left tail"),
    "tanhshrink": Row(F.tanhshrink, lambda x: x - mp.tanh(x), [*MIDDLE, 1e-5, 0.01, -0.02, 20.0, -300.0],
        odd_at((0.0, 0.0), (INF, INF)), tolerance=INF, why="x - tanh(x) cancels near 0"),
    "elu": [Row(F.elu, mp_elu, [*MIDDLE, *SMALL, *TAILS], [(0.0, 0.0), (INF, INF), (-INF, -a), (-1e3, -a), (NAN, NAN)],
        params={"alpha": a}, kinks=(0,), tolerance=1e-12) for a in (1.0, 0.7)],
    "celu": [Row(lambda x, alpha: alpha * F.elu(x / alpha), lambda x,
        alpha: where(x > 0, x, alpha * mp.expm1(x / alpha)), [*MIDDLE, *SMALL, -20.0, 25.0],
        [(0.0, 0.0), (INF, INF), (-INF, -a), (NAN, NAN)], params={"alpha": a}, kinks=(0,), tolerance=1e-12,
        source=COMPOSED) for a in (1.0, 0.7)],
    "selu": Row(F.selu, lambda x: mp.mpf(SELU_SCALE) * mp_elu(x, mp.mpf(SELU_ALPHA)), [*MIDDLE, *SMALL, *TAILS],
        [(0.0, 0.0), (INF, INF), (-INF, -1.7580993408473766), (NAN, NAN)], kinks=(0,), tolerance=1e-12),
}
