"""Multi-head attention: as many soft look-ups as there are heads, side by side."""

from __future__ import annotations

from typing import Any

from engine import config, ops
from engine.errors import ArgumentError, ShapeError
from engine.random import Generator
from engine.tensor import Tensor, asarray

from . import initializers
from .cache import KeyValueCache
from .dense import Dense, positive
from .layer import Layer
from .masks import mask_of


class MultiHeadAttention(Layer):
    r"""Each query takes from the values what its keys point at: query (N, T, D), value (N, S, E) -> (N, T, D).

    .. math:: y = \operatorname{concat}_a(\operatorname{head}_a) \, W_o, \quad \operatorname{head}_a =
        \operatorname{dropout}\Bigl(\operatorname{softmax}\frac{(x_q W_{q,a})(x_k W_{k,a})^\top}{\sqrt d}\Bigr)
        x_v W_{v,a}

    mha(x) is self-attention, mha(query, value) cross-attention; keys come from `value` unless `key` is given.
    Words and defaults are Keras 3's: num_heads h, key_dim d, value_dim e (by default d), dropout of the weights,
    use_bias, output_shape (features of the result; by default the query's). Besides:

    num_key_value_heads  g of the h: a group of h / g heads shares its keys and values [Ainslie et al., "GQA", 2023]
    rotary               a `RotaryEmbedding`, which then turns queries and keys

    The kernels are (D, h d), heads side by side. [Vaswani et al., "Attention Is All You Need", 2017, section 3.2]
    """

    supports_masking = True

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: int | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        num_key_value_heads: int | None = None,
        rotary: Layer | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.num_heads = positive("MultiHeadAttention", "num_heads", num_heads)
        self.key_dim = positive("MultiHeadAttention", "key_dim", key_dim)
        self.value_dim = positive("MultiHeadAttention", "value_dim", value_dim or key_dim)
        groups = num_key_value_heads or num_heads
        self.num_key_value_heads = positive("MultiHeadAttention", "num_key_value_heads", groups)
        if self.num_heads % self.num_key_value_heads:
            raise ArgumentError(
                f"MultiHeadAttention: num_heads={num_heads} is no multiple of num_key_value_heads="
                f"{num_key_value_heads}; each of these serves a group of equally many heads"
            )
        if not 0 <= dropout <= 1:
            raise ArgumentError(f"MultiHeadAttention: dropout is a probability, 0 <= dropout <= 1, got {dropout}")
        self.dropout, self.use_bias, self.output_shape = float(dropout), use_bias, output_shape
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.rotary, self.seed = config.get(Layer, rotary), seed
        self.query = self._dense(self.num_heads * self.key_dim)
        self.key = self._dense(self.num_key_value_heads * self.key_dim)
        self.value = self._dense(self.num_key_value_heads * self.value_dim)
        self.output = None if output_shape is None else self._dense(output_shape)
        self.masks: Generator | None = None

    def _dense(self, units: int) -> Dense:
        return Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=self.bias_initializer,
            dtype=self.dtype,
        )

    def __call__(self, query: Any, value: Any = None, key: Any = None, **options: Any) -> Any:
        if value is None and key is not None:
            raise ArgumentError(f"{self.title}: key is given without value; call it with (query, value, key)")
        return super().__call__(*(x for x in (query, value, key) if x is not None), **options)

    def build(self, query_shape: Any, value_shape: Any = None, key_shape: Any = None) -> None:
        for shape in (query_shape, value_shape, key_shape):
            if shape is not None and len(shape) != 3:
                raise ShapeError(f"{self.title}: sequences are (N,T,D), got shape {tuple(shape)}")
        if self.output is None:
            self.output = self._dense(query_shape[-1])
        value_shape = value_shape or query_shape
        self._settle()
        self.query.build(query_shape)
        self.key.build(key_shape or value_shape)
        self.value.build(value_shape)
        self.output.build((None, None, self.num_heads * self.value_dim))
        self.masks = self.stream("masks") if self.seed is None else Generator(self.seed)

    def call(
        self,
        query: Tensor,
        value: Tensor | None = None,
        key: Tensor | None = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        cache: KeyValueCache | None = None,
    ) -> Any:
        """query_mask (N,T), value_mask and key_mask (N,S): True (or 1) at what is real. attention_mask (N,T,S) or
        (N,h,T,S), where 1 broadcasts: truth values, or floats, which are added to the scores. A query that sees no key
        gives zeros. Without value_mask, what `Embedding(mask_zero=True)` left with the value counts (a cache remembers
        it; other masks are given for all S).
        return_attention_scores: the weights before dropout, (N,h,T,S), come along. cache: see `KeyValueCache`; with a
        value that is not the query it keeps that one's keys and values, and does not grow.
        """
        sequence = query if value is None else value
        brought = mask_of(sequence) if value_mask is None else None
        start = 0 if cache is None else cache.length_of(self)
        q = self._turned(self._heads(self.query(query), self.num_heads), start)  # (N,T,D) -> (N,T,h,d)

        def keys_and_values() -> tuple[Tensor, Tensor]:
            k = self._heads(self.key(sequence if key is None else key), self.num_key_value_heads)
            v = self._heads(self.value(sequence), self.num_key_value_heads)
            return self._turned(k, start), v  # (N,S,E) -> (N,S,g,d), (N,S,g,e)

        if cache is not None and sequence is not query:
            k, v = cache.of_another(self, sequence, keys_and_values)
        else:
            k, v = keys_and_values()
            if cache is not None:
                k, v = cache.extend(self, k, v)
                brought = cache.extend_mask(self, None if brought is None else truth(brought), query.shape[:2])
        mask, bias = _combined(query_mask, (value_mask, key_mask, brought), attention_mask)
        how: dict[str, Any] = {"causal": use_causal_mask}
        if self.training and self.dropout:
            assert self.masks is not None
            seed, stream = self.masks.split().key
            how |= {"rate": self.dropout, "seed": seed, "stream": stream}
        y = ops.attention(q, k, v, mask, bias, **how)  # (N,T,h,e)
        y = ops.reshape(y, shape=(*y.shape[:2], self.num_heads * self.value_dim))  # (N,T,h,e) -> (N,T,h e)
        y = self.output(y)  # (N,T,h e) -> (N,T,D)
        if return_attention_scores:
            return y, ops.attention_weights(q, k, mask, bias, causal=use_causal_mask)
        return y

    def _turned(self, x: Tensor, start: int) -> Tensor:
        """By the rotary positions, which begin with `start`: (N,T,h,d) -> the same."""
        return x if self.rotary is None else self.rotary(x, start=start)

    @staticmethod
    def _heads(x: Tensor, heads: int) -> Tensor:
        """(N,T,h d) -> (N,T,h,d), without a copy."""
        N, T, channels = x.shape
        return ops.reshape(x, shape=(N, T, heads, channels // heads))

    def compute_output_shape(self, query_shape: Any, *others: Any) -> Any:
        return (*query_shape[:-1], self.output_shape or query_shape[-1])


def _combined(query_mask: Any, key_masks: tuple[Any, ...], attention_mask: Any) -> tuple[Any, Any]:
    """The mask and the bias of `ops.attention`, each None or broadcasting to (N,h,T,S)."""
    masks, bias = [_rows(m)[:, None, None, :] for m in key_masks if m is not None], None  # (N,S) -> (N,1,1,S)
    if query_mask is not None:
        masks.append(_rows(query_mask)[:, None, :, None])  # (N,T) -> (N,1,T,1)
    if attention_mask is not None:
        m = asarray(attention_mask)
        m = m if m.ndim == 4 else ops.expand_dims(m, axis=-3)  # (N,T,S) -> (N,1,T,S)
        if m.dtype.kind == "f":
            bias = m
        else:
            masks.append(truth(m))
    mask = masks[0] if masks else None
    for other in masks[1:]:
        mask = mask & other
    return mask, bias


def _rows(mask: Any) -> Any:
    """Truth values of a batch of sequences."""
    m = truth(mask)
    if m.ndim != 2:
        raise ShapeError(
            f"attention: a mask of tokens is (N,T), a row for each text, got shape {m.shape}; one of queries and keys "
            "is an attention_mask"
        )
    return m


def truth(mask: Any) -> Any:
    """1 and True are True: an array or tensor as an array of truth values."""
    return asarray(mask).data != 0
