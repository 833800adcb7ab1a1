"""Which whole steps are timed: a row each, with its sizes and how much work it is.

`build` names a function in each module of `contenders/`: sizes -> step, and step() is one whole training step (zero the
gradients, forward, backward, update) that gives back the loss. All contenders get the same data and sizes.

FLOPs count products only, 2 for a multiply and an add; bytes are the least that must pass through memory: parameters
and Adam's two averages read and written once, activations written by forward and read by backward, and their gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ADAM = 7  # floats a parameter: read p, g, m, v; write p, m, v
NETWORK = "chainrule", "torch", "torch-best", "torch-compile", "jax", "mygrad"
UNCOMPILED = tuple(n for n in NETWORK if n != "torch-compile")  # where it takes long to compile and gains nothing


@dataclass(frozen=True)
class Network:
    """What a contender is told: the function of its module that makes the step, and its arguments."""

    build: str
    sizes: dict[str, Any]
    tried: bool = True  # one step before it is called ready: what fails, fails there


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    build: str
    sizes: dict[str, Any]
    flops: Callable[..., float]
    bytes: Callable[..., float]
    control: str = "product"
    contenders: tuple[str, ...] = NETWORK
    tiny: dict[str, Any] = field(default_factory=dict)  # sizes for the tests
    per: int = 1  # the time is divided by this: ops of a chain
    warm_up: int = 5
    base: str = "torch"  # whose time is 1
    required: float | None = None  # time relative to `base`, as asked for and as hoped for
    aim: float | None = None

    def network(self, **sizes: Any) -> Network:
        """With other sizes, if need be."""
        return Network(self.build, {**self.sizes, **sizes}, tried=self.warm_up > 0)


# ------------------------------------------------------------------------------------------------ data, for everyone
def digits(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images (N,28,28,1) and labels (N,): timing does not depend on what they show."""
    rng = np.random.default_rng(0)
    return rng.random((batch, 28, 28, 1), np.float32), rng.integers(0, 10, batch)


def reviews(batch: int, length: int, words: int) -> tuple[np.ndarray, np.ndarray]:
    """Word numbers (N,T) and 0 or 1 (N,1)."""
    rng = np.random.default_rng(0)
    return rng.integers(0, words, (batch, length)), rng.integers(0, 2, (batch, 1)).astype(np.float32)


def features(batch: int, side: int, channels: int) -> np.ndarray:
    """What a residual block is given: (N,H,W,C)."""
    return np.random.default_rng(0).standard_normal((batch, side, side, channels), np.float32)


CHAIN = "multiply", "add", "tanh", "subtract", "sigmoid"  # the ops of the small-tensor chain, over and over


# ------------------------------------------------------------------------------------------------ work
def convolution(batch: int, side: int, channels: int, filters: int, size: int = 3) -> float:
    return 2 * batch * side**2 * size**2 * channels * filters


def dense(batch: int, *widths: int) -> list[float]:
    return [2 * batch * n * m for n, m in zip(widths, widths[1:], strict=False)]


def training(products: list[float], first_gradient: bool = False) -> float:
    """Forward, weight gradients, and input gradients of all products but the first, whose input is data."""
    return 3 * sum(products) - (0 if first_gradient else products[0])


def traffic(parameters: float, activations: float) -> float:
    return 4 * (ADAM * parameters + 4 * activations)


def lstm_flops(batch: int, length: int, words: int, width: int) -> float:
    cell = 2 * batch * length * (width + width) * 4 * width
    return training([cell, cell], first_gradient=True)


def lstm_bytes(batch: int, length: int, words: int, width: int) -> float:
    return traffic(words * width + 2 * (8 * width**2 + 4 * width), batch * length * width * (1 + 2 * 7))


def bert_forward(batch: int, length: int, width: int, inner: int, layers: int, **_: Any) -> float:
    a_token = 2 * (4 * width**2 + 2 * width * inner) + 4 * length * width
    return float(layers * batch * length * a_token)


def bert_parameters(width: int, inner: int, layers: int, words: int, length: int, **_: Any) -> float:
    return (words + length + 2) * width + layers * (4 * width**2 + 2 * width * inner + inner + 9 * width)


def bert_activations(batch: int, length: int, width: int, inner: int, layers: int, heads: int, **_: Any) -> float:
    return layers * batch * (length * (8 * width + 2 * inner) + heads * length**2)


# ------------------------------------------------------------------------------------------------ the table
MINILM = {"batch": 16, "length": 128, "words": 30522, "width": 384, "inner": 1536, "heads": 12, "layers": 6}
TINY_BERT = {"batch": 2, "length": 6, "words": 20, "width": 8, "inner": 16, "heads": 2, "layers": 1}
TINY_LSTM = {"batch": 2, "length": 4, "words": 20, "width": 6}


