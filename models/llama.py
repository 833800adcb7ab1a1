"""LLaMA: pre-norm blocks with root-mean-square normalisation, gated units and rotary positions. [Touvron et al., 2023]

model = LlamaForCausalLM.from_pretrained(folder)
model.generate(ids, max_new_tokens=50)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Self

from engine import ops
from engine.errors import CheckpointError
from engine.tensor import Tensor
from layers import Dense, Embedding, RMSNormalization, RotaryEmbedding, TransformerDecoder
from layers.initializers import RandomNormal
from models.causal import DecoderModel, LanguageModel
from models.pretrained import Config


@dataclass
class LlamaConfig(Config):
    """Sizes of LLaMA-7B by default. num_key_value_heads: None means num_attention_heads."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    attention_dropout: float = 0.0
    tie_word_embeddings: bool = False

    model_type = "llama"
    supported = {"hidden_act": ("silu",), "attention_bias": (False,), "mlp_bias": (False,)}  # noqa: RUF012

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any], **changes: Any) -> Self:
        entries = dict(entries)
        rope = entries.pop("rope_parameters", None)  # newer files have theta and scaling in one
        if not isinstance(rope, (Mapping, NoneType)):
            raise CheckpointError(f"rope_parameters={rope!r} in config.json are no names with values")
        if rope is not None:
            scaling = {k: v for k, v in rope.items() if k != "rope_theta"}
            entries["rope_scaling"] = None if scaling.get("rope_type", "default") == "default" else scaling
            entries["rope_theta"] = rope.get("rope_theta", cls.rope_theta)
        return super().from_dict(entries, **changes)

    def to_dict(self) -> dict[str, Any]:
        rope = {"rope_type": "default", **(self.rope_scaling or {}), "rope_theta": self.rope_theta}
        return super().to_dict() | {"rope_parameters": rope}


class LlamaModel(DecoderModel):
    """input_ids (N,T) -> last_hidden_state (N,T,D)."""

    Config = LlamaConfig
    prefix = "model"
    ignored = ("rotary_emb.inv_freq", "lm_head.weight")

    def __init__(self, config: Any, seed: int | None = None, **options: Any) -> None:
        super().__init__(config, seed, **options)
        c, normal = self.config, RandomNormal(stddev=self.config.initializer_range)
        self.word = Embedding(c.vocab_size, c.hidden_size, embeddings_initializer=normal)
        rotary = RotaryEmbedding(c.rope_theta, c.rope_scaling)
        self.blocks = [
            TransformerDecoder(
                c.intermediate_size,
                c.num_attention_heads,
                attention_dropout=c.attention_dropout,
                layer_norm_epsilon=c.rms_norm_eps,
                kernel_initializer=normal,
                normalize_first=True,
                use_bias=False,
                normalization="rms",
                feed_forward="swiglu",
                num_key_value_heads=c.num_key_value_heads,
                head_dim=c.head_dim,
                rotary=rotary,
                hidden_dim=c.hidden_size,
            )
            for _ in range(c.num_hidden_layers)
        ]
        self.norm = RMSNormalization(epsilon=c.rms_norm_eps)

    def shapes(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        yield self.word, (None, None)
        yield from ((layer, (None, None, self.config.hidden_size)) for layer in (*self.blocks, self.norm))

    def embed(self, ids: Tensor, start: int, position_ids: Any) -> Tensor:
        return self.word(ids)  # queries and keys know their positions; only distances count

    def places(self) -> Iterator[tuple[str, str]]:
        yield from [("word", "embed_tokens"), ("norm", "norm"), ("head", "lm_head")]
        for i in range(len(self.blocks)):
            yield from (
                (f"blocks.{i}.{ours}", f"layers.{i}.{theirs}")
                for ours, theirs in [
                    ("attention_norm", "input_layernorm"), ("attention.query", "self_attn.q_proj"),
                    ("attention.key", "self_attn.k_proj"), ("attention.value", "self_attn.v_proj"),
                    ("attention.output", "self_attn.o_proj"), ("network_norm", "post_attention_layernorm"),
                    ("network.gate", "mlp.gate_proj"), ("network.inner", "mlp.up_proj"),
                    ("network.outer", "mlp.down_proj"),
                ]
            )  # fmt: skip


class LlamaForCausalLM(LlamaModel, LanguageModel):
    """input_ids (N,T) -> logits (N,T,V); the head has a kernel of its own unless tie_word_embeddings."""

    def __init__(self, config: Any, seed: int | None = None, **options: Any) -> None:
        super().__init__(config, seed, **options)
        c = self.config
        self.head: Dense | None = None
        if not c.tie_word_embeddings:
            normal = RandomNormal(stddev=c.initializer_range)
            self.head = Dense(c.vocab_size, use_bias=False, kernel_initializer=normal)

    def shapes(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        yield from super().shapes()
        if self.head is not None:
            yield self.head, (None, None, self.config.hidden_size)

    def logits(self, x: Tensor) -> Tensor:
        if self.head is not None:
            return self.head(x)
        return ops.matmul(x, self.word.embeddings.mT)  # (N,T,D) @ (D,V) -> (N,T,V)

    call = LanguageModel.call
