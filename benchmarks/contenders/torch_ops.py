"""PyTorch's word for each op of Chain Rule, on float32 tensors in PyTorch's own layout (images (N,C,H,W)).

An op that is missing here has no equivalent: the tables say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from ..kernels import cotangent

# torch.<name> of the same inputs, in the same order
SAME_NAME = """
    less less_equal greater greater_equal not_equal isnan isinf isfinite signbit where maximum minimum clamp
    logical_not logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_left_shift
    bitwise_right_shift add subtract multiply divide negative square reciprocal sqrt rsqrt sign abs copysign
    floor ceil trunc round floor_divide remainder lerp hypot nextafter exp exp2 expm1 log log2 log10 log1p xlogy pow
    erf erfc sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh sinc sigmoid logaddexp outer matmul
"""
# torch.nn.functional.<name>
IN_FUNCTIONAL = """
    relu leaky_relu relu6 hardshrink softshrink softplus silu mish gelu elu selu celu softsign tanhshrink
"""
OTHER_NAME = {"hard_tanh": "hardtanh", "hard_sigmoid": "hardsigmoid", "hard_swish": "hardswish",
              "log_sigmoid": "logsigmoid"}  # fmt: skip


def axes(axis: Any = None) -> dict[str, Any]:
    """PyTorch's dim, left out where all axes are meant."""
    return {} if axis is None else {"dim": axis}


def whole(axis: Any = None) -> Any:
    """PyTorch's dim where it must be said."""
    return (0, 1) if axis is None else axis


def conv(x: Any, w: Any, b: Any = None, *, padding: Any = "valid", groups: int = 1) -> Any:
    return F.conv2d(x, w, b, padding=padding, groups=groups)


def mean_of_rows(losses: Any) -> Any:
    return losses.sum(-1).mean()


# Of recurrent layers: biases, one layer, no dropout, training, one direction, batch first.
ONE_LAYER = True, 1, 0.0, True, False, True
RECURRENT = {"simple_rnn": 1, "gru": 3, "lstm": 4}  # and their gates


def state(x: Any, u: Any) -> Any:
    return torch.zeros(1, x.shape[0], u.shape[1])


def heads_first(q: Any, k: Any, v: Any, causal: bool = False) -> Any:
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


