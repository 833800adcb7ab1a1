"""GPT-2. [Radford et al., "Language Models are Unsupervised Multitask Learners", 2019]

model = GPT2LMHeadModel(GPT2Config(vocab_size=65, n_positions=64, n_embd=128, n_layer=4, n_head=4))
model(ids, labels=ids).loss.backward()
model.generate(ids, max_new_tokens=100, do_sample=True, top_k=50)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine import ops
from engine.tensor import Tensor, asarray
from layers import Dropout, Embedding, LayerNormalization, PositionEmbedding, TransformerDecoder
from layers.initializers import RandomNormal
from models.bert import ACTIVATIONS
from models.causal import DecoderModel, LanguageModel
from models.pretrained import Config, Place


@dataclass
class GPT2Config(Config):
    """Sizes of the small GPT-2 by default."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None  # 4 n_embd
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02

    model_type = "gpt2"
    supported = {  # noqa: RUF012
        "activation_function": ("gelu_new", *ACTIVATIONS), "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,), "add_cross_attention": (False,), "tie_word_embeddings": (True,),
    }  # fmt: skip


class GPT2Model(DecoderModel):
    """input_ids (N,T) -> last_hidden_state (N,T,D). Blocks are pre-norm, positions learnt."""

    Config = GPT2Config
    prefix = "transformer"
    ignored = ("lm_head.weight", "attn.bias", "attn.masked_bias")

    def __init__(self, config: Any, seed: int | None = None, **options: Any) -> None:
        super().__init__(config, seed, **options)
        c, normal = self.config, RandomNormal(stddev=self.config.initializer_range)
        self.positions = c.n_positions
        self.word = Embedding(c.vocab_size, c.n_embd, embeddings_initializer=normal)
        self.position = PositionEmbedding(c.n_positions, initializer=normal)
        self.drop = Dropout(c.embd_pdrop)
        self.blocks = [
            TransformerDecoder(
                c.n_inner or 4 * c.n_embd,
                c.n_head,
                dropout=c.resid_pdrop,
                attention_dropout=c.attn_pdrop,
                activation=ACTIVATIONS[c.activation_function],
                layer_norm_epsilon=c.layer_norm_epsilon,
                kernel_initializer=normal,
                normalize_first=True,
                hidden_dim=c.n_embd,
            )
            for _ in range(c.n_layer)
        ]
        # 2 n_layer terms add up on the residual path: smaller ones keep its variance (section 2.3)
        small = RandomNormal(stddev=c.initializer_range / math.sqrt(2 * max(1, c.n_layer)))
        for block in self.blocks:
            block.attention.output.kernel.initializer = block.network.outer.kernel.initializer = small
        self.norm = LayerNormalization(epsilon=c.layer_norm_epsilon)

    def shapes(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        sequence = (None, None, self.config.n_embd)
        yield self.word, (None, None)
        yield from ((layer, sequence) for layer in (self.position, self.drop, *self.blocks, self.norm))

    def embed(self, ids: Tensor, start: int, position_ids: Any) -> Tensor:
        x = self.word(ids)  # (N,T) -> (N,T,D)
        places = None if position_ids is None else asarray(position_ids)
        return self.drop(x + self.position(x, start=start, positions=places))

    def places(self) -> Iterator[tuple[str, str]]:
        yield from [("word", "wte"), ("position", "wpe"), ("norm", "ln_f")]
        for i in range(len(self.blocks)):
            yield from (
                (f"blocks.{i}.{ours}", f"h.{i}.{theirs}")
                for ours, theirs in [
                    ("attention_norm", "ln_1"), ("attention.query", "attn.c_attn"), ("attention.key", "attn.c_attn"),
                    ("attention.value", "attn.c_attn"), ("attention.output", "attn.c_proj"), ("network_norm", "ln_2"),
                    ("network.inner", "mlp.c_fc"), ("network.outer", "mlp.c_proj"),
                ]
            )  # fmt: skip

    def place(self, path: str, module: str, leaf: str) -> Place:
        """Kernels lie as here; those of queries, keys and values side by side."""
        place = super().place(path, module, leaf)._replace(transposed=False)
        three = ["query", "key", "value"]
        which = path.split(".")[-2]
        return place._replace(part=three.index(which), parts=3) if which in three else place


class GPT2LMHeadModel(GPT2Model, LanguageModel):
    """input_ids (N,T) -> logits (N,T,V). The last product is with the table of token vectors."""

    def logits(self, x: Tensor) -> Tensor:
        return ops.matmul(x, self.word.embeddings.mT)  # (N,T,D) @ (D,V) -> (N,T,V)

    call = LanguageModel.call
