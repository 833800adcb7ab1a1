"""A small example for every op: written out where shapes and indices matter, made from the record otherwise.

An entry reads "inputs -> call". A list that holds a float becomes a tensor that wants a gradient, one of whole numbers
or truth values a tensor that does not. An op without an entry gets an example from its record: a new op needs none.
"""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

import engine
from engine.gradcheck import sample
from engine.op import ElementwiseOp, Op
from engine.samples import Domain, Draw

X = "x = [[1., 2., 3.], [4., 5., 6.]]"
PAIR = "y_true = [[1., 0.], [0., 1.]]; y_pred = [[0.5, 0.2], [-1., 2.]]"
IMAGE = "x = engine.arange(16.0).reshape(1, 4, 4, 1).requires_grad_()"
EXAMPLES = {
    # shapes
    "clamp": "x = [-2., 0.5, 3.]; lo = 0.; hi = 1. -> clamp(x, lo, hi)",
    "clip": "x = [-2., 0.5, 3.] -> clip(x, 0, 1)",
    "glu": "x = [1., 2., 0., -1.] -> glu(x)",
    "reshape": f"{X} -> reshape(x, (3, 2))",
    "expand_dims": "x = [1., 2., 3.] -> expand_dims(x, axis=0)",
    "squeeze": "x = [[1.], [2.], [3.]] -> squeeze(x, axis=1)",
    "broadcast_to": "x = [1., 2., 3.] -> broadcast_to(x, (2, 3))",
    "broadcast_arrays": "a = [[1.], [2.]]; b = [3., 4.] -> broadcast_arrays(a, b)",
    "permute_dims": f"{X} -> permute_dims(x, (1, 0))",
    "swapaxes": f"{X} -> swapaxes(x, 0, 1)",
    "moveaxis": f"{X} -> moveaxis(x, 0, -1)",
    "astype": "x = [1.2, 2.7] -> astype(x, 'float64')",
    "getitem": f"{X} -> getitem(x, (0, slice(1, 3)))",
    "add_at": "x = [1., 2., 3.]; value = [10., 20.] -> add_at(x, value, [0, 0])",
    "set_at": "x = [1., 2., 3.]; value = [10., 20.] -> set_at(x, value, slice(0, 2))",
    "concat": "a = [1., 2.]; b = [3.] -> concat([a, b])",
    "stack": "a = [1., 2.]; b = [3., 4.] -> stack([a, b], axis=1)",
    "split": "x = [1., 2., 3., 4.] -> split(x, 2)",
    "unstack": "x = [[1., 2.], [3., 4.]] -> unstack(x)",
    "pad": "x = [1., 2., 3.] -> pad(x, ((1, 2),))",
    "diff": "x = [1., 4., 9., 16.] -> diff(x)",
    "flip": f"{X} -> flip(x, axis=1)",
    "roll": "x = [1., 2., 3., 4.] -> roll(x, 1)",
    "tile": "x = [1., 2.] -> tile(x, (2, 2))",
    "repeat": "x = [1., 2., 3.] -> repeat(x, 2)",
    "tril": "x = [[1., 2., 3.], [4., 5., 6.], [7., 8., 9.]] -> tril(x)",
    "triu": "x = [[1., 2., 3.], [4., 5., 6.], [7., 8., 9.]] -> triu(x)",
    "diagonal": f"{X} -> diagonal(x)",
    "trace": "x = [[1., 2.], [3., 4.]] -> trace(x)",
    # reductions and running values
    **{name: f"{X} -> {name}(x, axis=1)" for name in ("sum", "mean", "logsumexp", "prod", "var", "std", "norm")},
    **{name: f"x = [[1., 5., 3.], [4., 2., 6.]] -> {name}(x, axis=1)" for name in ("max", "min", "argmax", "argmin")},
    "power_norm": f"{X} -> power_norm(x, p=3, axis=1)",
    "count_nonzero": "x = [[0., 2., 3.], [0., 0., 6.]] -> count_nonzero(x, axis=1)",
    "all": "x = [[True, True], [True, False]] -> all(x, axis=1)",
    "any": "x = [[True, False], [False, False]] -> any(x, axis=1)",
    "cumulative_sum": "x = [1., 2., 3.] -> cumulative_sum(x)",
    "cumulative_prod": "x = [1., 2., 3.] -> cumulative_prod(x)",
    "cumulative_logsumexp": "x = [1., 2., 3.] -> cumulative_logsumexp(x)",
    # places
    "take": f"{X} ; indices = [2, 0] -> take(x, indices, axis=1)",
    "index_add": "x = [0., 0., 0.]; indices = [0, 2, 0]; values = [1., 2., 3.] -> index_add(x, indices, values, 0)",
    "take_along_axis": f"{X} ; indices = [[2], [0]] -> take_along_axis(x, indices, axis=1)",
    "scatter_add": "x = [0., 0., 0.]; indices = [1, 1, 2]; values = [1., 2., 3.] -> scatter_add(x, indices, values)",
    "one_hot": "indices = [0, 2, 1] -> one_hot(indices, 3)",
    "argsort": "x = [3., 1., 2.] -> argsort(x)",
    "sort": "x = [3., 1., 2.] -> sort(x)",
    "topk": "x = [3., 1., 2., 5.] -> topk(x, 2)",
    "nonzero": "x = [[0., 2.], [3., 0.]] -> nonzero(x)",
    "searchsorted": "x1 = [1., 2., 4.]; x2 = [0.5, 2., 3.] -> searchsorted(x1, x2)",
    "unique_values": "x = [3., 1., 3., 2.] -> unique_values(x)",
    "unique_counts": "x = [3., 1., 3., 2.] -> unique_counts(x)",
    "embedding": "ids = [2, 0]; table = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]] -> embedding(ids, table)",
    "embedding_rnn": "ids = [[0, 1, 0]]; table = [[0.5], [-0.5]]; w = [[1.0]]; u = [[0.5]] "
    "-> embedding_rnn(ids, table, w, u, kind='simple_rnn')",
    "embedding_gradient": "g = [[1., 2.], [3., 4.], [5., 6.]]; ids = [2, 0, 2] -> embedding_gradient(g, ids, rows=3)",
    # products
    "matrix_product": "a = [[1., 2.], [3., 4.]]; b = [[1., 0., 2.], [0., 1., 3.]] -> matrix_product(a, b)",
    "matmul": "a = [[1., 2.], [3., 4.]]; b = [[1., 0., 2.], [0., 1., 3.]] -> matmul(a, b)",
    "linear": "x = [[1., 2.]]; w = [[1., 0., -1.], [0., 1., -1.]]; b = [0.5, 0., 0.] -> linear(x, w, b)",
    "linear_relu": "x = [[1., 2.]]; w = [[1., 0., -1.], [0., 1., -1.]]; b = [0.5, 0., 0.] -> linear_relu(x, w, b)",
    "matrix_transpose": f"{X} -> matrix_transpose(x)",
    "vecdot": "x1 = [1., 2., 3.]; x2 = [4., 5., 6.] -> vecdot(x1, x2)",
    "outer": "x1 = [1., 2., 3.]; x2 = [4., 5.] -> outer(x1, x2)",
    "tensordot": "x1 = [[1., 2.], [3., 4.]]; x2 = [[0., 1.], [1., 0.]] -> tensordot(x1, x2, axes=1)",
    "einsum": "a = [[1., 2.], [3., 4.]]; b = [1., -1.] -> einsum('ij,j->i', a, b)",
    # probabilities and losses
    **{name: f"x = [1., 2., 3.] -> {name}(x)" for name in ("softmax", "log_softmax", "softmin")},
    "softmax_gradient": "g = [1., 0., 0.]; p = [0.2, 0.3, 0.5] -> softmax_gradient(g, p)",
    "log_softmax_gradient": "g = [1., 0., 0.]; log_p = [-1.6, -1.2, -0.7] -> log_softmax_gradient(g, log_p)",
    **{name: f"{PAIR} -> {name}(y_true, y_pred)" for name in ("mse", "mae", "huber")},
    "hinge": "y_true = [1., -1.]; y_pred = [0.3, 0.4] -> hinge(y_true, y_pred)",
    "binary_cross_entropy": "y_true = [1., 0.]; y_pred = [0.9, 0.2] -> binary_cross_entropy(y_true, y_pred)",
    "binary_cross_entropy_with_logits":
        "y_true = [1., 0.]; logits = [2., -1.] -> binary_cross_entropy_with_logits(y_true, logits)",
    "kl_div": "y_true = [[0.5, 0.5]]; y_pred = [[0.9, 0.1]] -> kl_div(y_true, y_pred)",
    "categorical_cross_entropy":
        "y_true = [[0, 1, 0]]; y_pred = [[0.2, 0.7, 0.1]] -> categorical_cross_entropy(y_true, y_pred)",
    "sparse_categorical_cross_entropy":
        "y_true = [1]; y_pred = [[0.2, 0.7, 0.1]] -> sparse_categorical_cross_entropy(y_true, y_pred)",
    "cross_entropy": "y_true = [1]; logits = [[0.5, 2., -1.]] -> cross_entropy(y_true, logits)",
    "cross_entropy_with_labels": "labels = [1]; logits = [[0.5, 2., -1.]] -> cross_entropy_with_labels(labels, logits)",
    "cross_entropy_with_probabilities":
        "q = [[0.1, 0.8, 0.1]]; logits = [[0.5, 2., -1.]] -> cross_entropy_with_probabilities(q, logits)",
    # layers' work
    "dropout": "x = [1., 2., 3., 4., 5., 6.] -> dropout(x, rate=0.5, seed=3, stream=0)",
    "rms_norm": f"{X}; gamma = [1., 1., 1.] -> rms_norm(x, gamma)",
    "layer_norm": f"{X}; gamma = [1., 1., 1.]; beta = [0., 0., 0.] -> layer_norm(x, gamma, beta)",
    "batch_norm": f"{X}; gamma = [1., 1., 1.]; beta = [0., 0., 0.] -> batch_norm(x, gamma, beta)",
    "batch_norm_inference": f"{X}; gamma = [1., 1., 1.]; beta = [0., 0., 0.]; mean = [2., 3., 4.]; "
        "variance = [1., 1., 4.] -> batch_norm_inference(x, gamma, beta, mean, variance)",
    "conv2d": f"{IMAGE}; w = ones(2, 2, 1, 1) -> conv2d(x, w)",
    "conv2d_input_gradient":
        "g = ones(1, 3, 3, 1); w = ones(2, 2, 1, 1) -> conv2d_input_gradient(g, w, (1, 4, 4, 1))",
    "conv2d_weight_gradient":
        f"{IMAGE}; g = ones(1, 3, 3, 1) -> conv2d_weight_gradient(x, g, weight_shape=(2, 2, 1, 1))",
    "conv2d_bias": f"{IMAGE}; w = ones(2, 2, 1, 1); b = [0.5] -> conv2d_bias(x, w, b)",
    "conv2d_bias_relu": f"{IMAGE}; w = ones(2, 2, 1, 1); b = [-30.] -> conv2d_bias_relu(x, w, b)",
    "conv2d_bias_relu_max_pool":
        f"{IMAGE}; w = ones(3, 3, 1, 1); b = [-30.] -> conv2d_bias_relu_max_pool(x, w, b, window=2)",
    "max_pool2d": f"{IMAGE} -> max_pool2d(x, 2)",
    "average_pool2d": f"{IMAGE} -> average_pool2d(x, 2)",
    "global_max_pool2d": f"{IMAGE} -> global_max_pool2d(x)",
    "global_average_pool2d": f"{IMAGE} -> global_average_pool2d(x)",
    "scatter_windows": "g = [[[[1.], [2.]]]]; index = [[[[0], [3]]]] "
        "-> scatter_windows(g, index, input_shape=(1, 2, 4, 1), window=2)",
    "gather_windows":
        "x = engine.arange(8.0).reshape(1, 2, 4, 1).requires_grad_(); index = [[[[0], [3]]]] "
        "-> gather_windows(x, index, window=2)",
    "spread_windows": "g = [[[[4.], [8.]]]] -> spread_windows(g, input_shape=(1, 2, 4, 1), window=2)",
    "simple_rnn": "x = [[[1.], [0.], [0.]]]; w = [[1.]]; u = [[0.5]]; b = [0.] -> simple_rnn(x, w, u, b)",
    "gru": "x = [[[1.], [0.], [0.]]]; w = [[1., 1., 1.]]; u = [[0.5, 0.5, 0.5]]; b = [[0., 0., 0.], [0., 0., 0.]] "
        "-> gru(x, w, u, b)",
    "lstm": "x = [[[1.], [0.], [0.]]]; w = [[1., 1., 1., 1.]]; u = [[0.5, 0.5, 0.5, 0.5]]; b = [0., 1., 0., 0.] "
        "-> lstm(x, w, u, b)",
    "attention_weights": "q = [[[[1., 0.]], [[0., 1.]]]]; k = [[[[1., 0.]], [[0., 1.]]]] -> attention_weights(q, k)",
    "attention": "q = [[[[1., 0.]], [[0., 1.]]]]; k = [[[[2., 0.]], [[0., 2.]]]]; v = [[[[1.]], [[5.]]]] "
        "-> attention(q, k, v)",
    "rotary": "x = [[[[1., 0.]], [[1., 0.]]]]; cos = [[1.], [0.]]; sin = [[0.], [1.]] -> rotary(x, cos, sin)",
}  # fmt: skip


