r"""Initial values. Each class says which variance it aims at, and why.

The argument behind most of them [Glorot and Bengio, AISTATS 2010, section 4.2.1]: a layer computes
:math:`z_j = \sum_{i=1}^{n} x_i w_{ij}`. For independent, centred terms

.. math:: \operatorname{Var} z_j = n \operatorname{Var}(w) \, \mathbb{E}[x_i^2],

so the signal keeps its size from layer to layer where :math:`\operatorname{Var} w = 1 / n`. Going back, the gradient is
a sum over the layer's m outputs, and keeps its size where :math:`\operatorname{Var} w = 1 / m`. Here n is `fan_in`, and
m is `fan_out`: inputs, and outputs, that one number meets; a filter of kh x kw taps meets kh kw times its channels.

An initializer is called with (shape, dtype, generator) and returns an array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import config
from engine.dtypes import canonical, default_dtype, float32, is_half
from engine.errors import ArgumentError, ShapeError
from engine.random import Generator, default_generator
from engine.shapes import Shape, prod

Array = Any


class Initializer(config.Configurable, family="initializer"):
    """Base class: `values` makes the numbers. `seed` fixes them whatever the model's generator and the path are."""

    seed: int | None = None

    def __call__(self, shape: Shape, dtype: Any = None, generator: Generator | None = None) -> Array:
        dtype = default_dtype() if dtype is None else canonical(dtype)
        if self.seed is not None:
            generator = Generator(self.seed)
        wide = float32 if is_half(dtype) else dtype  # draws have 32 bits or more
        return self.values(tuple(shape), wide, generator or default_generator()).astype(dtype, copy=False)

    def values(self, shape: Shape, dtype: Any, generator: Generator) -> Array:
        raise NotImplementedError


def get(what: Any) -> Any:
    """An initializer from its name ("he_normal"), class or description; functions pass."""
    return config.get(Initializer, ALIASES.get(what, what) if isinstance(what, str) else what)


# ------------------------------------------------------------------------------------------------ constants
class Zeros(Initializer):
    r"""w = 0: Var = 0. For biases; a layer whose weights are all equal would learn one feature only."""

    def values(self, shape: Shape, dtype: Any, generator: Generator) -> Array:
        return np.zeros(shape, dtype)


class Ones(Initializer):
    r"""w = 1: Var = 0. For scales, such as gamma of a normalisation."""

    def values(self, shape: Shape, dtype: Any, generator: Generator) -> Array:
        return np.ones(shape, dtype)


class Constant(Initializer):
    r"""w = value: Var = 0. `value` is a number, or an array that broadcasts to the shape."""

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def values(self, shape: Shape, dtype: Any, generator: Generator) -> Array:
        return np.full(shape, self.value, dtype)


# ------------------------------------------------------------------------------------------------ a given spread
class RandomNormal(Initializer):
    r"""w ~ N(mean, stddev²): Var = stddev²."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def values(self, shape: Shape, dtype: Any, generator: Generator) -> Array:
        return self.mean + self.stddev * generator.normal(shape, dtype)


class RandomUniform(Initializer):
    r"""w ~ U(minval, maxval): Var = (maxval - minval)² / 12."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def values(self, shape: Shape, dtype: Any, generator: Generator) -> Array:
        return self.minval + (self.maxval - self.minval) * generator.uniform(shape, dtype)


class TruncatedNormal(Initializer):
    r"""w ~ N(mean, stddev²) given \|w - mean\| <= 2 stddev: Var = 0.774 stddev². No outlier starts a unit saturated."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def values(self, shape: Shape, dtype: Any, generator: Generator) -> Array:
        return self.mean + self.stddev * generator.truncated_normal(shape, dtype)


# ------------------------------------------------------------------------------------------------ a spread by shape
TRUNCATED_STDDEV = 0.87962566103423978  # of a standard normal cut at 2


class VarianceScaling(Initializer):
    r"""Var w = scale / n, with n = fan_in, fan_out or their mean ("fan_avg"), or sqrt(fan_in fan_out) ("fan_geo_avg").

    distribution: "truncated_normal" (cut at two standard deviations, then widened so that the variance is the one
    aimed at), "untruncated_normal" or "uniform" on ±sqrt(3 Var), whose variance is limit² / 3.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        if scale <= 0:
            raise ArgumentError(f"VarianceScaling: scale is a variance times a fan, more than 0, got {scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"):
            raise ArgumentError(f"VarianceScaling: mode is fan_in, fan_out, fan_avg or fan_geo_avg, got '{mode}'")
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ArgumentError(
                "VarianceScaling: distribution is truncated_normal, untruncated_normal or uniform, "
                f"got '{distribution}'"
            )
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed

    def variance(self, shape: Shape) -> float:
        """The variance aimed at."""
        fan_in, fan_out = fans(shape)
        n = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "fan_avg": (fan_in + fan_out) / 2,
            "fan_geo_avg": (fan_in * fan_out) ** 0.5,
        }[self.mode]
        return self.scale / max(1.0, n)

    def values(self, shape: Shape, dtype: Any, generator: Generator) -> Array:
        stddev = self.variance(shape) ** 0.5
        if self.distribution == "uniform":
            return 3**0.5 * stddev * (2.0 * generator.uniform(shape, dtype) - 1.0)
        if self.distribution == "untruncated_normal":
            return stddev * generator.normal(shape, dtype)
        return stddev / TRUNCATED_STDDEV * generator.truncated_normal(shape, dtype)


