r"""Transformer blocks: attention, then a feed-forward network, each with a residual connection and a normalisation.

    post-norm (2017, BERT)    x = norm(x + dropout(f(x)))       the sum is normalised
    pre-norm (GPT-2, LLaMA)   x = x + dropout(f(norm(x)))       the residual path stays free

One body serves all: which normalisation, feed-forward network and positions make it a BERT, a GPT-2 or a LLaMA is said
by arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine import config
from engine.errors import ArgumentError
from engine.tensor import Tensor

from . import activations, initializers
from .attention import MultiHeadAttention
from .cache import KeyValueCache
from .dense import Dense, positive
from .dropout import Dropout
from .layer import Layer
from .normalization import LayerNormalization, RMSNormalization
from .spec import InputSpec


class FeedForward(Layer):
    r"""Two dense layers with an activation between: (N, T, D) -> (N, T, D).

    .. math:: y = f(x W_1 + b_1) W_2 + b_2

    units: the width between. [Vaswani et al., 2017, equation 2]
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        activation: Any = "relu",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        output_dim: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.units, self.use_bias, self.output_dim = positive("FeedForward", "units", units), use_bias, output_dim
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.inner = self._dense(units, self.activation)
        self.outer = None if output_dim is None else self._dense(output_dim)

    def _dense(self, units: int, activation: Any = None) -> Dense:
        how = {"kernel_initializer": self.kernel_initializer, "bias_initializer": self.bias_initializer}
        return Dense(units, activation, use_bias=self.use_bias, dtype=self.dtype, **how)

    def build(self, input_shape: Any) -> None:
        if self.outer is None:
            self.outer = self._dense(input_shape[-1])
        self._settle()
        self.inner.build(input_shape)
        self.outer.build((*input_shape[:-1], self.units))

    def call(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))  # (N,T,D) -> (N,T,U) -> (N,T,D)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.output_dim or input_shape[-1])


class SwiGLU(FeedForward):
    r"""A feed-forward network whose hidden units are gated: (N, T, D) -> (N, T, D).

    .. math:: y = \bigl(\operatorname{silu}(x W_g) \odot x W_1\bigr) W_2

    Without biases, as in LLaMA. units: the width between. [Shazeer, "GLU variants improve Transformer", 2020, (6)]
    """

    def __init__(
        self, units: int, activation: Any = "silu", use_bias: bool = False, output_dim: int | None = None,
        kernel_initializer: Any = "glorot_uniform", bias_initializer: Any = "zeros", **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            units, activation, use_bias, kernel_initializer, bias_initializer, output_dim=output_dim, **options
        )
        self.gate, self.inner = self._dense(units, self.activation), self._dense(units)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.gate.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        return self.outer(self.gate(x) * self.inner(x))  # (N,T,D) -> (N,T,U) twice -> (N,T,D)


NORMALIZATIONS = {"layer": LayerNormalization, "rms": RMSNormalization}
FEED_FORWARDS = {"dense": FeedForward, "swiglu": SwiGLU}


