"""Reductions, shapes, indexing, products: each op in our names, computed by PyTorch. Sorted from easy to hard."""

import torch
from recipe import Draw, Record, make


def axes(axis):
    return () if axis is None else axis


REDUCTIONS = {
    "sum": lambda x, axis=None, keepdims=False: torch.sum(x, dim=axis, keepdim=keepdims),
    "mean": lambda x, axis=None, keepdims=False: torch.mean(x, dim=axis, keepdim=keepdims),
    "max": lambda x, axis=None, keepdims=False: torch.amax(x, dim=axes(axis), keepdim=keepdims),
    "min": lambda x, axis=None, keepdims=False: torch.amin(x, dim=axes(axis), keepdim=keepdims),
    "logsumexp": lambda x, axis=None, keepdims=False: torch.logsumexp(
        x, dim=tuple(range(x.ndim)) if axis is None else axis, keepdim=keepdims),
}


def prod(x, axis=None, keepdims=False):
    return torch.prod(x) if axis is None else torch.prod(x, dim=axis, keepdim=keepdims)


def var(x, axis=None, correction=0.0, keepdims=False):
    return torch.var(x, dim=axis, correction=correction, keepdim=keepdims)


def std(x, axis=None, correction=0.0, keepdims=False):
    return torch.std(x, dim=axis, correction=correction, keepdim=keepdims)


def norm(x, axis=None, ord=2, keepdims=False):
    return torch.linalg.vector_norm(x, ord=ord, dim=axis, keepdim=keepdims)


def cumulative_sum(x, axis=0, include_initial=False):
    y = torch.cumsum(x, dim=axis)
    return torch.cat([torch.zeros_like(y.narrow(axis, 0, 1)), y], dim=axis) if include_initial else y


