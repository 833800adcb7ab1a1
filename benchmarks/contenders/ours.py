"""Chain Rule, through its public API."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import layers
from data import to_categorical
from engine import OPS, Tensor, no_grad
from layers.losses import SparseCategoricalCrossentropy
from models import Model, Sequential, recipes, zoo

from ..cases import CHAIN, digits, features, reviews
from ..kernels import KernelCase, cotangent
from . import Call


def kernel(case: KernelCase) -> Call:
    op, xs, params = OPS[case.op], [Tensor(a) for a in case.arrays()], case.params
    if case.direction == "forward":
        return Call(lambda: op(*xs, **params), lambda: [first(op(*xs, **params)).numpy()], no_grad)
    leaves = [xs[i] for i in case.leaves]
    for t in leaves:
        t.requires_grad = True
    y = first(op(*xs, **params))
    g = Tensor(cotangent(y.shape, y.dtype))

    def run() -> Tensor:
        for t in leaves:
            t.grad = None
        y = first(op(*xs, **params))
        y.backward(g)
        return y

    return Call(run, lambda: [run().detach().numpy(), *(t.grad.numpy() for t in leaves if t.grad is not None)])


def first(y: Any) -> Tensor:
    """Of several results the first is differentiated."""
    return y[0] if isinstance(y, tuple) else y


# ------------------------------------------------------------------------------------------------ whole steps
def trained(model: Any, x: Any, y: Any, loss: Any) -> Callable[[], float]:
    """A step with Adam at its defaults; loading, checking and the loss as a float are part of it."""
    model.compile(optimizer="adam", loss=loss)
    return lambda: float(model.train_on_batch(x, y))


def one_hot(labels: Any) -> Any:
    return np.eye(10, dtype=np.float32)[labels]


def mnist_cnn(batch: int) -> Callable[[], float]:
    x, labels = digits(batch)
    return trained(zoo.mnist_cnn(), x, one_hot(labels), "categorical_crossentropy")


def mnist_cnn_small(batch: int) -> Callable[[], float]:
    x, labels = digits(batch)
    return trained(zoo.mnist_cnn_small(), x, one_hot(labels), "categorical_crossentropy")


def perceptron() -> Sequential:
    return Sequential([
        layers.Dense(512, activation="relu", input_shape=(784,)),
        layers.Dense(512, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ])  # fmt: skip


def mlp(batch: int) -> Callable[[], float]:
    x, labels = digits(batch)
    return trained(perceptron(), x.reshape(batch, 784), one_hot(labels), "categorical_crossentropy")


def sentiment_lstm(batch: int, length: int, words: int, width: int) -> Callable[[], float]:
    from layers import LSTM

    x, y = reviews(batch, length, words)
    model = Sequential([
        layers.Embedding(words, width),
        LSTM(width, return_sequences=True),
        layers.Dropout(0.5),
        LSTM(width),
        layers.Dropout(0.5),
        layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    return trained(model, x, y, "binary_crossentropy")


def resnet_block(batch: int, side: int, channels: int) -> Callable[[], float]:
    conv = functools.partial(layers.Conv2D, channels, 3, padding="same", use_bias=False)
    x = inputs = layers.Input((side, side, channels))
    x = layers.ReLU()(layers.BatchNormalization()(conv()(x)))
    x = layers.BatchNormalization()(conv()(x))
    x = layers.ReLU()(layers.Add()([x, inputs]))
    images = features(batch, side, channels)
    return trained(Model(inputs, x), images, np.zeros_like(images), "mse")


def bert(length: int, words: int, width: int, inner: int, heads: int, layers: int) -> Any:
    from models.bert import BertForSequenceClassification

    return BertForSequenceClassification({
        "vocab_size": words, "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": inner, "max_position_embeddings": length, "num_labels": 2,
    })  # fmt: skip


def bert_training(batch: int, length: int, words: int, **sizes: int) -> Callable[[], float]:
    x, y = reviews(batch, length, words)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    return trained(bert(length, words, **sizes), x, y.reshape(-1).astype(np.int64), loss)


def bert_inference(batch: int, length: int, words: int, **sizes: int) -> Callable[[], float]:
    x, _ = reviews(batch, length, words)
    model = bert(length, words, **sizes)
    return lambda: float(model.predict_on_batch(x)["logits"][0, 0])


def small_tensors(ops: int, elements: int) -> Callable[[], float]:
    x = Tensor(np.linspace(-0.9, 0.9, elements, dtype=np.float32), requires_grad=True)
    c = Tensor(np.full(elements, 0.9, np.float32))
    g = Tensor(np.linspace(0.5, 1.5, elements, dtype=np.float32))
    calls = [(OPS[name], name in ("tanh", "sigmoid")) for name in (CHAIN * ops)[:ops]]

    def step() -> float:
        x.grad = None
        y = x
        for op, unary in calls:
            y = op(y) if unary else op(y, c)
        y.backward(g)
        return 0.0

    return step


def epoch(images: int, batch: int, steps_only: bool = False) -> Callable[[], float]:
    """What `chainrule train mnist-cnn` does in an epoch; or the same number of steps, and nothing else."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (images, 28, 28), np.uint8), rng.integers(0, 10, images)
    model = zoo.mnist_cnn(1)
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=None if steps_only else ["accuracy"])
    whole_epoch(model, pixels[: 4 * batch], labels[: 4 * batch], batch)  # compiles what is compiled
    if not steps_only:
        return lambda: float(whole_epoch(model, pixels, labels, batch))
    x, y = recipes.images(pixels, model.input_shape), one_hot(labels)
    starts = range(0, images, batch)
    return lambda: [float(model.train_on_batch(x[i : i + batch], y[i : i + batch])) for i in starts][-1]


def whole_epoch(model: Sequential, pixels: Any, labels: Any, batch: int) -> Any:
    x = recipes.images(pixels, model.input_shape)
    history = model.fit(x, to_categorical(labels, 10), batch_size=batch, epochs=1, verbose=0)
    return history.history["loss"][0]


def denormals(batch: int, steps: int, epochs_before: int = 9) -> Callable[[], float]:
    """A step of a network half of whose first weights once had a gradient, and never again.

    Adam's average of it shrinks by 0.9 a step: after 830 steps it is below the smallest normal number.
    """
    x, labels = digits(batch)
    bright, y = x.reshape(batch, 784), one_hot(labels)
    dark = bright.copy()
    dark[:, ::2] = 0
    model = perceptron()
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    model.train_on_batch(bright, y)
    for _ in range(epochs_before * steps):
        model.train_on_batch(dark, y)
    return lambda: float(model.train_on_batch(dark, y))