class _Scaled(VarianceScaling):
    """A named choice of the three."""

    choice: tuple[float, str, str]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(*self.choice, seed=seed)


class GlorotUniform(_Scaled):
    r"""Var = 2 / (fan_in + fan_out): between what keeps the signal (1/fan_in) and what keeps the gradient (1/fan_out).

    Uniform on ±sqrt(6 / (fan_in + fan_out)). Default of Dense and Conv2D, as in Keras. [Glorot and Bengio 2010, (16)]
    """

    choice = 1.0, "fan_avg", "uniform"


class GlorotNormal(_Scaled):
    r"""Var = 2 / (fan_in + fan_out), as GlorotUniform, from a truncated normal. [Glorot and Bengio 2010, (12)]"""

    choice = 1.0, "fan_avg", "truncated_normal"


class HeUniform(_Scaled):
    r"""Var = 2 / fan_in, as HeNormal, uniform on ±sqrt(6 / fan_in)."""

    choice = 2.0, "fan_in", "uniform"


class HeNormal(_Scaled):
    r"""Var = 2 / fan_in: a ReLU zeroes half of a centred signal, so E[x²] is halved, and the 2 restores it.

    From a truncated normal. [He, Zhang, Ren and Sun, ICCV 2015, (10)]
    """

    choice = 2.0, "fan_in", "truncated_normal"


class LecunUniform(_Scaled):
    r"""Var = 1 / fan_in, as LecunNormal, uniform on ±sqrt(3 / fan_in)."""

    choice = 1.0, "fan_in", "uniform"


class LecunNormal(_Scaled):
    r"""Var = 1 / fan_in: the signal keeps its size where activations are near the identity (tanh at 0, SELU).

    From a truncated normal. [LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, (16)]
    """

    choice = 1.0, "fan_in", "truncated_normal"


# ------------------------------------------------------------------------------------------------ a structure
class Orthogonal(Initializer):
    r"""A random matrix with orthonormal columns (or rows, if there are fewer), times gain: lengths are kept exactly.

    The shape is read as (the product of all but the last axis, last axis) = (r, c). QᵀQ = I makes each row or column of
    the longer side a unit vector, so Var w = gain² / max(r, c). Q comes from the QR factors of a normal matrix; with
    the signs of R's diagonal moved into Q it is uniform over all such matrices.
    [Saxe, McClelland and Ganguli, ICLR 2014; Mezzadri, Notices of the AMS 54, 2007]
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain, self.seed = gain, seed

    def values(self, shape: Shape, dtype: Any, generator: Generator) -> Array:
        if len(shape) < 2:
            raise ShapeError(f"Orthogonal: a matrix is needed, at least 2 axes, got shape {shape}")
        r, c = prod(shape[:-1]), shape[-1]
        q, upper = np.linalg.qr(generator.normal((max(r, c), min(r, c)), np.float64))
        q *= np.where(np.diagonal(upper) < 0, -1.0, 1.0)
        return (self.gain * (q if r >= c else q.T)).reshape(shape).astype(dtype)


class Identity(Initializer):
    r"""The identity matrix times gain: a layer that starts by passing on what comes."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def values(self, shape: Shape, dtype: Any, generator: Generator) -> Array:
        if len(shape) != 2:
            raise ShapeError(f"Identity: a matrix is needed, 2 axes, got shape {shape}")
        return np.asarray(self.gain * np.eye(*shape), dtype)


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a kernel (..., inputs, outputs): axes before the last two are taps."""
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    taps = prod(shape[:-2])
    return taps * shape[-2], taps * shape[-1]


ALIASES = {  # Keras' shorter words
    "zero": "zeros", "one": "ones", "normal": "random_normal", "uniform": "random_uniform", "eye": "identity",
    "xavier_uniform": "glorot_uniform", "xavier_normal": "glorot_normal",
    "kaiming_uniform": "he_uniform", "kaiming_normal": "he_normal",
}  # fmt: skip
