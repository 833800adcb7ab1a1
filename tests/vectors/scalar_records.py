"""From a row of the elementwise tables to records: PyTorch on random inputs, mpmath on telling points."""

import math
from collections.abc import Sequence

import mpmath as mp
import numpy as np
import torch
import torch.nn.functional as F
from elementwise_recipes import Row
from recipe import Draw, Record, array, make

# Definitions cancel (1 - tanh(300)**2): 400 working digits leave far more than 50 good ones for any float64 result.
mp.mp.dps = 400
NORMAL = 2.2250738585072014e-308
SHAPES = {1: [(2, 3)], 2: [(2, 3), (3,)], 3: [(2, 3), (3,), (2, 1)]}                    # broadcasting included


def from_torch(op: str, row: Row) -> list[Record]:
    draw, shapes = Draw(op, repr(row.params)), SHAPES[len(row.names)]
    ranges = row.ranges or [(row.low, row.high)] * len(shapes)
    x = {n: draw.uniform(s, *r, away=row.kinks) for n, s, r in zip(row.names, shapes, ranges, strict=True)}
    origin = {"source": row.source} if row.source else {}
    records = [make(op, row.torch, x, row.params, gradients=not row.flat, second=not row.flat, **origin)]
    if row.names == ("x",) and row.kinks and not row.flat and op not in ("reciprocal", "sinc"):
        records.append(make(op, row.torch, {"x": [float(k) for k in row.kinks]}, row.params, note="at the kinks",
            **origin))
    if op in ("maximum", "minimum"):
        records.append(make(op, row.torch, {"x1": [1.0, -2.0, 0.5], "x2": [1.0, -2.0, 0.7]},
            note="ties share the gradient"))
    return records


def columns(points: Sequence) -> list[list[float]]:
    return [list(c) for c in zip(*(p if isinstance(p, tuple) else (p,) for p in points), strict=True)]


def from_mpmath(op: str, row: Row, signed_zeros: bool) -> list[Record]:
    """Two records: values everywhere (limits and zeros as IEEE 754 has them), and gradients where there is one."""
    def exact(*x):
        return mp.mpf(row.exact(*x, **{k: mp.mpf(v) for k, v in row.params.items()}))

    rows = [tuple(map(float, c)) for c in zip(*columns(row.points), strict=True)]
    values = [float(exact(*map(mp.mpf, p))) for p in rows]
    if not all(v == 0 or math.isinf(v) or abs(v) >= NORMAL for v in values):
        raise ValueError(f"{op}: a subnormal result tells nothing, results below the smallest normal may be flushed")
    limits = columns([p for p, _ in row.special]) if row.special else [[] for _ in row.names]
    names = zip(row.names, columns(rows), limits, strict=True)
    zeros = {"signed_zeros": True} if signed_zeros else {}
    records = [{"op": op, "inputs": [array(a + b, n) for n, a, b in names], "params": row.params,
                "output": array(values + [v for _, v in row.special]), "source": "mpmath 50 digits", **zeros}]
    if row.flat:
        return records
    g = Draw("mpmath", op, repr(row.params)).normal((len(rows),))
    n = len(row.names)
    kept, slopes = [], []
    for i, (p, y) in enumerate(zip(rows, values, strict=True)):
        if math.isinf(y) or any(v in row.kinks for v in p):
            continue
        d = [mp.diff(exact, tuple(map(mp.mpf, p)),
            tuple(int(j == k) for k in range(n))) * mp.mpf(g[i]) for j in range(n)]
        d = [float(v) for v in d]
        if all(v == 0 or NORMAL <= abs(v) < math.inf for v in d):
            kept.append(i)
            slopes.append(d)
    records.append({
        "op": op, "inputs": [array([rows[i][j] for i in kept], row.names[j]) for j in range(n)], "params": row.params,
        "output": array([values[i] for i in kept]), "cotangent": array(g[kept]),
        "gradients": [array([s[j] for s in slopes]) for j in range(n)], "source": "mpmath 50 digits"})
    return records


def disagreement(row: Row, records: Sequence[Record]) -> float:
    """The largest relative difference of PyTorch from mpmath's values and gradients: the sources check each other.

    Each record keeps its own as `torch_error`, with the reason, so a test can ask for no worse than PyTorch there.
    """
    worst = 0.0
    for r in records:
        x = [torch.tensor([float(v) for v in a["data"]], dtype=torch.float64, requires_grad=True) for a in r["inputs"]]
        y = row.torch(*x, **row.params)
        pairs = [(y.numpy(force=True), r["output"])]
        if "gradients" in r:
            g = torch.tensor(r["cotangent"]["data"], dtype=torch.float64)
            grads = torch.autograd.grad(y, x, g, materialize_grads=True)
            pairs += [(a.numpy(force=True), b) for a, b in zip(grads, r["gradients"], strict=True)]
        gap = 0.0
        for ours, theirs in pairs:
            exact = np.array([float(v) for v in theirs["data"]])
            with np.errstate(all="ignore"):
                error = np.abs(ours - exact) / np.maximum(np.abs(exact), NORMAL)
            same = (ours == exact) | (np.isnan(ours) & np.isnan(exact))
            gap = max(gap, float(np.where(same, 0.0, np.where(np.isfinite(error), error, np.inf)).max()))
        if gap > 1e-13:
            r["torch_error"] = float(f"{gap:.1e}")
            r["tolerance_note"] = row.why or "ill-conditioned, or a few units in the last place"
        worst = max(worst, gap)
    return worst


def family(table: dict, signed_zeros: bool) -> list[Record]:
    records: list[Record] = []
    for op, rows in table.items():
        for row in rows if isinstance(rows, list) else [rows]:
            exact = from_mpmath(op, row, signed_zeros)
            if (gap := disagreement(row, exact)) > row.tolerance:
                print(f"{op}{row.params}: PyTorch is {gap:.1e} from mpmath, allowed {row.tolerance:.0e}")
            records += from_torch(op, row) + exact
    return records


def unlike_the_others() -> tuple[list[Record], list[Record]]:
    """where (a condition) and glu (an axis) fit no row."""
    d = Draw("where and glu")
    condition = d.uniform((2, 3)) > 0
    choose = [make("where", torch.where, {"condition": condition, "x1": d.uniform((2, 3)), "x2": d.uniform((3,))}),
              make("where", torch.where, {"condition": [True, False, True], "x1": d.uniform((2, 1)),
                  "x2": d.uniform((3,))})]
    gate = [make("glu", lambda x, axis: F.glu(x, dim=axis), {"x": d.uniform(s)}, {"axis": axis}, second=True)
            for s, axis in (((2, 6), -1), ((4, 3), 0), ((2, 4, 2), 1))]
    return choose, gate
