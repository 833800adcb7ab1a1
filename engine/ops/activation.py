"""Activation functions: what makes a stack of linear maps more than one. Straight pieces first, then smooth ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backends import Array, backend_of
from ..errors import ShapeError
from ..fuse import fuse
from ..op import ElementwiseOp, elementwise, op
from ..samples import Draw, Kink, interval, kink, real
from ..shapes import normalize_axis
from .arithmetic import abs, sign, square
from .comparison import clamp, maximum, minimum, where
from .exponential import ROOT_HALF, erf, exp, expm1, log, log1p, normal_cdf, normal_pdf
from .join import concat
from .trigonometric import cosh, cosine_lag, sech, tanh

inf, nan = math.inf, math.nan

# ---------------------------------------------------------------------------------------------- made of straight pieces
relu = elementwise(
    "relu",
    definition=lambda x: maximum(x, 0),
    latex=r"\operatorname{{ReLU}}\left({0}\right)", result="number",
    vjp=[lambda g, x, y: where(y > 0, g, 0)],
    source="Nair and Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, 2010", equations=("E14",),
    special={2.5: 2.5, -2.5: 0.0, 0.0: 0.0, inf: inf, -inf: 0.0, nan: nan},
    kinks=[kink(0.0, 0.0)],
    invariants=[lambda f, x: (f(x) - f(-x), x), lambda f, x: (f(f(x)), f(x))],
)  # fmt: skip

leaky_relu = elementwise(
    "leaky_relu",
    definition=lambda x, *, negative_slope: where(x > 0, x, negative_slope * x),
    params={"negative_slope": 0.01},
    vjp=[lambda g, x, y, *, negative_slope: where(x > 0, g, g * negative_slope)],
    source="Maas, Hannun and Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, 2013",
    special={2.5: 2.5, -2.0: -0.02, 0.0: 0.0, inf: inf, -inf: -inf, nan: nan},
    kinks=[kink(0.0, 0.01)],
    invariants=[lambda f, x: (f(x), relu(x) - 0.01 * relu(-x))],
)  # fmt: skip

relu6 = elementwise(
    "relu6",
    definition=lambda x: minimum(maximum(x, 0), 6),
    forward=lambda x: clamp(x, 0, 6),
    why="one comparison a side, and a NaN passes whatever a target's max and min do with it",
    latex=r"\operatorname{{ReLU6}}\left({0}\right)", result="number",
    vjp=[lambda g, x, y: where((x > 0) & (x < 6), g, 0)],
    source="Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10, 2010",
    domain=interval(-2.0, 8.0), special={-1.0: 0.0, 2.5: 2.5, 6.0: 6.0, inf: 6.0, -inf: 0.0, nan: nan},
    kinks=[kink(0.0, 0.0), kink(6.0, 0.0)],
    invariants=[lambda f, x: (f(x) + f(6 - x), x * 0 + 6)],
)  # fmt: skip

hard_tanh = elementwise(
    "hard_tanh",
    definition=lambda x: maximum(minimum(x, 1), -1),
    forward=lambda x: clamp(x, -1, 1),
    why="one comparison a side, and a NaN passes whatever a target's max and min do with it",
    vjp=[lambda g, x, y: where(abs(x) < 1, g, 0)],
    special={0.5: 0.5, 1.0: 1.0, inf: 1.0, -inf: -1.0, nan: nan},
    kinks=[kink(1.0, 0.0), kink(-1.0, 0.0)],
    invariants=[lambda f, x: (f(-x), -f(x))],
)  # fmt: skip

hard_sigmoid = elementwise(
    "hard_sigmoid",
    definition=lambda x: minimum(maximum(x + 3, 0), 6) / 6,
    forward=lambda x: clamp(x + 3, 0, 6) / 6,
    why="one comparison a side, and a NaN passes whatever a target's max and min do with it",
    vjp=[lambda g, x, y: where(abs(x) < 3, g / 6, 0)],
    source="Howard et al., Searching for MobileNetV3, 2019, section 5.2; the form of Keras 3 and PyTorch",
    domain=interval(-5.0, 5.0), special={0.0: 0.5, 3.0: 1.0, -3.0: 0.0, inf: 1.0, -inf: 0.0, nan: nan},
    kinks=[kink(3.0, 0.0), kink(-3.0, 0.0)],
    invariants=[lambda f, x: (f(x) + f(-x), x * 0 + 1)],
)  # fmt: skip

hard_swish = elementwise(
    "hard_swish",
    definition=lambda x: x * minimum(maximum(x + 3, 0), 6) / 6,
    forward=lambda x: where(x <= -3, 0, x * (minimum(x + 3, 6) / 6)),
    vjp=[lambda g, x, y: where(x <= -3, 0, where(x < 3, g * (2 * x + 3) / 6, g))],
    why="-inf times 0 is never met",
    source="Howard et al., Searching for MobileNetV3, 2019, section 5.2",
    domain=interval(-5.0, 5.0), special={0.0: 0.0, 3.0: 3.0, -3.0: 0.0, inf: inf, -inf: 0.0, nan: nan},
    kinks=[kink(3.0, 1.0), kink(-3.0, 0.0)],
    invariants=[lambda f, x: (f(x), x * hard_sigmoid(x)), lambda f, x: (f(x) - f(-x), x)],
)  # fmt: skip

threshold = elementwise(
    "threshold",
    definition=lambda x, *, threshold, value: where(x > threshold, x, value),
    forward=lambda x, *, threshold, value: where(x <= threshold, value, x),
    why="the comparison is turned round so that a NaN, which is not <= anything, stays NaN",
    params={"threshold": 0.0, "value": 0.0},
    vjp=[lambda g, x, y, *, threshold, value: where(x <= threshold, 0, g)],
    special={2.5: 2.5, 0.0: 0.0, -1.0: 0.0, inf: inf, -inf: 0.0, nan: nan},
    kinks=[Kink(lambda x, *, threshold, value: x - threshold, (0.0,), (0.0,))],
    invariants=[lambda f, x: (f(x), relu(x)), lambda f, x: (f(x, threshold=-inf), x)],
)  # fmt: skip

hardshrink = elementwise(
    "hardshrink",
    definition=lambda x, *, threshold: where(abs(x) > threshold, x, 0),
    forward=lambda x, *, threshold: where(abs(x) <= threshold, 0, x),
    why="the comparison is turned round so that a NaN, which is not <= anything, stays NaN",
    params={"threshold": 0.5},
    vjp=[lambda g, x, y, *, threshold: where(abs(x) <= threshold, 0, g)],
    special={2.5: 2.5, 0.5: 0.0, -0.25: 0.0, -1.0: -1.0, inf: inf, -inf: -inf, nan: nan},
    kinks=[Kink(lambda x, *, threshold: np.abs(x) - threshold, (0.5,), (0.0,))],
    invariants=[lambda f, x: (f(-x), -f(x)), lambda f, x: (f(f(x)), f(x))],
)  # fmt: skip

softshrink = elementwise(
    "softshrink",
    definition=lambda x, *, threshold: sign(x) * maximum(abs(x) - threshold, 0),
    forward=lambda x, *, threshold: x - clamp(x, -threshold, threshold),
    why="no sign and no product: one subtraction, exact where the threshold is, and a NaN stays NaN",
    params={"threshold": 0.5},
    vjp=[lambda g, x, y, *, threshold: where(abs(x) <= threshold, 0, g)],
    source="Donoho, De-noising by Soft-Thresholding, 1995",
    special={2.5: 2.0, 0.5: 0.0, -0.25: 0.0, -1.0: -0.5, inf: inf, -inf: -inf, nan: nan},
    kinks=[Kink(lambda x, *, threshold: np.abs(x) - threshold, (0.5,), (0.0,))],
    invariants=[lambda f, x: (f(-x), -f(x)), lambda f, x: abs(f(x)) <= abs(x)],
)  # fmt: skip

# ----------------------------------------------------------------------------------------- the sigmoid and its integral
sigmoid: ElementwiseOp = elementwise(
    "sigmoid",
    definition=lambda x: 1 / (1 + exp(-x)),
    forward=lambda x: where(x > 0, 1, exp(-abs(x))) / (1 + exp(-abs(x))),
    latex=r"\sigma\left({0}\right)",
    vjp=[lambda g, x, y: g * sigmoid_slope(x)],
    why="exp never sees a positive argument: no overflow, and both tails keep their relative precision; "
    "σ'(x) = σ(x) σ(−x) is the op sigmoid_slope",
    equations=("E12",),
    special={0.0: 0.5, 1e3: 1.0, -1e3: 0.0, inf: 1.0, -inf: 0.0, nan: nan},
    invariants=[lambda f, x: (f(x) + f(-x), x * 0 + 1), lambda f, x: (f(-x), exp(-x) * f(x)),
                lambda f, x: (2 * f(2 * x), 1 + tanh(x))],
)  # fmt: skip

sigmoid_slope: ElementwiseOp = elementwise(
    "sigmoid_slope",
    definition=lambda x: exp(-x) / square(1 + exp(-x)),
    forward=lambda x: exp(-abs(x)) / square(1 + exp(-abs(x))),
    latex=r"\sigma'\left({0}\right)",
    vjp=[lambda g, x, y: -g * y * tanh(0.5 * x)],
    why="it is even, so |x| will do, and nothing overflows; y (1 - y) would lose the right tail, as y rounds to 1",
    special={0.0: 0.25, 1e3: 0.0, -1e3: 0.0, inf: 0.0, -inf: 0.0, nan: nan},
    invariants=[lambda f, x: (f(-x), f(x)), lambda f, x: (f(x), sigmoid(x) * sigmoid(-x))],
)  # fmt: skip

softplus = elementwise(
    "softplus",
    definition=lambda x: log(1 + exp(x)),
    forward=lambda x: maximum(x, 0) + log1p(exp(-abs(x))),
    vjp=[lambda g, x, y: g * sigmoid(x)],
    why="log(1 + e^x) = max(x, 0) + log(1 + e^-|x|): no overflow, and the left tail is e^x, not log(1)",
    source="Dugas et al., Incorporating Second-Order Functional Knowledge for Better Option Pricing, 2000",
    special={1e3: 1e3, -1e3: 0.0, inf: inf, -inf: 0.0, nan: nan},
    invariants=[lambda f, x: (f(x) - f(-x), x), lambda f, x: f(x) > relu(x)],
)  # fmt: skip

log_sigmoid = elementwise(
    "log_sigmoid",
    definition=lambda x: log(1 / (1 + exp(-x))),
    forward=lambda x: minimum(x, 0) - log1p(exp(-abs(x))),
    latex=r"\log \sigma\left({0}\right)",
    vjp=[lambda g, x, y: g * sigmoid(-x)],
    why="log of a sigmoid that has rounded to 0 would be -inf; this is x there",
    special={1e3: 0.0, -1e3: -1e3, inf: 0.0, -inf: -inf, nan: nan},
    invariants=[lambda f, x: (f(x), -softplus(-x)), lambda f, x: (exp(f(x)), sigmoid(x))],
)  # fmt: skip

# The softplus of two numbers: a + softplus(b - a).
logaddexp = elementwise(
    "logaddexp",
    definition=lambda a, b: log(exp(a) + exp(b)),
    numpy="np.logaddexp",
    forward=lambda a, b: where(a == b, a + math.log(2), maximum(a, b) + log1p(exp(-abs(a - b)))),
    latex=r"\log\left(e^{{{0}}} + e^{{{1}}}\right)",
    vjp=[lambda g, a, b, y: g * sigmoid(a - b), lambda g, a, b, y: g * sigmoid(b - a)],
    why="the larger one is taken out of the logarithm, so no exp overflows; equal infinities never meet in a - b",
    domain=[real, interval(1.0, 4.0)],  # the sum stays away from 1, where any logarithm of it cancels
    special={(1e3, -1e3): 1e3, (-inf, 2.0): 2.0, (-inf, -inf): -inf, (inf, inf): inf, (inf, -inf): inf,
             (nan, 1.0): nan},
    invariants=[lambda f, a, b: (f(a, b), f(b, a)), lambda f, a, b: (f(a + 1, b + 1), f(a, b) + 1)],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ x times a gate
_GATE_AT_MINUS_INF = {-inf: nan}  # -inf times 0, as in PyTorch

silu = elementwise(
    "silu",
    definition=lambda x: x / (1 + exp(-x)),
    forward=lambda x: x * sigmoid(x),
    why="exp(-x) overflows from x = -710 on (-88 in float32); the stable sigmoid does not",
    latex=r"{0} \, \sigma\left({0}\right)", precedence=4,
    vjp=[lambda g, x, y: g * sigmoid(x) * (1 + x * sigmoid(-x))],
    source="Elfwing, Uchibe and Doya, Sigmoid-Weighted Linear Units, 2018, equation 1; also called swish",
    special={0.0: 0.0, 1e3: 1e3, -1e3: -0.0, inf: inf, nan: nan, **_GATE_AT_MINUS_INF},
    invariants=[lambda f, x: (f(x) - f(-x), x)],
)  # fmt: skip

mish = elementwise(
    "mish",
    definition=lambda x: x * tanh(log(1 + exp(x))),
    forward=lambda x: x * tanh(softplus(x)),
    vjp=[lambda g, x, y: g * (tanh(softplus(x)) + x * sigmoid(x) * square(sech(softplus(x))))],
    why="softplus neither overflows nor loses its left tail",
    source="Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2019, equation 1",
    special={0.0: 0.0, 1e3: 1e3, -1e3: -0.0, inf: inf, nan: nan, **_GATE_AT_MINUS_INF},
    invariants=[lambda f, x: abs(f(x)) <= abs(x)],
)  # fmt: skip

ROOT_2_BY_PI = math.sqrt(2 / math.pi)

gelu = elementwise(
    "gelu",
    definition=lambda x: x * (0.5 * (1 + erf(ROOT_HALF * x))),
    forward=lambda x: where(x < 0, -0.0, x) - minimum(abs(x), 40) * normal_cdf(-abs(x)),
    latex=r"{0} \, \Phi\left({0}\right)", precedence=4,
    vjp=[lambda g, x, y: g * (normal_cdf(x) + x * normal_pdf(x))],
    why="1 + erf cancels for x < 0 and is 0 from -8 on; x Φ(x) = max(x, 0) - |x| Φ(-|x|) keeps the tail, which is 0 at "
    "40, so that infinity meets no 0",
    ulps=32,  # the argument's own rounding counts x² fold in a tail that falls like e^(-x²/2)
    source="Hendrycks and Gimpel, Gaussian Error Linear Units, 2016, section 2",
    special={0.0: 0.0, 1e3: 1e3, -1e3: -0.0, inf: inf, -inf: -0.0, nan: nan},
    invariants=[lambda f, x: (f(x) - f(-x), x)],
)  # fmt: skip


def _bend(x: Any) -> Any:
    """2u with u = √(2/π) (x + 0.044715 x³): (1 + tanh u) / 2 = σ(2u) is close to Φ(x)."""
    return 2 * ROOT_2_BY_PI * x * (1 + 0.044715 * x**2)


def _bend_slope(x: Any) -> Any:
    return 2 * ROOT_2_BY_PI * (1 + 3 * 0.044715 * x**2)


gelu_tanh = elementwise(
    "gelu_tanh",
    definition=lambda x: 0.5 * x * (1 + tanh(ROOT_2_BY_PI * (x + 0.044715 * x**3))),
    forward=lambda x: x * sigmoid(_bend(x)),
    vjp=[lambda g, x, y: g * sigmoid(_bend(x)) * (1 + x * sigmoid(-_bend(x)) * _bend_slope(x))],
    why="(1 + tanh u) / 2 = σ(2u): 1 + tanh cancels for x < 0, the sigmoid keeps the tail",
    ulps=32,  # as for gelu
    source="Hendrycks and Gimpel, Gaussian Error Linear Units, 2016, section 2",
    special={0.0: 0.0, 1e3: 1e3, -1e3: -0.0, inf: inf, nan: nan, **_GATE_AT_MINUS_INF},
    invariants=[lambda f, x: (f(x) - f(-x), x), lambda f, x: abs(f(x) - gelu(x)) < 1e-3],
)  # fmt: skip

# ----------------------------------------------------------------------------------------- exponential to the left of 0
# exp and expm1 see min(x, 0): the arm that isn't taken must not overflow, or its derivative would be 0 times inf.
elu = elementwise(
    "elu",
    definition=lambda x, *, alpha: where(x > 0, x, alpha * (exp(x) - 1)),
    forward=lambda x, *, alpha: where(x > 0, x, alpha * expm1(minimum(x, 0))),
    params={"alpha": 1.0},
    vjp=[lambda g, x, y, *, alpha: where(x > 0, g, g * alpha * exp(minimum(x, 0)))],  # not y + alpha, which cancels
    why="expm1 keeps the digits that e^x - 1 cancels near 0",
    source="Clevert, Unterthiner and Hochreiter, Exponential Linear Units, 2016, equation 15",
    special={2.5: 2.5, 0.0: 0.0, -1e3: -1.0, inf: inf, -inf: -1.0, nan: nan},
    kinks=[kink(0.0, 1.0)],
    invariants=[lambda f, x: (f(x), relu(x) + expm1(-relu(-x)))],
)  # fmt: skip

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805

selu = elementwise(
    "selu",
    definition=lambda x: SELU_SCALE * where(x > 0, x, SELU_ALPHA * (exp(x) - 1)),
    forward=lambda x: SELU_SCALE * where(x > 0, x, SELU_ALPHA * expm1(minimum(x, 0))),
    vjp=[lambda g, x, y: SELU_SCALE * where(x > 0, g, g * SELU_ALPHA * exp(minimum(x, 0)))],
    why="expm1 keeps the digits that e^x - 1 cancels near 0",
    source="Klambauer et al., Self-Normalizing Neural Networks, 2017, equation 2 and appendix A (the two constants)",
    special={1.0: SELU_SCALE, 0.0: 0.0, inf: inf, nan: nan},
    kinks=[kink(0.0, SELU_SCALE * SELU_ALPHA)],
    invariants=[lambda f, x: (f(x), SELU_SCALE * elu(x, alpha=SELU_ALPHA))],
)  # fmt: skip

celu = elementwise(
    "celu",
    definition=lambda x, *, alpha: where(x > 0, x, alpha * (exp(x / alpha) - 1)),
    forward=lambda x, *, alpha: where(x > 0, x, alpha * expm1(minimum(x, 0) / alpha)),
    params={"alpha": 1.0},
    vjp=[lambda g, x, y, *, alpha: where(x > 0, g, g * exp(minimum(x, 0) / alpha))],
    why="expm1 keeps the digits that e^x - 1 cancels near 0",
    source="Barron, Continuously Differentiable Exponential Linear Units, 2017, equation 2",
    special={2.5: 2.5, 0.0: 0.0, -1e3: -1.0, inf: inf, -inf: -1.0, nan: nan},
    kinks=[kink(0.0, 1.0)],
    invariants=[lambda f, x: (f(x), elu(x)), lambda f, x: (f(x, alpha=2.0), 2 * f(x / 2))],
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ squashed, and not
softsign = elementwise(
    "softsign",
    definition=lambda x: x / (1 + abs(x)),
    vjp=[lambda g, x, y: g / square(1 + abs(x))],
    source="Bergstra et al., Quadratic Polynomials Learn Better Image Features, 2009",
    special={0.0: 0.0, 1.0: 0.5, -3.0: -0.75, nan: nan},
    kinks=[kink(0.0, 1.0)],  # of the second derivative
    invariants=[lambda f, x: (f(-x), -f(x)), lambda f, x: abs(f(x)) < 1],
)  # fmt: skip

tanhshrink = elementwise(
    "tanhshrink",
    definition=lambda x: x - tanh(x),
    forward=lambda x: where(abs(x) < 1, x * square(x) * cosine_lag(square(x)) / cosh(x), x - tanh(x)),
    vjp=[lambda g, x, y: g * square(tanh(x))],
    why="x - tanh x = (x cosh x - sinh x) / cosh x, whose numerator is a series of positive terms",
    special={0.0: 0.0, inf: inf, -inf: -inf, 1e3: 999.0, nan: nan},
    invariants=[lambda f, x: (f(-x), -f(x)), lambda f, x: (f(x) + tanh(x), x)],
)  # fmt: skip


# ------------------------------------------------------------------------------------------------ half gates half
def _sample_glu(draw: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = list(draw.shape(1, 4))
    axis = draw.axis(len(shape))
    shape[axis] *= 2
    return [draw.array(tuple(shape))], {"axis": axis}


def _reference_glu(x: Any, axis: int = -1) -> Any:
    a, b = np.split(x, 2, axis=axis)
    return a / (1 + np.exp(-b))


@op(
    "glu",
    shapes="x:(*B) -> y:(*R)",
    definition=r"y = a \, \sigma(b), \quad x = (a, b)",
    source="Dauphin et al., Language Modeling with Gated Convolutional Networks, 2017, equation 1",
    samples=_sample_glu,
    reference=_reference_glu,
    errors=[(lambda f: f([1.0, 2.0, 3.0]), "glu: axis -1 has length 3; it is cut into two halves, so it must be even")],
)
def glu(x: Array, *, axis: int = -1) -> Array:
    """The first half along `axis`, gated by the second: (..., 2C, ...) -> (..., C, ...).

    Raises ShapeError when that axis has an odd length.
    """
    return gated.kernels(backend_of(x).name).forward(*_halves(x, axis))


@fuse
def gated(a: Any, b: Any) -> Any:
    return a * sigmoid(b)


@fuse
def towards_gate(bar: Any, a: Any, b: Any) -> Any:
    return bar * a * sigmoid_slope(b)


def _halves(x: Any, axis: int) -> tuple[Any, Any]:
    """(..., 2C, ...) -> two of (..., C, ...)"""
    k = normalize_axis("glu", axis, x.ndim)
    if x.shape[k] % 2:
        raise ShapeError(f"glu: axis {axis} has length {x.shape[k]}; it is cut into two halves, so it must be even")
    before, half = (slice(None),) * k, x.shape[k] // 2
    return x[(*before, slice(0, half))], x[(*before, slice(half, None))]


@glu.vjp
def _(g, y, aux, x, *, axis, needs):  # type: ignore[no-untyped-def]
    # x̄ = (ȳ σ(b), ȳ a σ'(b))
    a, b = _halves(x, axis)
    return concat([gated(g, b), towards_gate(g, a, b)], axis=axis)
