"""What language models that read from left to right have in common: blocks, a head, a loss, generation."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.tensor import Tensor
from layers import KeyValueCache, TransformerDecoder
from models.generate import generate
from models.pretrained import Outputs, PretrainedModel, language_loss, real_tokens, token_ids


class DecoderModel(PretrainedModel):
    """A stack of decoder blocks: input_ids (N,T) -> last_hidden_state (N,T,D).

    attention_mask (N,T), or (N,S) with a cache of S - T tokens: 1 or True at real tokens. position_ids (N,T), where the
    model has a table of positions. cache: a `KeyValueCache`.
    """

    inputs = ("input_ids", "attention_mask")
    blocks: list[TransformerDecoder]
    positions: int | None = None  # how many the model has a vector for; None: any number

    def decode(
        self, ids: Any, mask: Any = None, position_ids: Any = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """(N,T) -> the last layer's states, normalised, (N,T,D)."""
        ids, known = token_ids(ids), 0 if cache is None else cache.length
        x = self.embed(ids, known, position_ids)
        mask = real_tokens(mask, (ids.shape[0], known + ids.shape[1]))
        for block in self.blocks:
            x = block(x, padding_mask=mask, cache=cache)
        return self.norm(x)

    def embed(self, ids: Tensor, start: int, position_ids: Any) -> Tensor:
        """(N,T) -> (N,T,D)"""
        raise NotImplementedError

    def call(
        self, input_ids: Any, attention_mask: Any = None, position_ids: Any = None, cache: KeyValueCache | None = None
    ) -> Any:
        ids, mask = self.arguments_of(input_ids, mask=attention_mask)
        return Outputs(last_hidden_state=self.decode(ids, mask, position_ids, cache))


class LanguageModel(DecoderModel):
    """A guess for the next token: input_ids (N,T) -> logits (N,T,V); with labels (N,T) the loss, too.

    labels are the input_ids themselves (-100 where a token does not count): the shift by one happens here. Keras style,
    `fit(ids, next_ids)`, compares the logits with what is given, without a shift. logits_to_keep: of the last so many
    positions only, 0 means all.
    """

    heads: Any = ("lm_head.",)

    def logits(self, x: Tensor) -> Tensor:
        """(N,T,D) -> (N,T,V)"""
        raise NotImplementedError

    def call(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        position_ids: Any = None,
        labels: Any = None,
        cache: KeyValueCache | None = None,
        logits_to_keep: int = 0,
    ) -> Any:
        ids, mask = self.arguments_of(input_ids, mask=attention_mask)
        x = self.decode(ids, mask, position_ids, cache)
        logits = self.logits(x[:, -logits_to_keep:] if logits_to_keep else x)
        if labels is None:
            return Outputs(logits=logits)
        targets = np.asarray(labels.data if isinstance(labels, Tensor) else labels)[:, 1:]
        return Outputs(loss=language_loss(logits[:, :-1], targets), logits=logits)

    def generate(self, input_ids: Any, max_new_tokens: int = 20, **how: Any) -> np.ndarray:
        """Continue texts, see `models.generate.generate`."""
        return generate(self, input_ids, max_new_tokens, **how)
