"""JAX: one compiled step, forward, gradient and Adam, with the state handed on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

from ..cases import digits, features, reviews

Step = Callable[[], float]
rng = np.random.default_rng(2)


def weights(*shape: int) -> Any:
    fan_in = int(np.prod(shape[:-1]))
    return jnp.asarray(rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(fan_in)))


def layer(*shape: int) -> tuple[Any, Any]:
    return weights(*shape), jnp.zeros(shape[-1])


def trained(loss: Callable[..., Any], parameters: Any, *data: Any) -> Step:
    """Adam at its defaults; loss(parameters, key, *data)."""

    @jax.jit
    def update(state: Any, *data: Any) -> Any:
        t, p, m, v = state
        value, g = jax.value_and_grad(loss)(p, jax.random.key(t), *data)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        a, b = 1 - 0.9**t, 1 - 0.999**t
        p = jax.tree.map(lambda p, m, v: p - 1e-3 * (m / a) / (jnp.sqrt(v / b) + 1e-7), p, m, v)
        return (t, p, m, v), value

    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = [(jnp.int32(0), parameters, zeros, zeros)]
    given = [jnp.asarray(d) for d in data]

    def step() -> float:
        state[0], value = update(state[0], *given)
        return float(value)

    return step


def dense(x: Any, p: Any) -> Any:
    return x @ p[0] + p[1]


def conv(x: Any, w: Any, padding: str = "VALID") -> Any:
    return lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def cross_entropy(z: Any, labels: Any) -> Any:
    return -jnp.take_along_axis(nn.log_softmax(z), labels[:, None], 1).mean()


def mnist_cnn(batch: int) -> Step:
    def loss(p: Any, key: Any, x: Any, labels: Any) -> Any:
        x = pool(nn.relu(conv(x, p[0][0]) + p[0][1]))
        x = pool(nn.relu(conv(x, p[1][0]) + p[1][1]))
        x = nn.relu(conv(x, p[2][0]) + p[2][1]).reshape(len(x), -1)
        return cross_entropy(dense(nn.relu(dense(x, p[3])), p[4]), labels)

    p = [layer(3, 3, 1, 32), layer(3, 3, 32, 64), layer(3, 3, 64, 64), layer(576, 64), layer(64, 10)]
    return trained(loss, p, *digits(batch))


def mnist_cnn_small(batch: int) -> Step:
    def loss(p: Any, key: Any, x: Any, labels: Any) -> Any:
        x = pool(nn.relu(conv(x, p[0][0]) + p[0][1])).reshape(len(x), -1)
        return cross_entropy(dense(nn.relu(dense(x, p[1])), p[2]), labels)

    return trained(loss, [layer(3, 3, 1, 32), layer(5408, 128), layer(128, 10)], *digits(batch))


def mlp(batch: int) -> Step:
    def loss(p: Any, key: Any, x: Any, labels: Any) -> Any:
        x = nn.relu(dense(nn.relu(dense(x, p[0])), p[1]))
        return cross_entropy(dense(x, p[2]), labels)

    x, labels = digits(batch)
    return trained(loss, [layer(784, 512), layer(512, 512), layer(512, 10)], x.reshape(batch, 784), labels)


def sentiment_lstm(batch: int, length: int, words: int, width: int) -> Step:
    def lstm(p: Any, x: Any) -> Any:  # (T,N,D) -> (T,N,H)
        def cell(state: Any, z: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(z + h @ p["u"], 4, -1)
            c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h = nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((x.shape[1], width))
        return lax.scan(cell, (zero, zero), dense(x, p["x"]))[1]

    def drop(key: Any, x: Any) -> Any:
        return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0)

    def loss(p: Any, key: Any, ids: Any, y: Any) -> Any:
        one, two = jax.random.split(key)
        h = lstm(p["one"], p["table"][ids.T])  # (N,T) -> (T,N,D)
        h = lstm(p["two"], drop(one, h))[-1]
        z = dense(drop(two, h), p["head"])
        return (nn.softplus(z) - z * y).mean()

    def cell_weights() -> dict[str, Any]:
        return {"x": layer(width, 4 * width), "u": weights(width, 4 * width)}

    p = {"table": weights(words, width), "one": cell_weights(), "two": cell_weights(), "head": layer(width, 1)}
    return trained(loss, p, *reviews(batch, length, words))


def resnet_block(batch: int, side: int, channels: int) -> Step:
    def norm(x: Any, p: Any) -> Any:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return (x - mean) * lax.rsqrt(variance + 1e-3) * p[0] + p[1]

    def loss(p: Any, key: Any, x: Any) -> Any:
        y = nn.relu(norm(conv(x, p["w1"], "SAME"), p["n1"]))
        y = nn.relu(x + norm(conv(y, p["w2"], "SAME"), p["n2"]))
        return jnp.square(y).mean()

    scale = jnp.ones(channels), jnp.zeros(channels)
    w = [weights(3, 3, channels, channels) for _ in range(2)]
    return trained(loss, {"w1": w[0], "w2": w[1], "n1": scale, "n2": scale}, features(batch, side, channels))