def reduce() -> list[Record]:
    r: list[Record] = []
    for op, fn in REDUCTIONS.items():
        d = Draw(op)
        r += [make(op, fn, {"x": d.distinct((2, 3, 2))}, {"axis": 1, "keepdims": True}, second=True),
              make(op, fn, {"x": d.distinct((2, 3, 2))}, {"axis": (0, -1)}),
              make(op, fn, {"x": d.distinct((3, 2))}, {"axis": None}, second=True)]
    ties = [[1.0, 3.0, 3.0, -2.0], [0.5, 0.5, 0.5, -2.0]]
    for op in ("max", "min"):
        r += [make(op, REDUCTIONS[op], {"x": ties}, {"axis": 1}, note="ties share the gradient"),
              make(op, REDUCTIONS[op], {"x": ties}, {"axis": 0}, note="ties share the gradient")]
    far = [[1000.0, 999.0, -1000.0], [-1e4, -1e4 + 1, -1e4 - 2], [0.0, -800.0, 710.0]]
    inf = float("inf")
    r += [make("logsumexp", REDUCTIONS["logsumexp"], {"x": far}, {"axis": 1},
        note="naive exp overflows or underflows"),
          make("logsumexp", REDUCTIONS["logsumexp"], {"x": [[-inf, -inf], [-inf, 2.0], [inf, 1.0]]}, {"axis": 1},
               gradients=False, note="masked and infinite rows")]
    d = Draw("prod and friends")
    r += [make("prod", prod, {"x": d.uniform((2, 4), away=[0])}, {"axis": 1, "keepdims": False}, second=True),
          make("prod", prod, {"x": [[2.0, 0.0, -3.0], [0.0, 0.0, 1.5], [1.5, -2.5, 4.0]]}, {"axis": 1}, second=True,
               note="one and two zeros in a row: the derivative can't divide by x"),
          make("prod", prod, {"x": d.uniform((2, 3), away=[0])}, {"axis": None})]
    for op, fn in (("var", var), ("std", std)):
        r += [make(op, fn, {"x": d.uniform((3, 4))}, {"axis": 1, "correction": 0.0}, second=True),
              make(op, fn, {"x": d.uniform((3, 2, 2))}, {"axis": (0, 2), "correction": 1.0, "keepdims": True},
                  second=True),
              make(op, fn, {"x": d.uniform((5,))}, {"axis": None, "correction": 1.5})]
    big = [1e6 + 0.25, 1e6 + 0.5, 1e6 - 0.75, 1e6 + 1.0]
    r += [make("var", var, {"x": big}, {"axis": None, "correction": 0.0}, note="E[x^2] - E[x]^2 would lose 12 digits")]
    for ord in (1, 2, 3, 0.5, float("inf"), -float("inf")):
        r.append(make("norm", norm, {"x": d.distinct((2, 4)) + 0.11}, {"axis": 1, "ord": ord}, second=ord in (2, 3)))
    r += [make("norm", norm, {"x": d.uniform((2, 3), away=[0])}, {"axis": None, "ord": 2}, second=True),
          make("norm", norm, {"x": [[0.0, 0.0], [3.0, -4.0]]}, {"axis": 1, "ord": 2}, note="the gradient at 0 is 0"),
          make("vecdot", lambda a, b, axis=-1: torch.linalg.vecdot(a, b, dim=axis),
               {"x1": d.uniform((2, 3, 4)), "x2": d.uniform((3, 4))}, {"axis": -1}, second=True),
          make("vecdot", lambda a, b, axis=-1: torch.linalg.vecdot(a, b, dim=axis),
               {"x1": d.uniform((2, 3)), "x2": d.uniform((2, 3))}, {"axis": 0}),
          make("argmax", lambda x, axis: torch.argmax(x, dim=axis), {"x": d.distinct((3, 4))}, {"axis": 1},
              gradients=False),
          make("argmin", lambda x, axis: torch.argmin(x, dim=axis), {"x": d.distinct((3, 4))}, {"axis": 0},
              gradients=False),
          make("all", lambda x, axis: torch.all(x, dim=axis), {"x": d.integers((3, 3), 2) > 0}, {"axis": 1}),
          make("any", lambda x, axis: torch.any(x, dim=axis), {"x": d.integers((3, 3), 3) > 1}, {"axis": 0}),
          make("cumulative_sum", cumulative_sum, {"x": d.uniform((3, 4))}, {"axis": 1}, second=True),
          make("cumulative_sum", cumulative_sum, {"x": d.uniform((3, 2))}, {"axis": 0, "include_initial": True}),
          make("cumulative_prod", lambda x, axis: torch.cumprod(x, dim=axis), {"x": d.uniform((2, 4), away=[0])},
               {"axis": 1}, second=True),
          make("cumulative_prod", lambda x, axis: torch.cumprod(x, dim=axis),
               {"x": [[2.0, 0.0, -3.0, 1.5], [0.0, 1.25, 0.0, 2.0]]}, {"axis": 1}, note="zeros on the way"),
          make("cumulative_logsumexp", lambda x, axis: torch.logcumsumexp(x, dim=axis),
              {"x": d.uniform((3, 4), -3, 3)},
               {"axis": 1}, second=True),
          make("cumulative_logsumexp", lambda x, axis: torch.logcumsumexp(x, dim=axis),
               {"x": [-1000.0, -999.0, 3.0, 800.0, 799.5]}, {"axis": 0}, note="naive exp overflows and underflows")]
    return r


def pad(x, pad_width, constant_values=0.0):
    flat = [n for pair in reversed(pad_width) for n in pair]          # torch counts from the last axis
    return torch.nn.functional.pad(x, flat, value=constant_values)


