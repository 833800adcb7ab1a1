"""MyGrad: NumPy with gradients, and Adam written out, as it has no optimisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mygrad as mg
import numpy as np
from mygrad.nnet.activations import relu
from mygrad.nnet.layers import conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy

from ..cases import CHAIN, digits

Step = Callable[[], float]
rng = np.random.default_rng(2)


def layer(*shape: int, inputs: int) -> list[Any]:
    w = rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(inputs))
    return [mg.tensor(w), mg.tensor(np.zeros(shape[0] if len(shape) == 4 else shape[-1], np.float32))]


def trained(loss: Callable[[], Any], parameters: list[Any]) -> Step:
    m = [np.zeros_like(p.data) for p in parameters]
    v = [np.zeros_like(p.data) for p in parameters]
    t = 0

    def step() -> float:
        nonlocal t
        t += 1
        value = loss()
        value.backward()
        for p, a, b in zip(parameters, m, v, strict=True):
            a += 0.1 * (p.grad - a)
            b += 0.001 * (p.grad**2 - b)
            p.data -= 1e-3 * (a / (1 - 0.9**t)) / (np.sqrt(b / (1 - 0.999**t)) + 1e-7)
        return float(value.data)

    return step


def conv(x: Any, p: list[Any]) -> Any:
    return relu(conv_nd(x, p[0], stride=1) + p[1].reshape(1, -1, 1, 1))


def pool(x: Any) -> Any:
    side = x.shape[-1] // 2 * 2
    return max_pool(x[..., :side, :side], (2, 2), 2)


def dense(x: Any, p: list[Any]) -> Any:
    return mg.matmul(x, p[0]) + p[1]


def mnist_cnn(batch: int) -> Step:
    x, labels = digits(batch)
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    a, b, c = layer(32, 1, 3, 3, inputs=9), layer(64, 32, 3, 3, inputs=288), layer(64, 64, 3, 3, inputs=576)
    d, e = layer(576, 64, inputs=576), layer(64, 10, inputs=64)

    def loss() -> Any:
        h = conv(pool(conv(pool(conv(x, a)), b)), c).reshape(batch, -1)
        return softmax_crossentropy(dense(relu(dense(h, d)), e), labels)

    return trained(loss, a + b + c + d + e)


def mnist_cnn_small(batch: int) -> Step:
    x, labels = digits(batch)
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    a, b, c = layer(32, 1, 3, 3, inputs=9), layer(5408, 128, inputs=5408), layer(128, 10, inputs=128)

    def loss() -> Any:
        return softmax_crossentropy(dense(relu(dense(pool(conv(x, a)).reshape(batch, -1), b)), c), labels)

    return trained(loss, a + b + c)


def mlp(batch: int) -> Step:
    x, labels = digits(batch)
    x = x.reshape(batch, 784)
    a, b, c = layer(784, 512, inputs=784), layer(512, 512, inputs=512), layer(512, 10, inputs=512)
    return trained(lambda: softmax_crossentropy(dense(relu(dense(relu(dense(x, a)), b)), c), labels), a + b + c)


def small_tensors(ops: int, elements: int) -> Step:
    x = mg.tensor(np.linspace(-0.9, 0.9, elements, dtype=np.float32))
    c = mg.tensor(np.full(elements, 0.9, np.float32), constant=True)
    g = np.linspace(0.5, 1.5, elements, dtype=np.float32)
    sigmoid = mg.nnet.activations.sigmoid
    calls = [
        (sigmoid if name == "sigmoid" else getattr(mg, name), name in ("tanh", "sigmoid"))
        for name in (CHAIN * ops)[:ops]
    ]

    def step() -> float:
        y = x
        for op, unary in calls:
            y = op(y) if unary else op(y, c)
        y.backward(g)
        return 0.0

    return step