class _Block(Layer):
    """What encoder and decoder have in common."""

    supports_masking = True

    def __init__(
        self,
        intermediate_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        activation: Any = None,
        layer_norm_epsilon: float = 1e-5,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        normalize_first: bool = False,
        use_bias: bool = True,
        attention_dropout: float | None = None,
        normalization: str = "layer",
        feed_forward: str = "dense",
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        rotary: Layer | None = None,
        hidden_dim: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.needs = InputSpec("(N,T,D)", 3)
        who = type(self).__name__
        self.intermediate_dim = positive(who, "intermediate_dim", intermediate_dim)
        self.num_heads = positive(who, "num_heads", num_heads)
        for name, value, table in (
            ("normalization", normalization, NORMALIZATIONS),
            ("feed_forward", feed_forward, FEED_FORWARDS),
        ):
            if value not in table:
                raise ArgumentError(f"{who}: {name} is one of {', '.join(table)}, got {value!r}")
        self.dropout, self.attention_dropout = dropout, attention_dropout
        self.activation = activations.get(activation or ("silu" if feed_forward == "swiglu" else "relu"))
        self.layer_norm_epsilon, self.normalize_first, self.use_bias = layer_norm_epsilon, normalize_first, use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.normalization, self.feed_forward = normalization, feed_forward
        self.num_key_value_heads, self.head_dim = num_key_value_heads, head_dim
        self.rotary = config.get(Layer, rotary)
        self.hidden_dim, self.drop = hidden_dim, Dropout(dropout)
        if hidden_dim is not None:
            self._make(hidden_dim)

    def _attention(self, D: int, rotary: Layer | None = None) -> MultiHeadAttention:
        if self.head_dim is None and D % self.num_heads:
            raise ArgumentError(
                f"{self.title}: {D} features can't be shared out to {self.num_heads} heads; choose num_heads that "
                "divides them, or give head_dim"
            )
        return MultiHeadAttention(
            self.num_heads,
            self.head_dim or D // self.num_heads,
            dropout=self.dropout if self.attention_dropout is None else self.attention_dropout,
            use_bias=self.use_bias,
            output_shape=D,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            num_key_value_heads=self.num_key_value_heads,
            rotary=rotary,
            dtype=self.dtype,
        )

    def _norm(self) -> Layer:
        return NORMALIZATIONS[self.normalization](epsilon=self.layer_norm_epsilon, dtype=self.dtype)

    def _make(self, D: int) -> None:
        """The parts, whose sizes depend on the features of the input."""
        self.attention, self.attention_norm = self._attention(D, self.rotary), self._norm()
        self.network = FEED_FORWARDS[self.feed_forward](
            self.intermediate_dim,
            self.activation,
            self.use_bias,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            output_dim=D,
            dtype=self.dtype,
        )
        self.network_norm = self._norm()

    def _parts(self) -> list[Layer]:
        return [self.attention, self.attention_norm, self.network, self.network_norm, self.drop]

    def build(self, input_shape: Any, *others: Any) -> None:
        if not hasattr(self, "attention"):
            self._make(input_shape[-1])
            self.train(self._training)
        self._settle()
        for part in self._parts():
            part.build(input_shape)

    def _residual(self, x: Tensor, norm: Layer, f: Callable[[Tensor], Tensor]) -> Tensor:
        if self.normalize_first:
            return x + self.drop(f(norm(x)))
        return norm(x + self.drop(f(x)))

    def compute_output_shape(self, input_shape: Any, *others: Any) -> Any:
        return tuple(input_shape)


class TransformerEncoder(_Block):
    r"""Self-attention of all to all, and a feed-forward network: (N, T, D) -> (N, T, D).

    .. math:: h = \operatorname{norm}(x + \operatorname{attention}(x)), \quad
        y = \operatorname{norm}(h + \operatorname{network}(h))

    Words and defaults are KerasHub's: intermediate_dim (the network's width), num_heads, dropout, activation "relu",
    layer_norm_epsilon 1e-5, normalize_first. Besides: use_bias; attention_dropout (by default `dropout`);
    normalization "layer" or "rms"; feed_forward "dense" or "swiglu"; num_key_value_heads, head_dim and rotary as of
    `MultiHeadAttention`; hidden_dim (D: with it the parameters exist from the start). [Vaswani et al., 2017, figure 1]
    """

    def call(self, x: Tensor, padding_mask: Any = None, attention_mask: Any = None) -> Tensor:
        """padding_mask (N,T): True or 1 at real tokens. attention_mask: as of `MultiHeadAttention`."""
        how = {"key_mask": padding_mask, "attention_mask": attention_mask}
        x = self._residual(x, self.attention_norm, lambda h: self.attention(h, **how))
        return self._residual(x, self.network_norm, self.network)


class TransformerDecoder(_Block):
    r"""Self-attention to what came before, attention to an encoder's sequence if there is one, a feed-forward network.

        decoder(x)                      (N, T, D) -> (N, T, D): the block of a language model
        decoder(x, encoded)             (N, T, D), (N, S, E) -> (N, T, D)

    Arguments as of `TransformerEncoder`. Whether there is an encoder's sequence is settled by the first call.
    [Vaswani et al., 2017, figure 1]
    """

    def build(self, input_shape: Any, encoder_shape: Any = None) -> None:
        if encoder_shape is not None and not hasattr(self, "cross_attention"):
            self.cross_attention, self.cross_attention_norm = self._attention(input_shape[-1]), self._norm()
            self.train(self._training)
            self._settle()
            self.cross_attention.build(input_shape, encoder_shape)
            self.cross_attention_norm.build(input_shape)
        super().build(input_shape)

    def call(
        self,
        x: Tensor,
        encoder_sequence: Tensor | None = None,
        padding_mask: Any = None,
        encoder_padding_mask: Any = None,
        attention_mask: Any = None,
        use_causal_mask: bool = True,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """padding_mask (N,S): True or 1 at real tokens, of all S in the cache and in x. cache: see `KeyValueCache`."""
        how = {
            "key_mask": padding_mask, "attention_mask": attention_mask, "use_causal_mask": use_causal_mask,
            "cache": cache,
        }  # fmt: skip
        x = self._residual(x, self.attention_norm, lambda h: self.attention(h, **how))
        if encoder_sequence is not None:
            if not hasattr(self, "cross_attention"):
                raise ArgumentError(
                    f"{self.title}: was built without an encoder's sequence; give one in the first call, too"
                )
            seen = {"key_mask": encoder_padding_mask, "cache": cache}
            x = self._residual(
                x, self.cross_attention_norm, lambda h: self.cross_attention(h, encoder_sequence, **seen)
            )
        return self._residual(x, self.network_norm, self.network)
