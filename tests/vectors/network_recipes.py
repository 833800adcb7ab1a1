"""Softmax, convolution, pooling, normalisation, losses: our names and layouts outside, PyTorch's inside."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from recipe import TORCH, Draw, Record, make

INF = float("inf")
COMPOSED = TORCH + " (composition)"


def softmax() -> list[Record]:
    r, d = [], Draw("softmax")
    ops = {"softmax": lambda x, axis: F.softmax(x, dim=axis), "log_softmax": lambda x,
        axis: F.log_softmax(x, dim=axis),
           "softmin": lambda x, axis: F.softmin(x, dim=axis)}
    for op, fn in ops.items():
        r += [make(op, fn, {"x": d.uniform((2, 4), -3, 3)}, {"axis": -1}, second=True),
              make(op, fn, {"x": d.uniform((2, 3, 2), -3, 3)}, {"axis": 1}, second=True),
              make(op, fn, {"x": [[1000.0, 999.0, -1000.0], [-1e4, -1e4 + 1, -1e4 - 2]]}, {"axis": 1},
                   note="exp of these overflows or underflows")]
    r += [make(op, ops[op], {"x": [[-INF, 0.5, 1.5], [2.0, -INF, -INF]]}, {"axis": 1}, gradients=False,
        note="masked entries")
          for op in ("softmax", "log_softmax")]
    return r


def pair(n) -> tuple[int, int]:
    return (n, n) if isinstance(n, int) else tuple(n)


def sides(padding, size, window, stride, dilation=(1, 1)) -> list[tuple[int, int]]:
    """((top, bottom), (left, right)). "same" is TensorFlow's: ceil(size / stride) outputs, the odd zero at the end."""
    if padding == "valid":
        return [(0, 0), (0, 0)]
    if padding != "same":
        return [tuple(p) for p in padding]
    totals = [max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
              for n, k, s, d in zip(size, window, stride, dilation, strict=True)]
    return [(t // 2, t - t // 2) for t in totals]


def padded(x: torch.Tensor, around, value: float = 0.0) -> torch.Tensor:
    (top, bottom), (left, right) = around
    return F.pad(x, (left, right, top, bottom), value=value)          # (N,C,H,W)


def conv2d(x, w, stride=1, padding="valid", dilation=1, groups=1):
    s, d = pair(stride), pair(dilation)
    around = sides(padding, x.shape[1:3], w.shape[:2], s, d)
    x = padded(x.permute(0, 3, 1, 2), around)                         # (N,H,W,C) -> (N,C,H,W)
    w = w.permute(3, 2, 0, 1)                                         # (kh,kw,C/groups,F) -> (F,C/groups,kh,kw)
    return F.conv2d(x, w, stride=s, dilation=d, groups=groups).permute(0, 2, 3, 1)


def conv() -> list[Record]:
    r, draw = [], Draw("conv2d")
    for x, w, params in (
        ((1, 4, 5, 2), (3, 3, 2, 3), {}),
        ((2, 4, 4, 1), (3, 2, 1, 2), {"padding": "same"}),
        ((1, 5, 6, 2), (3, 3, 2, 2), {"stride": 2, "padding": "same"}),
        ((1, 6, 5, 1), (2, 3, 1, 2), {"stride": (2, 1), "padding": ((1, 0), (0, 2))}),
        ((1, 6, 6, 1), (2, 2, 1, 2), {"dilation": 2}),
        ((1, 6, 5, 2), (3, 2, 2, 1), {"dilation": (1, 2), "stride": 2, "padding": "same"}),
        ((1, 4, 4, 4), (2, 2, 2, 4), {"groups": 2}),
        ((1, 4, 4, 3), (3, 3, 1, 6), {"groups": 3, "padding": "same"}),
        ((2, 3, 3, 3), (1, 1, 3, 2), {}),
        ((1, 5, 5, 2), (1, 1, 2, 2), {"stride": 2, "padding": "same"}),
    ):
        full = {"stride": 1, "padding": "valid", "dilation": 1, "groups": 1} | params
        r.append(make("conv2d", conv2d, {"x": draw.uniform(x), "w": draw.uniform(w, -1, 1)}, full, second=len(r) < 7))
    return r


def max_pool2d(x, window, stride, padding="valid"):
    w, s = pair(window), pair(stride)
    around = sides(padding, x.shape[1:3], w, s)
    return F.max_pool2d(padded(x.permute(0, 3, 1, 2), around, -INF), w, s).permute(0, 2, 3, 1)


def avg_pool2d(x, window, stride, padding="valid"):
    """The padding is not counted: Keras divides by the number of real elements under the window."""
    w, s = pair(window), pair(stride)
    around = sides(padding, x.shape[1:3], w, s)
    x = x.permute(0, 3, 1, 2)
    mean, real = (F.avg_pool2d(padded(t, around), w, s) for t in (x, torch.ones_like(x)))
    return (mean / real).permute(0, 2, 3, 1)


def pool() -> list[Record]:
    r, d = [], Draw("pool")
    cases = (((1, 4, 4, 2), {"window": 2, "stride": 2}), ((2, 5, 4, 1), {"window": 2, "stride": 2}),
             ((1, 5, 5, 1), {"window": 3, "stride": 1}), ((1, 5, 4, 2), {"window": 2, "stride": 2, "padding": "same"}),
             ((1, 5, 6, 1), {"window": (3, 2), "stride": (2, 3), "padding": "same"}),
             ((1, 4, 4, 1), {"window": 3, "stride": 1, "padding": "same"}))
    for op, fn in (("max_pool2d", max_pool2d), ("avg_pool2d", avg_pool2d)):
        for shape, params in cases:
            r.append(make(op, fn, {"x": d.distinct(shape)}, {"padding": "valid"} | params, second=True))
    r += [make("max_pool2d", max_pool2d, {"x": d.distinct((1, 4, 5, 1))},
               {"window": 2, "stride": 2, "padding": ((1, 1), (0, 1))}, note="padding counts as -inf"),
          make("max_pool2d", max_pool2d, {"x": [[[[1.0], [1.0], [0.5], [2.0]], [[1.0], [0.0], [2.0], [2.0]]]]},
               {"window": 2, "stride": 2, "padding": "valid"},
                   note="ties: the first index in reading order takes the gradient")]
    return r


def layer_norm(x, gamma, beta, axis=-1, epsilon=1e-3):
    return F.layer_norm(x, gamma.shape, gamma, beta, epsilon)


def batch_norm(x, gamma, beta, epsilon=1e-3, training=True):
    return F.batch_norm(x.moveaxis(-1, 1), None, None, gamma, beta, training=True, eps=epsilon).moveaxis(1, -1)


def batch_norm_fixed(x, gamma, beta, mean, variance, epsilon=1e-3, training=False):
    return F.batch_norm(x.moveaxis(-1, 1), mean, variance, gamma, beta, training=False, eps=epsilon).moveaxis(1, -1)


def norm() -> list[Record]:
    d = Draw("norm")

    def with_affine(shape, n):
        return {"x": d.uniform(shape), "gamma": d.uniform((n,), 0.5, 1.5), "beta": d.uniform((n,))}

    ids = [[2, 0, 2], [1, 3, 2]]
    embed = lambda indices, table: F.embedding(indices, table)        # noqa: E731
    return [
        make("layer_norm", layer_norm, with_affine((3, 4), 4), {"axis": -1, "epsilon": 1e-3}, second=True),
        make("layer_norm", layer_norm, with_affine((2, 2, 3), 3), {"axis": -1, "epsilon": 1e-6}, second=True),
        make("layer_norm", layer_norm, {"x": [[1e4 + 1, 1e4 + 2, 1e4 - 1], [5.0, 5.0, 5.0]], "gamma": [1.0, 2.0, 0.5],
             "beta": [0.1, 0.2, -0.3]}, {"axis": -1, "epsilon": 1e-3},
                 note="a far mean (the digits it has cost are lost to everybody: 1e-12); a constant row"),
        make("batch_norm", batch_norm, with_affine((4, 3), 3), {"epsilon": 1e-3, "training": True}, second=True,
             note="biased variance over every axis but the last"),
        make("batch_norm", batch_norm, with_affine((2, 2, 3, 2), 2), {"epsilon": 1e-5, "training": True}, second=True),
        make("batch_norm", batch_norm_fixed, with_affine((3, 2), 2) | {"mean": d.uniform((2,)),
            "variance": d.uniform((2,), 0.5, 2)},
             {"epsilon": 1e-3, "training": False}, constant=("mean", "variance"), second=True),
        make("embedding", embed, {"indices": ids, "table": d.uniform((4, 3))},
            note="a repeated index adds its gradients"),
        make("embedding", embed, {"indices": [4, 0], "table": d.uniform((5, 2))}),
    ]


def mse(y_true, y_pred, reduction):
    return F.mse_loss(y_pred, y_true, reduction=reduction)


def mae(y_true, y_pred, reduction):
    return F.l1_loss(y_pred, y_true, reduction=reduction)


def huber(y_true, y_pred, delta, reduction):
    return F.huber_loss(y_pred, y_true, delta=delta, reduction=reduction)


def hinge(y_true, y_pred, reduction):
    each = torch.clamp(1 - y_true * y_pred, min=0)
    return each if reduction == "none" else each.mean() if reduction == "mean" else each.sum()


def binary_cross_entropy(y_true, y_pred, reduction):
    """Written out: the second derivatives of F.binary_cross_entropy carry an added 1e-12."""
    each = -(y_true * torch.log(y_pred) + (1 - y_true) * torch.log1p(-y_pred))
    return each if reduction == "none" else each.mean()


def binary_cross_entropy_with_logits(y_true, logits, reduction):
    return F.binary_cross_entropy_with_logits(logits, y_true, reduction=reduction)


def cross_entropy(y_true, logits, label_smoothing, reduction):
    return F.cross_entropy(logits, y_true, label_smoothing=label_smoothing, reduction=reduction)


def categorical_crossentropy(y_true, y_pred, reduction, normalise):
    """From probabilities. Keras first divides y_pred by its sum, which changes the gradient: both are recorded."""
    p = y_pred / y_pred.sum(-1, keepdim=True) if normalise else y_pred
    each = -(y_true * torch.log(p)).sum(-1)
    return each if reduction == "none" else each.mean()


def nll(y_true, y_pred, reduction):
    return F.nll_loss(torch.log(y_pred), y_true, reduction=reduction)


def kl_div(y_true, y_pred, reduction):
    each = F.kl_div(torch.log(y_pred), y_true, reduction="none").sum(-1)
    return each if reduction == "none" else each.mean()


def probabilities(d: Draw, n: int, k: int) -> np.ndarray:
    """Rows of thousandths that sum to one: short to write."""
    p = np.round(d.rng.dirichlet(np.full(k, 3.0), n) * (1000 - 20 * k)).astype(int) + 20
    p[:, 0] += 1000 - p.sum(1)
    return p / 1000.0


def loss() -> list[Record]:
    r, d = [], Draw("loss")
    t = ("y_true",
        )                                                   # targets get no gradient, as in PyTorch and Keras
    y = d.uniform((3, 2))
    for op, fn in (("mse", mse), ("mae", mae)):
        for reduction in ("none", "mean", "sum"):
            r.append(make(op, fn, {"y_true": y, "y_pred": y + d.uniform((3, 2), away=[0])}, {"reduction": reduction},
                          constant=t, second=reduction == "mean"))
    for delta in (1.0, 0.4):
        far = np.round(y + d.uniform((3, 2), -2, 2, away=[0, delta, -delta]), 3)
        r += [make("huber", huber, {"y_true": y, "y_pred": far}, {"delta": delta, "reduction": reduction}, constant=t,
                   second=reduction == "mean") for reduction in ("none", "mean")]
    signs = np.where(d.uniform((3, 2)) > 0, 1.0, -1.0)
    margins = d.uniform((3, 2), away=[-1, 1])
    r += [make("hinge", hinge, {"y_true": signs, "y_pred": margins}, {"reduction": reduction}, constant=t,
               source=COMPOSED) for reduction in ("none", "mean")]
    hard, soft = np.where(d.uniform((3, 2)) > 0, 1.0, 0.0), d.uniform((3, 2), 0.05, 0.95)
    for target in (hard, soft):
        r += [make("binary_cross_entropy", binary_cross_entropy,
            {"y_true": target, "y_pred": d.uniform((3, 2), 0.02, 0.98)},
                   {"reduction": "mean"}, constant=t, second=True, source=COMPOSED),
              make("binary_cross_entropy_with_logits", binary_cross_entropy_with_logits,
                   {"y_true": target, "logits": d.uniform((3, 2), -4, 4)}, {"reduction": "mean"}, constant=t,
                       second=True)]
    r += [make("binary_cross_entropy", binary_cross_entropy, {"y_true": hard, "y_pred": d.uniform((3, 2), 0.02, 0.98)},
               {"reduction": "none"}, constant=t, source=COMPOSED),
          make("binary_cross_entropy_with_logits", binary_cross_entropy_with_logits,
               {"y_true": [1.0, 0.0, 1.0, 0.0, 1.0, 0.0], "logits": [40.0, -40.0, -800.0, 800.0, 1e-9, 0.0]},
               {"reduction": "none"}, constant=t, note="log(sigmoid) is log(0) here in the naive form")]
    ids, rows = d.integers((4,), 5), probabilities(d, 4, 5)
    for target in (ids, rows):
        for smoothing in (0.0, 0.1):
            r += [make("cross_entropy", cross_entropy, {"y_true": target, "logits": d.uniform((4, 5), -3, 3)},
                       {"label_smoothing": smoothing, "reduction": reduction}, constant=t, second=reduction == "mean")
                  for reduction in ("none", "mean")]
    r += [make("cross_entropy", cross_entropy,
        {"y_true": [0, 2, 1], "logits": [[1000.0, 0.0, -5.0], [1000.0, 0.0, -5.0], [-1e4, -1e4, -1e4]]},
               {"label_smoothing": 0.0, "reduction": "none"}, constant=t, note="exp of these overflows or underflows"),
          make("nll", nll, {"y_true": ids, "y_pred": probabilities(d, 4, 5)}, {"reduction": "mean"}, constant=t,
              second=True,
               note="no renormalisation of y_pred; sparse labels"),
          make("nll", nll, {"y_true": ids, "y_pred": probabilities(d, 4, 5)}, {"reduction": "none"}, constant=t)]
    onehot = np.eye(5)[ids]
    for target, normalise in ((onehot, False), (onehot, True), (rows, False), (rows, True)):
        r.append(make("categorical_crossentropy", categorical_crossentropy,
                      {"y_true": target, "y_pred": np.round(probabilities(d, 4, 5) * 1.05, 3)},
                      {"reduction": "mean", "normalise": normalise}, constant=t, second=True, source=COMPOSED))
    sharp = rows.copy()
    sharp[0] = [0.0, 0.5, 0.5, 0.0, 0.0]
    r += [make("kl_div", kl_div, {"y_true": target, "y_pred": probabilities(d, 4, 5)}, {"reduction": reduction},
        constant=t,
               second=True) for target in (rows, sharp) for reduction in ("none", "mean")]
    r[-2]["note"] = r[-1]["note"] = "0 log 0 = 0 in the target"
    return r