def shape() -> list[Record]:
    d = Draw("shape")
    x = {"x": d.uniform((2, 3, 2))}
    m = {"x": d.uniform((3, 4))}
    several = {"x0": d.uniform((2, 1)), "x1": d.uniform((2, 3)), "x2": d.uniform((2, 2))}
    same = {"x0": d.uniform((2, 3)), "x1": d.uniform((2, 3))}
    r = [make("reshape", lambda x, shape: torch.reshape(x, shape), x, {"shape": (3, -1)}),
         make("reshape", lambda x, shape: torch.reshape(x, shape), m, {"shape": (2, 2, 3)}),
         make("permute_dims", lambda x, axes: x.permute(axes), x, {"axes": (2, 0, 1)}),
         make("swapaxes", lambda x, axis1, axis2: x.swapaxes(axis1, axis2), x, {"axis1": 0, "axis2": -1}),
         make("moveaxis", lambda x, source, destination: torch.moveaxis(x, source, destination), x,
              {"source": 0, "destination": 2}),
         make("expand_dims", lambda x, axis: x.unsqueeze(axis), m, {"axis": 1}),
         make("squeeze", lambda x, axis: x.squeeze(axis), {"x": d.uniform((2, 1, 3))}, {"axis": 1}),
         make("broadcast_to", lambda x, shape: x.expand(shape), {"x": d.uniform((3, 1))}, {"shape": (2, 3, 2)}),
         make("concat", lambda *xs, axis: torch.cat(xs, dim=axis), several, {"axis": 1}),
         make("concat", lambda *xs, axis: torch.cat(xs, dim=axis), same, {"axis": 0}),
         make("stack", lambda *xs, axis: torch.stack(xs, dim=axis), same, {"axis": 1}),
         make("stack", lambda *xs, axis: torch.stack(xs, dim=axis), same, {"axis": -1}),
         make("flip", lambda x, axis: torch.flip(x, (axis,) if isinstance(axis, int) else axis), m, {"axis": 1}),
         make("flip", lambda x, axis: torch.flip(x, axis), x, {"axis": (0, 2)}),
         make("roll", lambda x, shift, axis: torch.roll(x, shift, axis), m, {"shift": 3, "axis": 1}),
         make("roll", lambda x, shift, axis: torch.roll(x, shift, axis), m, {"shift": (-1, 2), "axis": (0, 1)}),
         make("roll", lambda x, shift, axis: torch.roll(x, shift), m, {"shift": -5, "axis": None}),
         make("tile", lambda x, repetitions: torch.tile(x, repetitions), m, {"repetitions": (2, 1)}),
         make("tile", lambda x, repetitions: torch.tile(x, repetitions), {"x": d.uniform((2,))},
             {"repetitions": (2, 3)}),
         make("repeat", lambda x, repeats, axis: torch.repeat_interleave(x, repeats, dim=axis), m,
              {"repeats": 2, "axis": 0}),
         make("repeat", lambda x, repeats, axis: torch.repeat_interleave(x, torch.tensor(repeats), dim=axis), m,
              {"repeats": (2, 0, 1, 3), "axis": 1}),
         make("pad", pad, m, {"pad_width": ((1, 0), (0, 2)), "constant_values": 0.0}),
         make("pad", pad, x, {"pad_width": ((0, 0), (1, 1), (0, 1)), "constant_values": -1.5}),
         make("tril", lambda x, k: torch.tril(x, k), m, {"k": 0}),
         make("tril", lambda x, k: torch.tril(x, k), x, {"k": -1}),
         make("triu", lambda x, k: torch.triu(x, k), m, {"k": 1}),
         make("triu", lambda x, k: torch.triu(x, k), x, {"k": -1}),
         make("trace", lambda x, offset: torch.diagonal(x, offset, -2, -1).sum(-1), m, {"offset": 0}),
         make("trace", lambda x, offset: torch.diagonal(x, offset, -2, -1).sum(-1), x, {"offset": -1}),
         make("diagonal", lambda x, offset: torch.diagonal(x, offset, -2, -1), m, {"offset": 1}),
         make("diagonal", lambda x, offset: torch.diagonal(x, offset, -2, -1), x, {"offset": -1}),
         make("diff", lambda x, axis, n: torch.diff(x, n, axis), m, {"axis": 1, "n": 1}),
         make("diff", lambda x, axis, n: torch.diff(x, n, axis), m, {"axis": 0, "n": 2})]
    return r


def topk(x, k, axis):
    values, indices = torch.topk(x, k, dim=axis)
    return values, indices


