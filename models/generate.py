"""One token after the other: what a language model makes of a beginning.

generate(model, ids, 50)                                            # greedy: always the likeliest
generate(model, ids, 50, do_sample=True, temperature=0.8, top_p=0.9, generator=Generator(7))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine import no_grad
from engine.errors import ArgumentError
from engine.parameter import training_mode
from engine.random import Generator, default_generator
from engine.tensor import Tensor
from layers import KeyValueCache

Array = np.ndarray


# ------------------------------------------------------------------------------------------------ choosing a token
def keep_top_k(logits: Array, k: int) -> Array:
    """-inf for all but the k likeliest tokens, (N,V) -> (N,V)."""
    least = np.partition(logits, -k, axis=-1)[:, -k, None] if k < logits.shape[-1] else -np.inf
    return np.where(logits < least, -np.inf, logits)


def keep_top_p(logits: Array, p: float) -> Array:
    """-inf for all but the fewest likeliest tokens whose probabilities reach p, (N,V) -> (N,V).

    [Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020]
    """
    order = np.argsort(-logits, axis=-1, kind="stable")
    likely = np.take_along_axis(probabilities(logits), order, -1)
    needless = np.cumsum(likely, -1) - likely >= p  # the likelier ones reach p already; never true of the first
    out = logits.copy()
    np.put_along_axis(out, order, np.where(needless, -np.inf, np.take_along_axis(logits, order, -1)), -1)
    return out


def probabilities(logits: Array) -> Array:
    """Softmax, (N,V) -> (N,V)."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def draw(logits: Array, generator: Generator) -> Array:
    """A token for each row, with the probabilities of softmax: (N,V) -> (N,)."""
    heights = np.cumsum(probabilities(logits), -1)
    u = generator.uniform((len(logits), 1), "float64") * heights[:, -1:]
    return (heights <= u).sum(-1)  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------ a text
def generate(
    model: Any,
    input_ids: Any,
    max_new_tokens: int = 20,
    *,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: Generator | None = None,
    eos_token_id: int | Sequence[int] | None = None,
    pad_token_id: int = 0,
    attention_mask: Any = None,
    use_cache: bool = True,
    streamer: Callable[[Array], Any] | None = None,
) -> Array:
    """Continue texts: input_ids (N,T) -> (N, T + up to max_new_tokens), int64. Words are Hugging Face's.

    do_sample      False takes the likeliest token; True draws, from logits divided by `temperature`, of the `top_k`
                   likeliest tokens, of the fewest that together have the probability `top_p`
    generator      of the draws; by default the process's own
    eos_token_id   ends a text (one token, or any of several); it is filled up with pad_token_id until all have ended
    attention_mask (N,T): 0 at padding, which stands on the left, so that all texts end together
    use_cache      keys and values of earlier tokens are kept: the same tokens, sooner
    streamer       is called with each new column (N,)

    A text that outgrows the model's positions is continued from its last ones. Raises ArgumentError for what can't be,
    and for logits that are NaN, of which no token is the likeliest.
    """
    ids = np.asarray(input_ids.data if isinstance(input_ids, Tensor) else input_ids)
    _check(ids, attention_mask, max_new_tokens, temperature, top_k, top_p)
    ids = ids.astype(np.int64)
    mask = np.ones(ids.shape, bool) if attention_mask is None else np.asarray(attention_mask) != 0
    generator, ended = generator or default_generator(), np.zeros(len(ids), bool)
    next_logits = _reader(model, use_cache)
    with no_grad(), training_mode(False):
        for _ in range(max_new_tokens):
            logits = next_logits(ids, mask)  # (N,V)
            if do_sample:
                with np.errstate(over="ignore"):  # the likeliest's is 0, the others' may be -inf
                    logits = (logits - logits.max(-1, keepdims=True)) / temperature
                logits = logits if top_k is None else keep_top_k(logits, top_k)
                logits = logits if top_p is None else keep_top_p(logits, top_p)
                token = draw(logits, generator)
            else:
                token = logits.argmax(-1)
            token = np.where(ended, pad_token_id, token)
            ids = np.concatenate([ids, token[:, None]], 1)
            mask = np.concatenate([mask, np.ones((len(ids), 1), bool)], 1)
            if streamer is not None:
                streamer(token)
            if eos_token_id is not None:
                ended |= np.isin(token, eos_token_id)
                if ended.all():
                    break
    return ids


def _reader(model: Any, use_cache: bool) -> Callable[[Array, Array], Array]:
    """A function of all tokens so far, (N,T), that gives the logits of the next, (N,V); it may remember the others."""
    cache = KeyValueCache() if use_cache else None

    def read(ids: Array, mask: Array) -> Array:
        T, limit = ids.shape[1], model.positions
        kept = cache
        if limit is not None and limit < T:  # positions begin anew with each window: nothing can be kept
            ids, mask, kept = ids[:, -limit:], mask[:, -limit:], None
        places = np.maximum(np.cumsum(mask, 1) - 1, 0)  # padding takes no position
        known = 0 if kept is None else kept.length
        how = {"position_ids": places[:, known:]} if not mask.all() else {}
        out = model(ids[:, known:], attention_mask=mask, cache=kept, logits_to_keep=1, **how)
        logits = out.logits.numpy()[:, -1].astype(np.float64)
        if np.isnan(logits).any():
            raise ArgumentError(
                f"generate: the model's logits for token {T + 1} are NaN, so none is the likeliest: look at its "
                "weights (a training that diverged?), or find the op with detect_anomaly()"
            )
        return logits

    return read


def _check(ids: Array, mask: Any, count: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    if ids.ndim != 2 or ids.shape[1] == 0 or ids.dtype.kind not in "iu":
        raise ArgumentError(
            f"generate: input_ids are whole numbers (N,T) with at least one token each, got {ids.dtype} of shape "
            f"{ids.shape}; an empty beginning is the token that begins texts"
        )
    if mask is not None and (np.shape(mask) != ids.shape or not (np.asarray(mask)[:, -1] != 0).all()):
        raise ArgumentError("generate: attention_mask is (N,T) like input_ids, and padding stands on the left")
    if not hasattr(count, "__index__") or count < 0:
        raise ArgumentError(f"generate: max_new_tokens is a count, got {count!r}")
    if not temperature > 0:
        raise ArgumentError(f"generate: temperature is above 0, got {temperature}; do_sample=False takes the likeliest")
    if top_k is not None and (not hasattr(top_k, "__index__") or top_k < 1):
        raise ArgumentError(f"generate: top_k is a count of tokens, at least 1, got {top_k!r}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ArgumentError(f"generate: top_p is a probability, above 0 and at most 1, got {top_p}")
