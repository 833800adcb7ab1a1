"""Where in the sequence? Attention alone can't tell: added waves, a learnt table, or queries and keys that turn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine import ops
from engine.errors import ArgumentError, ShapeError
from engine.tensor import Tensor

from . import initializers
from .dense import positive
from .layer import Layer
from .spec import InputSpec, known


def frequencies(D: int, max_wavelength: float) -> np.ndarray:
    """max_wavelength^(-2i / D) for each pair i of D channels: radians from one position to the next, (D/2,)."""
    return max_wavelength ** (-np.arange(0, D, 2) / D)


class SinePositionEncoding(Layer):
    r"""Waves of all lengths, to be added to a sequence: (N, T, D) -> (T, D), which broadcasts. Nothing is learnt.

    .. math:: y_{t,2i} = \sin(t \, \omega_i), \quad y_{t,2i+1} = \cos(t \, \omega_i), \quad \omega_i = \lambda^{-2i/D}

    KerasHub's words: max_wavelength λ, by default 10000. start: the position of the first element.
    [Vaswani et al., 2017, section 3.5]
    """

    def __init__(self, max_wavelength: float = 10000, **options: Any) -> None:
        super().__init__(**options)
        self.max_wavelength = max_wavelength
        self.needs = InputSpec("(N,T,D)", 3)
        self._waves: tuple[Any, Any] | None = None  # the last ones, and for what

    def call(self, x: Tensor, start: int = 0) -> Tensor:
        T, D = x.shape[1:]
        place = start, T, D, x.dtype, x.device
        known = self._waves  # read once: another thread may replace them
        if known is None or known[0] != place:
            known = self._waves = place, x.backend.asarray(self.waves(start, T, D).astype(x.dtype))
        return Tensor(known[1])

    def waves(self, start: int, T: int, D: int) -> np.ndarray:
        """(T, D) in float64."""
        angles = np.outer(np.arange(start, start + T), frequencies(D, self.max_wavelength))  # (T,D/2)
        return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(T, -1)[:, :D]  # (T,D/2) twice -> (T,D)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape[1:])


class PositionEmbedding(Layer):
    r"""A learnt vector for each position, to be added to a sequence: (N, T, D) -> (T, D), which broadcasts.

    .. math:: y_{td} = P_{t,d}

    KerasHub's words: sequence_length is the number of positions. start: the position of the first element; `positions`
    (N, T) gives each element its own. Raises ShapeError for a sequence that is too long.
    """

    def __init__(self, sequence_length: int, initializer: Any = "glorot_uniform", **options: Any) -> None:
        super().__init__(**options)
        self.sequence_length = positive("PositionEmbedding", "sequence_length", sequence_length)
        self.initializer = initializers.get(initializer)
        self.needs = InputSpec("(N,T,D)", 3)
        self.embeddings = self.add_weight(None, self.initializer)

    def build(self, input_shape: Any) -> None:
        D = known(self, "the last axis of the input", input_shape[-1])
        self.embeddings.declare((self.sequence_length, D))
        self.needs.channels = D

    def call(self, x: Tensor, start: int = 0, positions: Any = None) -> Tensor:
        if positions is not None:
            return ops.embedding(positions, self.embeddings)  # (N,T) -> (N,T,D)
        T = x.shape[1]
        if start + T > self.sequence_length:
            raise ShapeError(
                f"{self.title}: the sequence ends at position {start + T}, but there are {self.sequence_length}; cut "
                f"the text, tokenizer(texts, max_length={self.sequence_length}), or make a layer of more positions"
            )
        return self.embeddings[start : start + T]  # (T,D)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape[1:])


class RotaryEmbedding(Layer):
    r"""Turn pairs of channels by angles that grow with the position: (N, T, h, d) -> (N, T, h, d). Nothing is learnt.

    .. math:: \theta_{t,i} = t \, \omega_i, \quad \omega_i = \lambda^{-2i/d}, \quad
        \begin{pmatrix} y_i \\ y_{i+d/2} \end{pmatrix} = R(\theta_{t,i}) \begin{pmatrix} x_i \\ x_{i+d/2} \end{pmatrix}

    Applied to queries and keys, whose product then knows their distance. KerasHub's words: max_wavelength λ, by default
    10000. start: the position of the first element. scaling: {"rope_type": "linear" or "llama3", ...} as Hugging Face's
    configurations have it, for texts longer than those of the training. [Su et al., "RoFormer", 2021, equation 34]
    """

    def __init__(self, max_wavelength: float = 10000, scaling: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        if not max_wavelength > 0:
            raise ArgumentError(f"RotaryEmbedding: max_wavelength is above 0, got {max_wavelength}")
        _check(scaling)
        self.max_wavelength, self.scaling = max_wavelength, None if scaling is None else dict(scaling)
        self.needs = InputSpec("(N,T,h,d)", 4)
        self._turns: tuple[Any, Any] | None = None  # cosines and sines of the positions so far, (T,d/2) each

    def build(self, input_shape: Any) -> None:
        """Nothing is learnt."""

    def call(self, x: Tensor, start: int = 0) -> Tensor:
        end, d = start + x.shape[1], x.shape[-1]
        known = self._turns  # read once: another thread may replace them
        if known is None or not (len(known[0]) >= end and known[0].dtype == x.dtype and x.backend.owns(known[0])):
            omega = scaled(frequencies(d, self.max_wavelength), self.scaling)
            angles = np.outer(np.arange(max(64, 2 * end)), omega)
            turns = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
            known = self._turns = x.backend.asarray(turns[0]), x.backend.asarray(turns[1])
        cos, sin = (t[start:end] for t in known)
        return ops.rotary(x, cos, sin)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)


SCALINGS: dict[str, tuple[str, ...]] = {  # kind -> the numbers it takes
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


def _kind(scaling: Mapping[str, Any] | None) -> str:
    return "default" if scaling is None else str(scaling.get("rope_type", scaling.get("type", "default")))


def _check(scaling: Mapping[str, Any] | None) -> None:
    kind = _kind(scaling)
    if kind not in SCALINGS:
        raise ArgumentError(f"RotaryEmbedding: scaling of type '{kind}' is not built; there are 'linear' and 'llama3'")
    for name in SCALINGS[kind]:
        number = (scaling or {}).get(name)
        if not isinstance(number, (int, float)) or not number > 0:
            raise ArgumentError(
                f"RotaryEmbedding: scaling of type '{kind}' takes {name}, a number above 0, got {number!r}"
            )
    if kind == "llama3" and scaling is not None and not scaling["low_freq_factor"] < scaling["high_freq_factor"]:
        raise ArgumentError("RotaryEmbedding: scaling has a low_freq_factor that is not below its high_freq_factor")


def scaled(omega: np.ndarray, scaling: Mapping[str, Any] | None) -> np.ndarray:
    """Slower turns, (p,) -> (p,), so that longer texts meet angles that were met in training.

    linear: all are divided by `factor`. llama3: only waves longer than the original texts, with a passage between.
    """
    kind = _kind(scaling)
    if scaling is None or kind == "default":
        return omega
    if kind == "linear":
        return omega / scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * omega / (2 * math.pi)  # in an original text
    share = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - share) * omega / scaling["factor"] + share * omega