def index() -> list[Record]:
    d = Draw("index")
    x = {"x": d.distinct((3, 4))}
    along0, along1 = d.integers((2, 4), 3), d.integers((3, 5), 4)
    return [
        make("take", lambda x, i, axis: torch.index_select(x, axis, i), x | {"indices": [2, 0, 2, 2]}, {"axis": 0},
             note="a repeated index adds its gradients"),
        make("take", lambda x, i, axis: torch.index_select(x, axis, i), x | {"indices": [3, 1]}, {"axis": 1}),
        make("take", lambda x, i, axis: torch.index_select(x, axis, i.ravel()).reshape(2, 3, 4),
             x | {"indices": [[2, 0, 1], [1, 1, 0]]}, {"axis": 0}, note="indices of two axes, as NumPy allows"),
        make("take_along_axis", lambda x, i, axis: torch.take_along_dim(x, i, axis), x | {"indices": along1},
            {"axis": 1}),
        make("take_along_axis", lambda x, i, axis: torch.take_along_dim(x, i, axis), x | {"indices": along0},
            {"axis": 0}),
        make("sort", lambda x, axis, descending: torch.sort(x, dim=axis, descending=descending)[0], x,
             {"axis": 1, "descending": False}),
        make("sort", lambda x, axis, descending: torch.sort(x, dim=axis, descending=descending)[0], x,
             {"axis": 0, "descending": True}),
        make("argsort", lambda x, axis, descending: torch.argsort(x, dim=axis, descending=descending), x,
             {"axis": 1, "descending": True}, gradients=False),
        make("topk", topk, x, {"k": 2, "axis": 1}),
        make("topk", topk, {"x": d.distinct((2, 5, 2))}, {"k": 3, "axis": 1}),
        make("one_hot", lambda i, num_classes: torch.nn.functional.one_hot(i, num_classes).double(),
             {"indices": [[0, 3, 1], [2, 2, 4]]}, {"num_classes": 5}, gradients=False),
    ]


def matmul() -> list[Record]:
    r, d = [], Draw("matmul")
    for a, b in (((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((2, 2, 3), (2, 3, 2)),
                 ((2, 2, 3), (3, 2)), ((3,), (2, 3, 2)), ((2, 1, 2, 3), (2, 3, 2)), ((2, 2, 3), (3,)),
                     ((1, 3), (3, 1))):
        r.append(make("matmul", torch.matmul, {"x1": d.uniform(a), "x2": d.uniform(b)}, second=True))
    for equation, shapes in {
        "ij,jk->ik": [(2, 3), (3, 2)], "bij,bjk->bik": [(2, 2, 3), (2, 3, 2)], "i,j->ij": [(2,), (3,)],
        "ij->ji": [(2, 3)], "ij->j": [(2, 3)], "ii->i": [(3, 3)], "ii->": [(3, 3)],
            "bhqd,bhkd->bhqk": [(1, 2, 2, 3), (1, 2, 3, 3)],
        "bi,ij,bj->b": [(2, 3), (3, 2), (2, 2)], "...ij,...jk->...ik": [(2, 2, 3), (3, 2)],
    }.items():
        names = {f"x{n}": d.uniform(s) for n, s in enumerate(shapes)}
        r.append(make("einsum", lambda *xs, equation: torch.einsum(equation, *xs), names, {"equation": equation},
                      second=len(shapes) > 1))
    r += [make("tensordot", lambda a, b, axes: torch.tensordot(a, b, axes),
        {"x1": d.uniform((2, 3, 2)), "x2": d.uniform((3, 2, 2))},
               {"axes": 2}, second=True),
          make("tensordot", lambda a, b, axes: torch.tensordot(a, b, axes),
              {"x1": d.uniform((2, 3, 2)), "x2": d.uniform((2, 4, 3))},
               {"axes": ((1, 0), (2, 0))}),
          make("tensordot", lambda a, b, axes: torch.tensordot(a, b, axes),
              {"x1": d.uniform((2,)), "x2": d.uniform((3,))}, {"axes": 0}),
          make("outer", torch.outer, {"x1": d.uniform((3,)), "x2": d.uniform((4,))}, second=True)]
    return r
