"""Pictures drawn from the records: functions and derivatives, Jacobians, losses, paths of optimisers, schedules.

Each is SVG that stands inside the page: text and axes take the page's colour, so they can be read on light and on dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np

import engine
from engine.op import ElementwiseOp, Op
from engine.tensor import Tensor

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

INK = "#010203"  # becomes the colour of the page's text
COLOURS = ["#5c6bc0", "#ef6c00", "#26a69a", "#ab47bc", "#8d6e63"]
STYLE = {
    "axes.edgecolor": INK, "axes.labelcolor": INK, "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "axes.spines.right": False, "axes.spines.top": False, "axes.titlecolor": INK, "axes.titlesize": 10,
    "font.size": 10, "legend.frameon": False, "lines.linewidth": 1.8,
    "svg.fonttype": "none", "svg.hashsalt": "chainrule", "text.color": INK, "xtick.color": INK, "ytick.color": INK,
}  # fmt: skip


@contextmanager
def drawn(columns: int = 1, width: float = 5.0, height: float = 3.0) -> Any:
    """(axes, svg): draw on the axes; after the block `svg[0]` is the picture."""
    svg: list[str] = []
    with matplotlib.rc_context(STYLE):
        figure, axes = plt.subplots(1, columns, figsize=(width * columns, height), squeeze=False)
        side = 0.6 / (width * columns)  # fixed margins: finding the best ones takes longer than drawing
        figure.subplots_adjust(left=side, right=1 - side / 3, bottom=0.5 / height, top=1 - 0.3 / height, wspace=0.25)
        yield axes[0], svg
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    size = f'class="plot" style="max-width:{width * columns:g}in"'
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', size, text, count=1)
    svg.append(re.sub(r"\s*\n\s*", " ", text).replace(INK, "currentColor"))


def picture(op: Op, example: Callable[[], tuple[list[Tensor], list[str], Callable[..., Any]]]) -> str:
    """The op's own picture, or "" for what has no values to draw."""
    if not isinstance(op, ElementwiseOp):
        return jacobian(op, *example())
    kinds = {d.kind for d in op.note.domain}
    if kinds == {"float"}:
        return curve(op) if len(op.inputs) == 1 else family(op)
    return table(op) if len(op.inputs) == 2 and kinds <= {"integer", "bool"} else ""


# ------------------------------------------------------------------------------------------------ elementwise
def curve(op: ElementwiseOp) -> str:
    """f and f' of one variable."""
    d = op.note.domain[0]
    x = np.linspace(max(d.lo, -6.0), min(d.hi, 6.0), 961)
    y, slope = _values(op, x)
    with drawn() as (axes, svg):
        _line(axes[0], x, y, f"{op.name}(x)")
        if slope is not None:
            _line(axes[0], x, slope, "derivative", linestyle="--")
        axes[0].set_xlabel("x")
        axes[0].legend()
    return svg[0]


def family(op: ElementwiseOp) -> str:
    """f of its first input, and the derivative, for three values of the second; further inputs are in the middle."""
    spans = [(max(d.lo, -4.0), min(d.hi, 4.0)) for d in op.note.domain]
    x = np.linspace(*spans[0], 961)
    rest = [np.full_like(x, (lo + hi) / 2) for lo, hi in spans[2:]]
    with drawn(2 if op.differentiable else 1, 4.2) as (axes, svg):
        for part in (0.25, 0.5, 0.8):
            b = round(spans[1][0] + part * (spans[1][1] - spans[1][0]), 1)
            y, slope = _values(op, x, np.full_like(x, b), *rest)
            _line(axes[0], x, y, f"{op.inputs[1]} = {b:g}")
            if slope is not None:
                _line(axes[1], x, slope, f"{op.inputs[1]} = {b:g}")
        axes[0].set_title(f"{op.name}({', '.join(op.inputs)})")
        if op.differentiable:
            axes[1].set_title(f"derivative by {op.inputs[0]}")
        for ax in axes:
            ax.set_xlabel(op.inputs[0])
        axes[0].legend()
    return svg[0]


def table(op: ElementwiseOp) -> str:
    """f of two small whole numbers or truth values, as a map."""
    lo, hi = int(max(op.note.domain[0].lo, -4)), int(min(op.note.domain[0].hi, 4))
    shifts = int(min(op.note.domain[1].hi, 4))
    a, b = np.arange(lo, hi + 1), np.arange(int(max(op.note.domain[1].lo, -4)), shifts + 1)
    boolean = op.note.domain[0].kind == "bool"
    left, right = np.meshgrid(a.astype(bool) if boolean else a, b.astype(bool) if boolean else b, indexing="ij")
    values = op(left, right).numpy()
    with drawn(1, 3.4) as (axes, svg):
        _map(axes[0], values.astype(float), "b", "a")
        axes[0].set_xticks(range(len(b)), b), axes[0].set_yticks(range(len(a)), a)
        for i, j in np.ndindex(values.shape):
            axes[0].text(j, i, f"{int(values[i, j])}", ha="center", va="center", color="black", fontsize=8)
    return svg[0]


def _values(op: ElementwiseOp, *inputs: Any) -> tuple[Any, Any]:
    """f, and its derivative by the first input; both in float64."""
    first = Tensor(inputs[0], op.differentiable)
    with np.errstate(all="ignore"):
        y = op(first, *inputs[1:])
        if not y.requires_grad:
            return y.numpy().astype(float), None
        engine.sum(y).backward()
    return y.numpy(), first.grad.numpy()