def example(op: Op) -> str:
    """Lines of Python that call the op, print the result, and its gradient where it has one."""
    inputs, call = parts(op)
    y = result(op)
    one = not isinstance(y, (tuple, list))
    wants = [n for n, value in inputs if "requires_grad" in value] if op.differentiable else []
    lines = ["import engine", ""]
    lines += [f"{n} = {value if n in wants else value.replace(', requires_grad=True', '')}" for n, value in inputs]
    lines += [f"y = engine.{call}", "print(y)" if one else 'print(*y, sep="\\n")']
    if wants:
        lines += ["", _backward(op, y if one else y[0], "y" if one else "y[0]")]
        lines += [f'print("{n}.grad =", {n}.grad)' for n in wants]
    return "\n".join(lines)


def parts(op: Op) -> tuple[list[tuple[str, str]], str]:
    """The inputs as (name, Python expression), and the call."""
    return _written(EXAMPLES[op.name]) if op.name in EXAMPLES else _drawn(op)


def result(op: Op) -> Any:
    """What the call gives."""
    inputs, call = parts(op)
    values: dict[str, Any] = {"engine": engine}
    exec("\n".join([*(f"{n} = {value}" for n, value in inputs), f"y = engine.{call}"]), values)
    return values["y"]


def _backward(op: Op, y: Any, name: str) -> str:
    """Elementwise: the derivative. A number: its gradient. Else that of the sum of squares: cotangents that differ."""
    if isinstance(op, ElementwiseOp):
        return f"engine.sum({name}).backward()"
    return f"{name}.backward()" if y.ndim == 0 else f"engine.sum({name} ** 2).backward()"