EQUIVALENTS: dict[str, Callable[..., Any]] = {
    **{name: getattr(torch, name) for name in SAME_NAME.split()},
    **{name: getattr(F, name) for name in IN_FUNCTIONAL.split()},
    **{ours: getattr(F, theirs) for ours, theirs in OTHER_NAME.items()},
    "equal": torch.eq,
    "positive": torch.clone,  # torch.positive gives the same tensor back, which is no operation
    "bitwise_invert": torch.bitwise_not,
    "threshold": lambda x: F.threshold(x, 0.0, 0.0),
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "glu": F.glu,
    "clip": lambda x, min, max: torch.clip(x, min, max),
    # shapes
    "reshape": lambda x, shape: x.reshape(shape),
    "expand_dims": lambda x, axis: x.unsqueeze(axis),
    "squeeze": lambda x, axis: x.squeeze(axis),
    "broadcast_to": lambda x, shape: x.broadcast_to(shape),
    "broadcast_arrays": lambda *xs: torch.broadcast_tensors(*xs),
    "permute_dims": lambda x, axes: x.permute(axes),
    "swapaxes": lambda x, axis1, axis2: x.swapaxes(axis1, axis2),
    "moveaxis": lambda x, source, destination: x.moveaxis(source, destination),
    "matrix_transpose": lambda x: x.mT,
    "astype": lambda x, dtype: x.to(getattr(torch, dtype)),
    "getitem": lambda x, index: x[index],
    "add_at": lambda x, v, index: x.clone().index_put((torch.arange(100, 900),), v, accumulate=True),
    "set_at": lambda x, v, index: torch.slice_scatter(x, v, 0, index[0].start, index[0].stop),
    "concat": lambda *xs, axis=0: torch.cat(xs, axis),
    "stack": lambda *xs: torch.stack(xs),
    "split": lambda x, indices_or_sections, axis: torch.tensor_split(x, indices_or_sections, axis),
    "unstack": lambda x: torch.unbind(x),
    "pad": lambda x, pad_width: F.pad(x, (1, 1, 1, 1)),
    "diff": lambda x: torch.diff(x),
    "tril": torch.tril,
    "triu": torch.triu,
    "diagonal": torch.diagonal,
    "trace": torch.trace,
    "flip": lambda x, axis: torch.flip(x, (axis,)),
    "roll": lambda x, shift, axis: torch.roll(x, shift, axis),
    "tile": lambda x, repetitions: torch.tile(x, repetitions),
    "repeat": lambda x, repeats, axis: torch.repeat_interleave(x, repeats, axis),
    "take": lambda x, i, axis: torch.index_select(x, axis, i),
    "index_add": lambda x, i, v, axis: torch.index_add(x, axis, i, v),
    "take_along_axis": lambda x, i: torch.take_along_dim(x, i, -1),
    "scatter_add": lambda x, i, v: torch.scatter_add(x, -1, i, v),
    # reductions, scans, order
    "sum": lambda x, axis=None: torch.sum(x, **axes(axis)),
    "mean": lambda x, axis=None: torch.mean(x, **axes(axis)),
    "max": lambda x, axis=None: torch.amax(x, whole(axis)),
    "min": lambda x, axis=None: torch.amin(x, whole(axis)),
    "logsumexp": lambda x, axis=None: torch.logsumexp(x, whole(axis)),
    "var": lambda x, axis=None: torch.var(x, **axes(axis), correction=0),
    "std": lambda x, axis=None: torch.std(x, **axes(axis), correction=0),
    "prod": lambda x, axis: torch.prod(x, axis),
    "argmax": lambda x, axis: torch.argmax(x, axis),
    "argmin": lambda x, axis: torch.argmin(x, axis),
    "count_nonzero": torch.count_nonzero,
    "all": lambda x, axis: torch.all(x, axis),
    "any": lambda x, axis: torch.any(x, axis),
    "power_norm": lambda x, axis=None: torch.linalg.vector_norm(x, 2, axis),
    "norm": lambda x, axis=None: torch.linalg.vector_norm(x, 2, axis),
    "cumulative_sum": lambda x, axis: torch.cumsum(x, axis),
    "cumulative_prod": lambda x, axis: torch.cumprod(x, axis),
    "cumulative_logsumexp": lambda x, axis: torch.logcumsumexp(x, axis),
    "one_hot": lambda i, num_classes: F.one_hot(i, num_classes),
    "argsort": lambda x: torch.argsort(x, stable=True),
    "sort": lambda x: torch.sort(x, stable=True),
    "topk": lambda x, k: torch.topk(x, k),
    "nonzero": lambda x: torch.nonzero(x, as_tuple=True),
    "searchsorted": torch.searchsorted,
    "unique_counts": lambda x: torch.unique(x, return_counts=True),
    "unique_values": lambda x: torch.unique(x),
    # products
    "matrix_product": torch.matmul,
    "vecdot": lambda a, b: torch.linalg.vecdot(a, b),
    "tensordot": lambda a, b, axes: torch.tensordot(a, b, axes),
    "einsum": lambda *xs, equation: torch.einsum(equation, *xs),
    # softmax and losses
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "softmin": lambda x: F.softmin(x, -1),
    "softmax_gradient": lambda g, p: torch._softmax_backward_data(g, p, -1, torch.float32),
    "mse": lambda t, y: F.mse_loss(y, t),
    "mae": lambda t, y: F.l1_loss(y, t),
    "huber": lambda t, y: F.huber_loss(y, t),
    "hinge": lambda t, y: torch.clamp(1 - t * y, min=0).mean(),
    "binary_cross_entropy": lambda t, y: F.binary_cross_entropy(y, t),
    "binary_cross_entropy_with_logits": lambda t, z: F.binary_cross_entropy_with_logits(z, t),
    "kl_div": lambda t, y: F.kl_div(torch.log(y), t, reduction="batchmean"),
    "categorical_cross_entropy": lambda t, y: -mean_of_rows(t * torch.log(torch.clamp(y, 1e-7, 1 - 1e-7))),
    "sparse_categorical_cross_entropy": lambda t, y: F.nll_loss(torch.log(torch.clamp(y, 1e-7, 1 - 1e-7)), t),
    "cross_entropy": lambda t, z: F.cross_entropy(z, t),
    "cross_entropy_with_labels": lambda t, z: F.cross_entropy(z, t, reduction="none"),
    "cross_entropy_with_probabilities": lambda t, z: F.cross_entropy(z, t, reduction="none"),
    # layers
    "embedding": F.embedding,
    "embedding_gradient": lambda g, i, rows: torch.ops.aten.embedding_dense_backward(g, i, rows, -1, False),
    "dropout": lambda x, rate, seed: F.dropout(x, rate),
    "rms_norm": lambda x, w: F.rms_norm(x, w.shape, w, 1e-6),
    "layer_norm": lambda x, w, b, eps: F.layer_norm(x, w.shape, w, b, eps),
    "batch_norm": lambda x, w, b, eps: F.batch_norm(x, None, None, w, b, True, eps=eps),
    "batch_norm_inference": lambda x, w, b, m, v, eps: F.batch_norm(x, m, v, w, b, False, eps=eps),
    "conv2d": conv,
    "conv2d_bias": conv,
    "conv2d_bias_relu": lambda x, w, b, **params: F.relu(conv(x, w, b, **params)),
    "conv2d_input_gradient": lambda g, w, input_shape: F.conv_transpose2d(g, w),
    "conv2d_weight_gradient": lambda x, g, weight_shape: torch.nn.grad.conv2d_weight(x, (64, 32, 3, 3), g),
    "simple_rnn": lambda x, w, u, b: torch._VF.rnn_tanh(x, state(x, u), [w, u, b, b * 0], *ONE_LAYER)[0],
    "lstm": lambda x, w, u, b: torch._VF.lstm(x, (state(x, u),) * 2, [w, u, b, b * 0], *ONE_LAYER)[0],
    "gru": lambda x, w, u, b: torch._VF.gru(x, state(x, u), [w, u, b[0], b[1]], *ONE_LAYER)[0],
    "embedding_rnn": lambda i, t, *weights: EQUIVALENTS["lstm"](F.embedding(i, t), *weights),
    "attention": heads_first,
    "attention_weights": lambda q, k: torch.softmax((q * q.shape[-1] ** -0.5) @ k.mT, -1),
    "linear": F.linear,
    "linear_relu": lambda x, w, b: F.relu(F.linear(x, w, b)),
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "average_pool2d": lambda x: F.avg_pool2d(x, 2),
    "global_average_pool2d": lambda x: x.mean((2, 3)),
    "global_max_pool2d": lambda x: x.amax((2, 3)),
}