def lstm(length: int, required: float, aim: float) -> Case:
    return Case(
        f"lstm-{length}", f"sentiment network: embedding, two LSTMs of 128, T = {length}, batch 64", "sentiment_lstm",
        {"batch": 64, "length": length, "words": 10_000, "width": 128},
        lstm_flops, lstm_bytes, tiny=TINY_LSTM, required=required, aim=aim, warm_up=3,
        contenders=UNCOMPILED,
    )  # fmt: skip


CASES: dict[str, Case] = {
    c.name: c
    for c in (
        Case(
            "mnist-cnn", "CNN-A: three convolutions, 93,322 parameters, batch 64", "mnist_cnn", {"batch": 64},
            lambda batch: training([
                convolution(batch, 26, 1, 32), convolution(batch, 11, 32, 64), convolution(batch, 3, 64, 64),
                *dense(batch, 576, 64, 10),
            ]),
            lambda batch: traffic(93_322, batch * (26 * 26 * 32 + 13 * 13 * 32 + 11 * 11 * 64 + 5 * 5 * 64 + 576)),
            tiny={"batch": 2}, required=0.25, aim=0.20,
        ),
        Case(
            "mnist-cnn-small", "CNN-B: one convolution, 693,962 parameters, batch 128", "mnist_cnn_small",
            {"batch": 128},
            lambda batch: training([convolution(batch, 26, 1, 32), *dense(batch, 5408, 128, 10)]),
            lambda batch: traffic(693_962, batch * (26 * 26 * 32 + 5408 + 128)),
            tiny={"batch": 2}, required=0.40, aim=0.30, contenders=UNCOMPILED,
        ),
        Case(
            "mlp", "784-512-512-10, batch 128", "mlp", {"batch": 128},
            lambda batch: training(dense(batch, 784, 512, 512, 10)),
            lambda batch: traffic(669_706, batch * (784 + 2 * 512)),
            tiny={"batch": 2}, required=0.8, aim=0.6,
        ),
        lstm(100, 0.55, 0.45),
        lstm(200, 0.55, 0.45),
        Case(
            "resnet-block", "conv-bn-relu-conv-bn-add-relu, 64 channels, 32x32, batch 32", "resnet_block",
            {"batch": 32, "side": 32, "channels": 64},
            lambda batch, side, channels: training([convolution(batch, side, channels, channels)] * 2),
            lambda batch, side, channels: traffic(18 * channels**2 + 4 * channels, 6 * batch * side**2 * channels),
            tiny={"batch": 2, "side": 4, "channels": 3}, required=1.0, aim=0.8, warm_up=3,
        ),
        Case(
            "bert-training", "MiniLM-shaped BERT: 6 layers, 384 wide, 12 heads, T = 128, batch 16", "bert_training",
            MINILM, lambda **s: 3 * bert_forward(**s),
            lambda **s: traffic(bert_parameters(**s), bert_activations(**s)),
            tiny=TINY_BERT, required=0.9, aim=0.75, warm_up=2,
        ),
        Case(
            "bert-inference", "the same, forward only", "bert_inference",
            MINILM, bert_forward, lambda **s: 4 * (bert_parameters(**s) + 2 * bert_activations(**s)),
            tiny=TINY_BERT, required=1.0, aim=0.9, warm_up=2,
        ),
        Case(
            "small-tensors", "a chain of 100 ops on 8 elements, forward and backward; the time is that of one op",
            "small_tensors", {"ops": 100, "elements": 8}, lambda ops, elements: 3.0 * ops * elements,
            lambda ops, elements: 24.0 * ops * elements, control="interpreter",
            contenders=("chainrule", "torch", "mygrad"), tiny={"ops": 5, "elements": 8}, per=100, warm_up=50,
            required=0.6,
        ),
        Case(
            "epoch", "an epoch of `chainrule train mnist-cnn`, 60,000 images from bytes, against the sum of its steps",
            "epoch", {"images": 60_000, "batch": 64},
            lambda images, batch: images / 64 * CASES["mnist-cnn"].flops(64),
            lambda images, batch: images / 64 * CASES["mnist-cnn"].bytes(64),
            contenders=("chainrule", "chainrule-steps"), tiny={"images": 4, "batch": 2}, warm_up=0,
            base="chainrule-steps", required=1.3,
        ),
        Case(
            "denormals", "a step of epoch 10 against one of epoch 1, half of the pixels lit in the first batch only",
            "denormals", {"batch": 128, "steps": 110},
            lambda batch, steps: CASES["mlp"].flops(batch), lambda batch, steps: CASES["mlp"].bytes(batch),
            contenders=("chainrule", "chainrule-epoch-1"), tiny={"batch": 2, "steps": 1},
            base="chainrule-epoch-1", required=1.05,
        ),
    )
}  # fmt: skip
