"""Which kernels are timed: every op of the registry, forward and backward.

An elementwise op follows from its record: its domain, at four sizes. A structural op has rows in STRUCTURAL, shapes
that networks have; one without a row runs on the small inputs that its own record draws for the tests. This file knows
nothing of the engine until `every_case` is called: a contender may live in an environment without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SIZES = 100, 10_000, 1_000_000, 10_000_000
DIRECTIONS = "forward", "backward"
KINDS = "kernels", "elementwise", "structural"  # all of them, or one half


@dataclass(frozen=True)
class Input:
    """Numbers between lo and hi: "float" is float32, "integer" int32, "label" int64, "bool"; or just these values."""

    shape: tuple[int, ...] = ()
    kind: str = "float"
    lo: float = -4.0
    hi: float = 4.0
    values: Any = None

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        if self.values is not None:
            return self.values
        if self.kind == "float":
            unit = rng.random(self.shape, np.float32)
            return np.float32(self.lo) + np.float32(self.hi - self.lo) * unit
        if self.kind == "rows":  # probabilities: each row sums to 1
            weights = rng.random(self.shape, np.float32) + np.float32(0.1)
            return weights / weights.sum(-1, keepdims=True)
        dtype = {"integer": np.int32, "label": np.int64, "bool": np.bool_}[self.kind]
        return rng.integers(int(self.lo), int(self.hi) + 1, self.shape).astype(dtype)

    @property
    def differentiable(self) -> bool:
        return self.kind in ("float", "rows") if self.values is None else self.values.dtype.kind == "f"


@dataclass(frozen=True)
class KernelCase:
    """One timed call: an op, a direction ("backward" is the recorded op and then its backward), inputs, parameters."""

    op: str
    direction: str
    size: str
    inputs: tuple[Input, ...]
    params: dict[str, Any] = field(default_factory=dict)
    constant: tuple[int, ...] = ()  # float inputs that want no gradient: targets, statistics
    flops: float = 0.0  # of the forward product

    @property
    def name(self) -> str:
        return f"{self.op} {self.direction} {self.size}"

    def arrays(self) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        return [i.draw(rng) for i in self.inputs]

    @property
    def leaves(self) -> list[int]:
        """The inputs that get a gradient."""
        return [i for i, x in enumerate(self.inputs) if x.differentiable and i not in self.constant]


def cotangent(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """Of a result of this shape: random, the same for every contender."""
    return np.asarray(np.random.default_rng(1).random(shape, np.float32) + np.float32(0.5), dtype)


# ------------------------------------------------------------------------------------------------ shapes of networks
Row = tuple[tuple[Input, ...], dict[str, Any], tuple[int, ...], float]


def row(*inputs: Input, constant: tuple[int, ...] = (), flops: float = 0.0, **params: Any) -> Row:
    return inputs, params, constant, flops


def x(*shape: int, lo: float = -4.0, hi: float = 4.0) -> Input:
    return Input(shape, "float", lo, hi)


def p(*shape: int) -> Input:
    return Input(shape, "rows")


def label(*shape: int, below: int) -> Input:
    return Input(shape, "label", 0, below - 1)


def conv(*image: int, filters: int, size: int = 3, bias: bool = False, groups: int = 1, **params: Any) -> Row:
    """A convolution of (N,H,W,C) whose result has the sides of the image less a border, unless it is padded."""
    n, h, w, c = image
    border = 0 if params.get("padding") == "same" else size - 1
    options = params if groups == 1 else {**params, "groups": groups}
    inputs = x(*image), x(size, size, c // groups, filters), *([x(filters)] if bias else [])
    places = n * (h - border) * (w - border)
    return row(*inputs, flops=2 * places * size * size * (c // groups) * filters, **options)


def product(n: int, j: int, k: int, *batch: int) -> Row:
    return row(x(*batch, n, j), x(*batch, j, k), flops=2 * float(np.prod(batch, initial=1)) * n * j * k)


def dense(n: int, j: int, k: int) -> Row:
    return row(x(n, j), x(j, k), x(k), flops=2 * n * j * k)


def recurrent(gates: int, bias: Input | None = None, batch: int = 64, length: int = 100, width: int = 128) -> Row:
    """(N,T,D), (D,GH), (H,GH), (GH): weights as small as trained ones are, lest the states saturate."""
    kernel = x(width, gates * width, lo=-0.1, hi=0.1)
    flops = 4 * batch * length * width * gates * width
    return row(x(batch, length, width), kernel, kernel, bias or x(gates * width, lo=-0.1, hi=0.1), flops=flops)


def words_read(batch: int, length: int, words: int, width: int) -> Row:
    """(N,T), (V,D), (D,4H), (H,4H), (4H)"""
    cell = recurrent(4, batch=batch, length=length, width=width)
    return row(label(batch, length, below=words), x(words, width, lo=-0.1, hi=0.1), *cell[0][1:], flops=cell[3])


SQUARE = x(1024, 1024)
POSITIVE = x(1024, 1024, lo=0.5, hi=1.5)
ACTIVATION = x(64, 26, 26, 32)  # after the first convolution of the MNIST network
SENTENCES = x(16, 128, 384)
SCORES = x(512, 1000)
REDUCTION = [row(SQUARE), row(SQUARE, axis=-1), row(SQUARE, axis=0)]
CONVOLUTION = [
    {"image": (64, 28, 28, 1), "filters": 32},
    {"image": (64, 13, 13, 32), "filters": 64},
    {"image": (32, 32, 32, 64), "filters": 64, "padding": "same"},
]


def convolutions(bias: bool = False) -> list[Row]:
    return [conv(*c["image"], bias=bias, **{k: v for k, v in c.items() if k != "image"}) for c in CONVOLUTION]


STRUCTURAL: dict[str, list[Row]] = {
    # shapes, most of them views
    "clip": [row(SQUARE, min=-1.0, max=1.0)],
    "glu": [row(SQUARE)],
    "reshape": [row(SQUARE, shape=(512, 2048))],
    "expand_dims": [row(SQUARE, axis=1)],
    "squeeze": [row(x(1024, 1, 1024), axis=1)],
    "broadcast_to": [row(x(1, 1024), shape=(1024, 1024))],
    "broadcast_arrays": [row(x(1024, 1), x(1, 1024))],
    "permute_dims": [row(x(64, 26, 26, 32), axes=(0, 3, 1, 2))],
    "swapaxes": [row(SQUARE, axis1=0, axis2=1)],
    "moveaxis": [row(x(64, 26, 26, 32), source=3, destination=1)],
    "matrix_transpose": [row(SQUARE)],
    "astype": [row(SQUARE, dtype="float64")],
    "getitem": [row(SQUARE, index=(slice(100, 900),)), row(SQUARE, index=(slice(None), slice(0, None, 2)))],
    "add_at": [row(SQUARE, x(800, 1024), index=(slice(100, 900),))],
    "set_at": [row(SQUARE, x(800, 1024), index=(slice(100, 900),))],
    "concat": [row(x(512, 1024), x(512, 1024)), row(x(1024, 512), x(1024, 512), axis=1)],
    "stack": [row(x(512, 1024), x(512, 1024))],
    "split": [row(SQUARE, indices_or_sections=4, axis=1)],
    "unstack": [row(x(16, 65536))],
    "pad": [row(ACTIVATION, pad_width=((0, 0), (1, 1), (1, 1), (0, 0)))],
    "diff": [row(SQUARE)],
    "tril": [row(SQUARE)],
    "triu": [row(SQUARE)],
    "diagonal": [row(SQUARE)],
    "trace": [row(SQUARE)],
    "flip": [row(SQUARE, axis=1)],
    "roll": [row(SQUARE, shift=100, axis=1)],
    "tile": [row(x(512, 512), repetitions=(2, 2))],
    "repeat": [row(x(1024, 512), repeats=2, axis=1)],
    "take": [row(x(10_000, 128), label(6400, below=10_000), axis=0)],
    "index_add": [row(x(10_000, 128), label(6400, below=10_000), x(6400, 128), axis=0)],
    "take_along_axis": [row(SQUARE, label(1024, 256, below=1024))],
    "scatter_add": [row(SQUARE, label(1024, 256, below=1024), x(1024, 256))],
    # reductions, scans, order
    **dict.fromkeys(("sum", "mean", "max", "min", "logsumexp", "var", "std"), REDUCTION),
    "prod": [row(POSITIVE, axis=-1)],
    "argmax": [row(SQUARE, axis=-1), row(SQUARE, axis=0)],
    "argmin": [row(SQUARE, axis=-1)],
    "count_nonzero": [row(SQUARE)],
    "all": [row(Input((1024, 1024), "bool", 0, 1), axis=-1)],
    "any": [row(Input((1024, 1024), "bool", 0, 1), axis=-1)],
    "power_norm": [row(SQUARE), row(SQUARE, axis=-1)],
    "norm": [row(SQUARE), row(SQUARE, axis=-1)],
    "cumulative_sum": [row(SQUARE, axis=-1), row(SQUARE, axis=0)],
    "cumulative_prod": [row(POSITIVE, axis=-1)],
    "cumulative_logsumexp": [row(SQUARE, axis=-1)],
    "one_hot": [row(label(60_000, below=10), num_classes=10)],
    "argsort": [row(x(256, 1024))],
    "sort": [row(x(256, 1024))],
    "topk": [row(x(256, 1024), k=10)],
    "nonzero": [row(Input((1024, 1024), "bool", 0, 1))],
    "searchsorted": [row(Input(values=np.linspace(-4, 4, 1000, dtype=np.float32)), x(100_000))],
    "unique_counts": [row(Input((100_000,), "integer", 0, 1000))],
    "unique_values": [row(Input((100_000,), "integer", 0, 1000))],
    # products
    "matrix_product": [product(128, 784, 512), product(512, 512, 512), product(128, 32, 128, 192)],
    "matmul": [product(128, 784, 512), product(2048, 384, 1536), product(128, 32, 128, 192)],
    **dict.fromkeys(("linear", "linear_relu"), [dense(128, 784, 512), dense(2048, 384, 1536)]),
    "vecdot": [row(SQUARE, SQUARE)],
    "outer": [row(x(1024), x(1024))],
    "tensordot": [row(x(64, 8, 64), x(8, 64, 128), axes=2, flops=2 * 64 * 512 * 128)],
    "einsum": [
        row(x(16, 128, 12, 32), x(16, 128, 12, 32), equation="bqhd,bkhd->bhqk", flops=2 * 16 * 12 * 128**2 * 32)
    ],
    # softmax and losses
    **dict.fromkeys(("softmax", "log_softmax", "softmin"), [row(SCORES), row(x(16, 12, 128, 128))]),
    "softmax_gradient": [row(SCORES, p(512, 1000))],
    **dict.fromkeys(("mse", "mae", "huber"), [row(SQUARE, SQUARE, constant=(0,))]),
    "hinge": [row(SQUARE, SQUARE, constant=(0,))],
    "binary_cross_entropy": [row(x(1024, 1024, lo=0, hi=1), x(1024, 1024, lo=0.05, hi=0.95), constant=(0,))],
    "binary_cross_entropy_with_logits": [row(x(1024, 1024, lo=0, hi=1), SQUARE, constant=(0,))],
    "kl_div": [row(p(512, 1000), p(512, 1000), constant=(0,))],
    "categorical_cross_entropy": [row(p(512, 1000), p(512, 1000), constant=(0,))],
    "sparse_categorical_cross_entropy": [row(label(512, below=1000), p(512, 1000))],
    "cross_entropy": [row(label(512, below=1000), SCORES), row(p(512, 1000), SCORES, constant=(0,))],
    "cross_entropy_with_labels": [row(label(512, below=1000), SCORES)],
    "cross_entropy_with_probabilities": [row(p(512, 1000), SCORES, constant=(0,))],
    # layers
    "embedding": [row(label(64, 100, below=10_000), x(10_000, 128))],
    "embedding_gradient": [row(x(64, 100, 128), label(64, 100, below=10_000), rows=10_000)],
    "dropout": [row(SQUARE, rate=0.5, seed=1)],
    "rms_norm": [row(SENTENCES, x(384))],
    "layer_norm": [row(SENTENCES, x(384), x(384), eps=1e-5)],
    "batch_norm": [row(x(32, 32, 32, 64), x(64), x(64), eps=1e-5)],
    "batch_norm_inference": [
        row(x(32, 32, 32, 64), x(64), x(64), x(64), x(64, lo=0.5), eps=1e-5, constant=(3, 4)),
    ],
    "conv2d": [
        *convolutions(),
        conv(32, 32, 32, 64, filters=64, groups=64, padding="same"),
        conv(32, 32, 32, 64, filters=128, size=1),
    ],
    "conv2d_bias": convolutions(bias=True),
    "conv2d_bias_relu": convolutions(bias=True),
    "conv2d_input_gradient": [
        row(x(64, 11, 11, 64), x(3, 3, 32, 64), input_shape=(64, 13, 13, 32), flops=2 * 64 * 121 * 9 * 32 * 64)
    ],
    "conv2d_weight_gradient": [
        row(x(64, 13, 13, 32), x(64, 11, 11, 64), weight_shape=(3, 3, 32, 64), flops=2 * 64 * 121 * 9 * 32 * 64)
    ],
    "simple_rnn": [recurrent(1)],
    "gru": [recurrent(3, x(2, 3 * 128, lo=-0.1, hi=0.1))],
    "lstm": [recurrent(4), recurrent(4, length=1)],
    "embedding_rnn": [words_read(64, 100, 10_000, 128)],
    "attention": [
        row(*[x(16, 128, 12, 32)] * 3, flops=4 * 16 * 12 * 128**2 * 32),
        row(*[x(2, 512, 12, 32)] * 3, causal=True, flops=4 * 2 * 12 * 512**2 * 32),
    ],
    "attention_weights": [row(*[x(16, 128, 12, 32)] * 2, flops=2 * 16 * 12 * 128**2 * 32)],
    "max_pool2d": [row(ACTIVATION)],
    "average_pool2d": [row(ACTIVATION)],
    "global_average_pool2d": [row(ACTIVATION)],
    "global_max_pool2d": [row(ACTIVATION)],
    "scatter_windows": [row(x(64, 13, 13, 32), label(64, 13, 13, 32, below=4), input_shape=(64, 26, 26, 32))],
    "gather_windows": [row(ACTIVATION, label(64, 13, 13, 32, below=4))],
    "spread_windows": [row(x(64, 13, 13, 32), input_shape=(64, 26, 26, 32))],
}

# Ops that are no case of their own, and why.
EXCLUDED: dict[str, str] = {
    "real": "of a real number: the number itself, nothing is computed",
    "conj": "of a real number: the number itself, nothing is computed",
    "imag": "of a real number: zeros",
    "sinc_slope": "the derivative of sinc, timed as sinc backward",
}


# ------------------------------------------------------------------------------------------------ from the registry
def every_case(
    kind: str = "kernels", ops: Sequence[str] = (), sizes: Sequence[int] = SIZES,
    directions: Sequence[str] = DIRECTIONS,
) -> Iterator[KernelCase]:  # fmt: skip
    """The cases of these ops (of all), sorted as the registry is; `sizes` are those of elementwise ops."""
    from engine import OPS
    from engine.elementwise import ElementwiseOp

    for name in ops or [n for n in OPS if n not in EXCLUDED]:
        op = OPS[name]
        elementwise = isinstance(op, ElementwiseOp)
        if kind not in ("kernels", "elementwise" if elementwise else "structural"):
            continue
        shapes = _elementwise(op, sizes) if elementwise else _structural(op)
        for direction in directions if op.differentiable else [d for d in directions if d == "forward"]:
            for size, (inputs, params, constant, flops) in shapes:
                case = KernelCase(name, direction, size, inputs, params, constant, flops)
                if direction == "forward" or case.leaves:
                    yield case


def _elementwise(op: Any, sizes: Sequence[int]) -> list[tuple[str, Row]]:
    return [
        (f"{n:.0e}".replace("e+0", "e"), row(*(Input((n,), d.kind, d.lo, d.hi) for d in op.note.domain))) for n in sizes
    ]


def _structural(op: Any) -> list[tuple[str, Row]]:
    rows = STRUCTURAL.get(op.name) or [_sample(op)]
    return [(_size(r), r) for r in rows]


def _size(r: Row) -> str:
    inputs, params = r[:2]
    shapes = [i.shape if i.values is None else i.values.shape for i in inputs]
    text = ", ".join("x".join(map(str, s)) or "()" for s in shapes)
    words = [f"{k}={v}" for k, v in params.items() if k in ("axis", "groups", "padding")]
    strided = any(isinstance(s, slice) and s.step for s in params.get("index", ()))
    return " ".join([text, *words, *(["strided"] if strided else [])])


def _sample(op: Any) -> Row:
    """Inputs that the record draws for its tests: the first draw that has something in it."""
    from engine.samples import Draw

    for seed in range(100):
        inputs, params = op.note.samples(Draw.seeded(seed))
        while inputs[-1] is None:  # optional inputs
            inputs = inputs[:-1]
        if all(a is not None and np.size(a) > 1 for a in inputs):
            break
    floats = [a.astype(np.float32) if a.dtype == np.float64 else a for a in map(np.asarray, inputs)]
    return row(*(Input(values=a) for a in floats), **params)
