"""Layers that centre and scale what passes, then let the network choose its own centre and scale again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine import ops
from engine.backends import backend_of
from engine.errors import ArgumentError
from engine.parameter import Buffer
from engine.shapes import normalize_axes
from engine.tensor import Tensor, asarray

from . import initializers, regularizers
from .layer import Layer
from .masks import mask_of
from .spec import InputSpec, known


class BatchNormalization(Layer):
    r"""Each channel (last axis) over the batch: (N, ..., C) -> (N, ..., C).

    .. math::
        y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \qquad
        \mu' = m \mu' + (1 - m) \mu, \quad \sigma'^2 = m \sigma'^2 + (1 - m) \sigma^2

    In training the mean μ and the variance σ² are the batch's, and the running ones (primed) follow with momentum m; in
    use, and when frozen, the running ones take their place. The variance divides by the count, not by one less, for
    both; steps that a mask (N,T) calls unreal are not counted. Words and defaults are Keras 3's: momentum 0.99, epsilon
    1e-3. [Ioffe and Szegedy, ICML 2015, algorithms 1, 2]
    """

    supports_masking = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 0 <= momentum <= 1:
            raise ArgumentError(f"BatchNormalization: momentum is a share of the old value, 0 to 1, got {momentum}")
        self.axis, self.momentum, self.center, self.scale = axis, momentum, center, scale
        self.epsilon = _variance("BatchNormalization", epsilon)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.needs = InputSpec("(N,...,C)", at_least=2)
        gamma = self.add_weight(None, self.gamma_initializer, regularizer=self.gamma_regularizer)
        beta = self.add_weight(None, self.beta_initializer, regularizer=self.beta_regularizer)
        self.gamma, self.beta = gamma if scale else None, beta if center else None
        self.moving_mean = Buffer(initializer=self.moving_mean_initializer, dtype=self.dtype)
        self.moving_variance = Buffer(initializer=self.moving_variance_initializer, dtype=self.dtype)

    def build(self, input_shape: Any) -> None:
        if self.axis not in (-1, len(input_shape) - 1):
            raise ArgumentError(
                f"{self.title}: channels are the last axis here, got axis={self.axis} for an input of "
                f"{len(input_shape)} dimensions; put a Permute layer before and after"
            )
        C = known(self, "the number of channels", input_shape[-1])
        for p in (self.gamma, self.beta, self.moving_mean, self.moving_variance):
            if p is not None:
                p.declare((C,))
        self.needs.channels = C

    def call(self, x: Tensor, mask: Any = None) -> Tensor:
        """mask (N,T): False at steps of x (N,T,...,C) that do not count; by default the one that x brings along."""
        mask = mask_of(x) if mask is None else asarray(mask) != 0
        if self.training and self.trainable and mask is not None:
            return self._of_real_steps(x, ops.reshape(mask, shape=mask.shape + (1,) * (x.ndim - mask.ndim)))
        if self.training and self.trainable:
            return ops.batch_norm(x, self.gamma, self.beta, eps=self.epsilon, observe=self._follow)
        mean, variance = self.moving_mean, self.moving_variance
        return ops.batch_norm_inference(x, self.gamma, self.beta, mean, variance, eps=self.epsilon)

    def _of_real_steps(self, x: Tensor, real: Tensor) -> Tensor:
        """With the mean and the variance of the real steps, (N,T,1) for x (N,T,C)."""
        axes = tuple(range(x.ndim - 1))
        count = max(1.0, float(np.broadcast_to(real.numpy(), (*x.shape[:-1], 1)).sum()))
        mean = ops.sum(ops.where(real, x, 0.0), axis=axes) / count  # (N,T,C) -> (C,)
        centred = x - mean
        variance = ops.sum(ops.where(real, centred * centred, 0.0), axis=axes) / count
        self._follow(mean.data, variance.data)
        y = centred / ops.sqrt(variance + self.epsilon)
        y = y if self.gamma is None else self.gamma * y
        return y if self.beta is None else y + self.beta

    def _follow(self, mean: Any, variance: Any) -> None:
        """Move the running statistics a little towards the batch's, (C,) each."""
        m = self.momentum
        with backend_of(mean).active():
            self.moving_mean.assign(m * self.moving_mean.data + (1 - m) * mean)
            self.moving_variance.assign(m * self.moving_variance.data + (1 - m) * variance)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)


class LayerNormalization(Layer):
    r"""Each sample over its last axis (or the axes given): (N, ..., D) -> (N, ..., D), the same in training and in use.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    Words and defaults are Keras 3's: epsilon 1e-3. [Ba, Kiros and Hinton, arXiv 1607.06450, 2016, (4)]
    """

    supports_masking = True

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.axis = axis if isinstance(axis, int) else tuple(axis)
        self.epsilon, self.center, self.scale = _variance("LayerNormalization", epsilon), center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.needs = InputSpec("(N,...,D)", at_least=2)
        gamma = self.add_weight(None, self.gamma_initializer, regularizer=self.gamma_regularizer)
        beta = self.add_weight(None, self.beta_initializer, regularizer=self.beta_regularizer)
        self.gamma, self.beta = gamma if scale else None, beta if center else None

    def build(self, input_shape: Any) -> None:
        axes = normalize_axes(self.title, self.axis, len(input_shape))
        shape = [known(self, f"axis {a} of the input", input_shape[a]) for a in axes]
        for p in (self.gamma, self.beta):
            if p is not None:
                p.declare(shape)
        if axes == (len(input_shape) - 1,):
            self.needs.channels = shape[0]

    def call(self, x: Tensor) -> Tensor:
        axes = normalize_axes(self.title, self.axis, x.ndim)
        last = tuple(range(x.ndim - len(axes), x.ndim))
        x = x if axes == last else ops.moveaxis(x, source=axes, destination=last)  # the op takes the last ones
        y = ops.layer_norm(x, self.gamma, self.beta, axis=last, eps=self.epsilon)
        return y if axes == last else ops.moveaxis(y, source=last, destination=axes)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)


class RMSNormalization(Layer):
    r"""Each sample over its last axis, without centring it: (N, ..., D) -> (N, ..., D).

    .. math:: y = \gamma \, x \Big/ \sqrt{\tfrac{1}{D} \sum_i x_i^2 + \epsilon}

    Words and defaults are Keras 3's: epsilon 1e-6; the scale γ begins as ones. [Zhang and Sennrich, 2019, equation 4]
    """

    supports_masking = True

    def __init__(self, epsilon: float = 1e-6, gamma_initializer: Any = "ones", **options: Any) -> None:
        super().__init__(**options)
        self.epsilon = _variance("RMSNormalization", epsilon)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.needs = InputSpec("(N,...,D)", at_least=2)
        self.gamma = self.add_weight(None, self.gamma_initializer)

    def build(self, input_shape: Any) -> None:
        self.needs.channels = known(self, "the last axis of the input", input_shape[-1])
        self.gamma.declare((self.needs.channels,))

    def call(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, self.gamma, eps=self.epsilon)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)


def _variance(who: str, epsilon: float) -> float:
    if not epsilon >= 0:
        raise ArgumentError(f"{who}: epsilon is a small variance, 0 or more, got {epsilon}")
    return epsilon