def _line(axes: Any, x: Any, y: Any, label: str, **how: Any) -> None:
    """A line that stops where the function jumps, and does not follow a pole."""
    y = np.where(np.isfinite(y), y, np.nan)
    y[np.abs(y) > max(10.0, 4 * np.nanquantile(np.abs(y), 0.9))] = np.nan
    reach = np.nanmax(y) - np.nanmin(y)
    jumps = np.abs(np.diff(y, append=y[-1])) > max(0.1 * reach, 1e-12)
    axes.plot(x, np.where(jumps, np.nan, y), label=label, **how)


# ------------------------------------------------------------------------------------------------ structural
def jacobian(op: Op, inputs: list[Tensor], names: list[str], call: Callable[..., Any]) -> str:
    """How much each element of the result moves with each element of each input, at the example."""
    if not inputs:
        return ""
    parts = [_jacobian(call, inputs, k) for k in range(len(inputs))][:4]
    limit = max(max(float(np.abs(p).max(initial=0)) for p in parts), 1e-12)
    with drawn(len(parts), 2.9, 2.9) as (axes, svg):
        for ax, part, name in zip(axes, parts, names, strict=False):
            _map(ax, part, f"elements of {name}", "elements of y", limit)
            ax.set_title(f"∂y / ∂{name}")
    return svg[0]


def _jacobian(call: Callable[..., Any], inputs: list[Tensor], k: int) -> Any:
    leaves = [Tensor(t.numpy().astype(np.float64), i == k) for i, t in enumerate(inputs)]
    y = call(*leaves)
    y = next((t for t in y if t.requires_grad), y[0]) if isinstance(y, (tuple, list)) else y
    if not y.requires_grad:
        return np.zeros((y.size, leaves[k].size))
    rows = []
    for e in np.eye(int(np.prod(y.shape, dtype=int))):
        found = engine.grad(y, [leaves[k]], e.reshape(y.shape), retain_graph=True, allow_unused=True)[0]
        rows.append(np.zeros(leaves[k].shape).ravel() if found is None else found.numpy().ravel())
    return np.stack(rows)


def _map(axes: Any, values: Any, across: str, down: str, limit: float | None = None) -> None:
    limit = limit or max(float(np.abs(values).max()), 1.0)
    grid = np.arange(values.shape[0] + 1) - 0.5, np.arange(values.shape[1] + 1) - 0.5
    look = {"cmap": "PuOr", "vmin": -limit, "vmax": limit, "linewidth": 0.3, "edgecolor": "#80808060"}
    axes.pcolormesh(grid[1], grid[0], values, **look)
    axes.invert_yaxis()
    axes.set_xlabel(across), axes.set_ylabel(down)
    axes.xaxis.get_major_locator().set_params(integer=True), axes.yaxis.get_major_locator().set_params(integer=True)


# ------------------------------------------------------------------------------------------------ losses, optimisers
def loss(make: Callable[[], Any], truths: dict[str, Any], predictions: Any, guess: Callable[[Any], Any]) -> str:
    """A loss and its gradient, over the prediction, for some true values."""
    with drawn(2, 4.2) as (axes, svg):
        for label, truth in truths.items():
            p = Tensor(predictions, True)
            losses = [make()(truth, guess(p[k])) for k in range(len(predictions))]
            engine.sum(engine.stack(losses)).backward()
            axes[0].plot(predictions, [v.item() for v in losses], label=label)
            axes[1].plot(predictions, p.grad.numpy(), label=label)
        axes[0].set_title("loss"), axes[1].set_title("gradient by the prediction")
        for ax in axes:
            ax.set_xlabel("prediction")
        axes[0].legend()
    return svg[0]


def path(make: Callable[[Any], Any], steps: int = 60) -> str:
    """The way of an optimiser down a long valley, x²/2 + 5 y²."""
    w = engine.tensor([-4.0, 1.6], dtype="float64", requires_grad=True)
    optimizer, places = make([w]), [w.numpy().copy()]
    for _ in range(steps):
        w.grad = None
        (w[0] ** 2 / 2 + 5 * w[1] ** 2).backward()
        optimizer.step()
        places.append(w.numpy().copy())
    x, y = np.array(places).T
    a, b = np.meshgrid(np.linspace(-5, 3, 160), np.linspace(-2.2, 2.2, 120))
    with drawn(1, 5.6) as (axes, svg):
        axes[0].contour(a, b, np.sqrt(a**2 / 2 + 5 * b**2), 9, colors="#80808080", linewidths=0.7)
        axes[0].plot(x, y, "o-", markersize=2.5, linewidth=1)
        axes[0].plot(0, 0, "+", color=COLOURS[1], markersize=12)
        axes[0].set_title(f"{steps} steps")
    return svg[0]


def schedule(make: Callable[[], Any], steps: int = 1000) -> str:
    s = make()
    with drawn() as (axes, svg):
        axes[0].plot(range(steps), [s(k) for k in range(steps)])
        axes[0].set_xlabel("step"), axes[0].set_ylabel("learning rate")
        axes[0].set_ylim(bottom=0)
    return svg[0]
