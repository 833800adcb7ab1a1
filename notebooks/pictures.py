"""The pictures of the notebooks: one style, one call each. They draw what they are given and compute nothing.

    import pictures
    pictures.lines(x, {"sigmoid": sigmoid(x)}, title="...")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Math, display
from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#1f6feb", "#e36209", "#2da44e", "#cf222e", "#8250df", "#6e7781"
COLOURS = [BLUE, ORANGE, GREEN, PURPLE, RED, GREY]

plt.rcParams.update({
    "figure.figsize": (6.4, 3.4), "figure.dpi": 80, "figure.constrained_layout.use": True,
    "axes.prop_cycle": plt.cycler(color=COLOURS), "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#d8dee4", "grid.linewidth": 0.6, "axes.axisbelow": True,
    "axes.titlesize": 11, "axes.labelsize": 10, "font.size": 9.5, "legend.frameon": False, "lines.linewidth": 1.8,
    "image.cmap": "Blues",
})  # fmt: skip


def equations(*latex: str) -> None:
    """Formulas, typeset by the notebook."""
    for formula in latex:
        display(Math(formula))


def lines(
    x: Any, curves: Mapping[str, Any], *, title: str = "", x_label: str = "", y_label: str = "",
    log: str = "", zoom: tuple[float, float] | None = None, marker: str = "", slanted: bool = False,
    ax: Axes | None = None,
) -> None:  # fmt: skip
    """Curves over one x (None counts them off; words stand in their order). log: "x", "y" or "xy". A name that starts
    with "." is dashed.
    """
    ax = _axes(ax)
    words = x if isinstance(x, list) and isinstance(x[0], str) else None
    x = range(len(words)) if words else x
    for name, y in curves.items():
        y = np.asarray(y)
        style = "--" if name.startswith(".") else "-"
        at = np.arange(1, len(y) + 1) if x is None else np.asarray(x)
        ax.plot(at, y, style, marker=marker, markersize=3.5, label=name.lstrip("."))
    if words:
        ax.set_xticks(range(len(words)), words, rotation=50 if slanted else 0, ha="right" if slanted else "center")
    for axis in log:
        (ax.set_xscale if axis == "x" else ax.set_yscale)("log")
    if zoom:
        ax.set_ylim(*zoom)
    _words(ax, title, x_label, y_label)
    if any(curves):
        ax.legend()


def panels(count: int, width: float = 3.2, height: float = 2.8) -> list[Axes]:
    """So many empty axes side by side."""
    _, axes = plt.subplots(1, count, figsize=(width * count, height), squeeze=False)
    return list(axes[0])


def images(pictures: Any, titles: Sequence[Any] = (), *, columns: int = 8, size: float = 1.0, signed: bool = False,
           title: str = "") -> None:  # fmt: skip
    """Grey pictures (N,H,W) in rows. signed: 0 is white, negative red, positive blue; each on its own scale."""
    pictures = np.asarray(pictures)
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, (size + 0.22 * bool(len(titles))) * rows),
                                squeeze=False)  # fmt: skip
    for ax in axes.flat:
        ax.axis("off")
    for k, (ax, picture) in enumerate(zip(axes.flat, pictures, strict=False)):
        if signed:
            most = np.abs(picture).max() or 1
            ax.imshow(picture, cmap="RdBu", vmin=-most, vmax=most)
        else:
            ax.imshow(picture, cmap="gray_r")
        if k < len(titles):
            ax.set_title(str(titles[k]), fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)


def heat(
    matrix: Any, *, rows: Sequence[str] | None = (), columns: Sequence[str] = (), title: str = "", x_label: str = "",
    y_label: str = "", limits: tuple[float, float] | None = None, signed: bool = False, bar: bool = True,
    ax: Axes | None = None,
) -> None:  # fmt: skip
    """A matrix in colours, with words along its sides; rows None leaves that side empty."""
    matrix = np.asarray(matrix)
    ax = _axes(ax)
    low, high = limits or ((-np.abs(matrix).max(), np.abs(matrix).max()) if signed else (None, None))
    drawn = ax.imshow(matrix, aspect="auto", cmap="RdBu" if signed else "Blues", vmin=low, vmax=high)
    ax.grid(False)
    if rows is None:
        ax.set_yticks([])
    elif len(rows):
        ax.set_yticks(range(len(rows)), rows)
    if len(columns):
        ax.set_xticks(range(len(columns)), columns, rotation=90 if max(map(len, columns)) > 2 else 0)
    if bar:
        plt.colorbar(drawn, ax=ax, shrink=0.9)
    _words(ax, title, x_label, y_label)


def bars(values: Mapping[str, float], *, title: str = "", x_label: str = "", log: bool = False, unit: str = "",
         ax: Axes | None = None) -> None:  # fmt: skip
    """Lying bars with their numbers written behind them."""
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 0.6 + 0.36 * len(values)))
    at = range(len(values))
    ax.barh(at, list(values.values()), color=[COLOURS[k % len(COLOURS)] for k in at], height=0.65)
    for k, v in enumerate(values.values()):
        ax.annotate(f" {v:,.0f}{unit}" if abs(v) >= 1000 else f" {v:.3g}{unit}", (v, k), va="center", fontsize=9)
    ax.set_yticks(at, list(values))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    if log:
        ax.set_xscale("log")
    ax.margins(x=0.15)
    _words(ax, title, x_label, "")


def histograms(samples: Mapping[str, Any], *, bins: int = 60, title: str = "", x_label: str = "", width: float = 2.6,
               limits: tuple[float, float] | None = None) -> None:  # fmt: skip
    """One small histogram a name, side by side, all on one x axis."""
    _, axes = plt.subplots(1, len(samples), figsize=(width * len(samples), 2.1), squeeze=False, sharex=True)
    for k, (ax, (name, values)) in enumerate(zip(axes[0], samples.items(), strict=True)):
        ax.hist(np.asarray(values).ravel(), bins=bins, range=limits, color=COLOURS[k % len(COLOURS)], density=True)
        ax.set_yticks([])
        _words(ax, name, x_label, "")
    if title:
        axes[0][0].figure.suptitle(title, fontsize=11)


def remainder(steps: Any, curves: Mapping[str, Any], *, title: str = "") -> None:
    """Taylor remainders over the step, with the slopes 1 and 2 as thin guides."""
    steps = np.asarray(steps)
    ax = _axes(None)
    for name, r in curves.items():
        ax.loglog(steps, np.asarray(r), marker="o", markersize=3.5, label=name)
    top = max(np.asarray(r)[0] for r in curves.values())
    for slope in (1, 2):
        guide = top * (steps / steps[0]) ** slope
        ax.loglog(steps, guide, ":", color=GREY, linewidth=1)
        ax.annotate(f"slope {slope}", (steps[-1], guide[-1]), fontsize=8.5, color=GREY)
    ax.invert_xaxis()
    _words(ax, title, "step h", "remainder r(h)")
    ax.legend()


def regions(score: Any, x: Any, labels: Any, *, title: str = "", ax: Axes | None = None) -> None:
    """What a classifier of the plane says everywhere, score(points (N,2)) -> (N,) in 0..1, and the points it learnt."""
    x, ax = np.asarray(x), _axes(ax)
    (a, b), (c, d) = ((v.min() - 0.3, v.max() + 0.3) for v in x.T)
    u, v = np.meshgrid(np.linspace(a, b, 120), np.linspace(c, d, 120))
    z = np.asarray(score(np.stack([u.ravel(), v.ravel()], 1).astype("float32"))).reshape(u.shape)
    ax.contourf(u, v, z, levels=np.linspace(0, 1, 11), cmap="RdBu", alpha=0.55)
    ax.contour(u, v, z, levels=[0.5], colors="black", linewidths=1)
    for k, colour in enumerate((RED, BLUE)):
        ax.scatter(*x[np.asarray(labels) == k].T, s=9, color=colour, edgecolors="white", linewidths=0.3)
    ax.grid(False)
    _words(ax, title, "", "")


def paths(surface: Any, walks: Mapping[str, Any], *, limits: tuple[float, float, float, float], goal: Any = None,
          title: str = "") -> None:  # fmt: skip
    """Level lines of surface(u, v), and walks (T,2) on it."""
    a, b, c, d = limits
    u, v = np.meshgrid(np.linspace(a, b, 160), np.linspace(c, d, 160))
    _, ax = plt.subplots(figsize=(6.8, 4.4))
    ax.contour(u, v, np.log10(np.asarray(surface(u, v)) + 1e-3), levels=14, colors="#aeb6bf", linewidths=0.6)
    for name, walk in walks.items():
        ax.plot(*np.asarray(walk).T, marker=".", markersize=3, linewidth=1.1, alpha=0.85, label=name)
    if goal is not None:
        ax.plot(*goal, "*", color="black", markersize=12)
    ax.set_xlim(a, b)
    ax.set_ylim(c, d)
    ax.grid(False)
    _words(ax, title, "", "")
    ax.legend(loc="upper center")


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots()[1] if ax is None else ax


def _words(ax: Axes, title: str, x_label: str, y_label: str) -> None:
    ax.set_title(title)
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
