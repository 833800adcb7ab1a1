"""What a reference record is, and how one is drawn, computed and written. Needs PyTorch; only the makers import it."""

import json
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

TORCH = "torch " + torch.__version__.split("+")[0]
Record = dict[str, Any]


class Draw:
    """Random inputs from a seed that belongs to one record: adding a record changes no other."""

    def __init__(self, *key: object) -> None:
        self.rng = np.random.default_rng(zlib.crc32(repr(key).encode()))

    def uniform(self, shape: Sequence[int], low: float = -2.0, high: float = 2.0,
                away: Sequence[float] = (), margin: float = 0.05) -> np.ndarray:
        """Three decimals each (short files, exact float64s), at least `margin` away from every kink."""
        x = np.round(self.rng.uniform(low, high, tuple(shape)), 3)
        for _ in range(100):
            near = np.zeros(x.shape, bool)
            for kink in away:
                near |= np.abs(x - kink) < margin
            if not near.any():
                return x
            x = np.where(near, np.round(self.rng.uniform(low, high, x.shape), 3), x)
        raise ValueError(f"no room between the kinks {away} in [{low}, {high}]")

    def distinct(self, shape: Sequence[int]) -> np.ndarray:
        """Values no two of which are closer than 0.1: nothing ties, sorts and maxima are smooth."""
        n = math.prod(shape)
        steps = self.rng.permutation(n) - n // 2
        return np.round(0.25 * steps + self.rng.uniform(-0.07, 0.07, n), 3).reshape(tuple(shape))

    def normal(self, shape: Sequence[int]) -> np.ndarray:
        return np.round(self.rng.normal(size=tuple(shape)), 3)

    def integers(self, shape: Sequence[int], high: int) -> np.ndarray:
        return self.rng.integers(0, high, tuple(shape))


def plain(x: float) -> float | str:
    """repr() of a finite float64 round-trips exactly; JSON has no word for the others."""
    return x if math.isfinite(x) else ("nan" if math.isnan(x) else "inf" if x > 0 else "-inf")


def array(x: Any, name: str | None = None) -> Record:
    a = np.asarray(x)
    kind = {"f": "float64", "i": "int64", "u": "int64", "b": "bool"}[a.dtype.kind]
    data = a.astype(kind).ravel().tolist()
    return ({"name": name} if name else {}) | {
        "dtype": kind, "shape": list(a.shape), "data": [plain(v) for v in data] if kind == "float64" else data}


def make(op: str, fn: Callable[..., Any], inputs: dict[str, Any], params: Record | None = None, *,
         gradients: bool = True, second: bool = False, constant: Sequence[str] = (), **extra: Any) -> Record:
    """One PyTorch record: fn(*inputs, **params), its vjp with a random cotangent, on request the vjp of that vjp.

    fn speaks our names and layouts. An input that is not float64, or is named in `constant`, gets no gradient.
    """
    params = params or {}
    draw = Draw("cotangent", op, repr(params), [np.shape(v) for v in inputs.values()])
    tensors = [torch.tensor(np.asarray(v)) for v in inputs.values()]
    free = [gradients and name not in constant and t.dtype == torch.float64
            for name, t in zip(inputs, tensors, strict=True)]
    for t, f in zip(tensors, free, strict=True):
        t.requires_grad_(f)
    out = fn(*tensors, **params)
    y, indices = out if isinstance(out, tuple) else (out, None)
    record: Record = {"op": op, "inputs": [array(v, name) for name, v in inputs.items()], "params": params,
                      "output": array(y.numpy(force=True))}
    if indices is not None:
        record["indices"] = array(indices.numpy())
    wanted = [t for t, f in zip(tensors, free, strict=True) if f]
    if wanted:
        g = torch.tensor(draw.normal(y.shape), requires_grad=True)
        grads = torch.autograd.grad(y, wanted, g, create_graph=second, materialize_grads=True)
        record |= {"cotangent": array(g.detach().numpy()), "gradients": spread(grads, free)}
    if wanted and second:
        along = [torch.tensor(draw.normal(d.shape)) for d in grads]
        total = sum((d * r).sum() for d, r in zip(grads, along, strict=True))
        *wrt_inputs, wrt_g = torch.autograd.grad(total, [*wanted, g], materialize_grads=True)
        record["second"] = {"directions": spread(along, free), "gradients": spread(wrt_inputs, free),
                            "cotangent": array(wrt_g.numpy(force=True))}
    return record | extra | {"source": extra.get("source", TORCH)}


def spread(values: Sequence[torch.Tensor], free: Sequence[bool]) -> list[Record | None]:
    """Put the gradients of the free inputs at their places, None elsewhere."""
    rest = iter(values)
    return [array(next(rest).numpy(force=True)) if f else None for f in free]


def encode(value: Any) -> Any:
    """Infinite parameters (norm's ord) become the strings the arrays use."""
    if isinstance(value, dict):
        return {k: encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    return plain(value) if isinstance(value, float) else value


def write(path: Any, records: Sequence[Record]) -> None:
    """One record a line: a change shows in a diff as the record it touches."""
    lines = [json.dumps(encode(r), separators=(",", ":"), allow_nan=False) for r in records]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