# ------------------------------------------------------------------------------------------------ written out
def _written(entry: str) -> tuple[list[tuple[str, str]], str]:
    given, call = entry.split(" -> ")
    pairs = [part.split(" = ", 1) for part in given.split(";")]
    return [(n.strip(), _tensor(n.strip(), value.strip())) for n, value in pairs], call


def _tensor(name: str, text: str) -> str:
    """A literal as a tensor, which wants a gradient unless it is the truth; any other expression as it stands."""
    if text.startswith("ones("):
        return f"engine.{text[:-1]}, requires_grad=True)"
    if text.startswith("engine."):
        return text
    wants = np.asarray(ast.literal_eval(text)).dtype.kind == "f" and name != "y_true"
    return f"engine.tensor({text}{', requires_grad=True' if wants else ''})"


# ------------------------------------------------------------------------------------------------ from the record
def _drawn(op: Op) -> tuple[list[tuple[str, str]], str]:
    if isinstance(op, ElementwiseOp):
        values: list[Any] = [_spread(d, k) for k, d in enumerate(op.note.domain)]
        given: dict[str, Any] = {}
    else:
        values, given = min((sample(op, Draw.seeded(seed)) for seed in range(60)), key=lambda drawn: _size(drawn[0]))
    names = getattr(op, "inputs", ())
    names = names if len(names) == len(values) else [f"x{k}" for k in range(len(values))]
    inputs = [(n, _tensor(n, _literal(v))) for n, v in zip(names, values, strict=True) if v is not None]
    called = [n if v is not None else "None" for n, v in zip(names, values, strict=True)]
    defaults = getattr(op, "defaults", {})
    called += [f"{k}={v!r}" for k, v in given.items() if not np.array_equal(v, defaults.get(k))]
    return inputs, f"{op.name}({', '.join(called)})"


def _spread(d: Domain, k: int) -> Any:
    """Four numbers across the part of a domain that one would try first; other inputs get them in another order."""
    if d.kind == "bool":
        return np.array([True, True, False, False] if k else [True, False, True, False])
    lo, hi = max(d.lo, -2.0), min(d.hi, 2.0 if d.lo < 0 else d.lo + 3.0)
    if d.kind == "integer":
        values = np.arange(4) % (int(hi) - int(lo) + 1) + int(lo)
    else:
        values = np.round(lo + (hi - lo) * np.array([0, 0.375, 0.625, 1]), 2)
    return np.roll(values, k)


def _size(values: Any) -> float:
    """Small is good, but empty is not, and sides of 1 show little."""
    shapes = [np.shape(v) for v in values if v is not None]
    return sum(float(np.prod(s)) + 3 * sum(n == 1 for n in s) + 100 * (0 in s or not s) for s in shapes)


def _literal(value: Any) -> str:
    array = np.asarray(value)
    return repr(np.round(array, 2).tolist() if array.dtype.kind == "f" else array.tolist())