# Ops on images: their inputs of rank 4 change to PyTorch's layout before anything is timed.
IMAGES = (
    "pad", "batch_norm", "batch_norm_inference", "max_pool2d", "average_pool2d", "global_average_pool2d",
    "global_max_pool2d",
)  # fmt: skip


def in_torch_layout(op: str, arrays: list[Any]) -> list[Any]:
    """(N,H,W,C) -> (N,C,H,W), filters (kh,kw,C,F) -> (F,C,kh,kw), weights (D,U) -> (U,D), (N,T,h,d) -> (N,h,T,d)."""
    tensors = [torch.from_numpy(a) for a in arrays]
    if op.startswith("attention"):
        return [t.transpose(1, 2).contiguous() for t in tensors]
    if op == "embedding_rnn":
        return [*tensors[:2], *(t.T.contiguous() for t in tensors[2:-1]), tensors[-1]]
    if op in RECURRENT or op in ("linear", "linear_relu"):
        x, *rest = (tensors[0], *(_gates(op, t) for t in tensors[1:]))
        return [x, *(t.T.contiguous() for t in rest[:-1]), rest[-1]]
    if op in IMAGES or op.startswith("conv2d"):
        tensors = [t.permute(0, 3, 1, 2).contiguous() if t.ndim == 4 else t for t in tensors]
    if op.startswith("conv2d") and op != "conv2d_weight_gradient":
        w = torch.from_numpy(arrays[1])
        tensors[1] = w.permute(3, 2, 0, 1).contiguous()
    return tensors


def _gates(op: str, w: Any) -> Any:
    """PyTorch's GRU has reset before update; the other cells have Keras' order."""
    return torch.cat([w.chunk(3, -1)[i] for i in (1, 0, 2)], -1) if op == "gru" else w


def cotangent_of(op: str, y: Any) -> Any:
    """The same numbers in the same places as for Chain Rule, whatever the layout."""
    image = y.ndim == 4 and (op in IMAGES or op.startswith("conv2d"))
    if op == "attention":
        return torch.from_numpy(cotangent(tuple(y.transpose(1, 2).shape))).transpose(1, 2).contiguous()
    shape = tuple(y.permute(0, 2, 3, 1).shape) if image else tuple(y.shape)
    g = torch.from_numpy(cotangent(shape)).to(y.dtype)
    return g.permute(0, 3, 1, 2).contiguous() if image else g
