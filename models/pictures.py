"""What a training run looks like: four pictures, drawn without a display and written whole."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from engine.io.atomic import atomic_write

INK, GREY, BLUE, ORANGE, RED = "#222222", "#8a8a8a", "#1f6fb4", "#e07b1a", "#c8372d"


def training_curves(history: Mapping[str, Sequence[float]], path: Path, by: str = "epoch") -> None:
    """Loss, and accuracy where there is one, in training and on the test data; by epoch, or by another entry."""
    names = [name for name in ("loss", "accuracy") if name in history]
    figure = Figure(figsize=(4.5 * len(names), 3.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        epochs = history.get(by) or np.arange(1, len(history[name]) + 1)
        for key, colour, label in ((name, BLUE, "training"), (f"val_{name}", ORANGE, "test")):
            if key in history:
                last = f"{history[key][-1]:.2%}" if name == "accuracy" else f"{history[key][-1]:.4f}"
                axes.plot(epochs, history[key], "o-", color=colour, markersize=4, label=f"{label}, at the end {last}")
        if name == "loss":
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # 0.9 and 1 would lie on each other
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_major_formatter("{x:.2g}")
        else:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(title=name, xlabel=by)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(color="#e4e4e4", which="both")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    _write(figure, path)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, path: Path) -> None:
    """How many digits of each class (down) were taken for which (across); mistakes are coloured by their number."""
    classes = int(max(labels.max(), predicted.max())) + 1
    counts = np.bincount(classes * labels.astype(int) + predicted, minlength=classes**2).reshape(classes, classes)
    wrong = counts * (1 - np.eye(classes, dtype=int))
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#e6f0f8")  # seen on the diagonal
    axes.imshow(np.ma.masked_where(np.eye(classes), wrong), cmap="Reds", vmin=0, vmax=max(1, wrong.max()) * 1.25)
    for i, j in np.ndindex(classes, classes):
        colour = GREY if counts[i, j] == 0 else INK
        axes.text(
            j, i, counts[i, j] or "·", ha="center", va="center", color=colour, fontweight="bold" if i == j else None
        )
    axes.set_title(f"{np.trace(counts):,} of {len(labels):,} right, {wrong.sum():,} wrong")
    axes.set(xlabel="taken for", ylabel="digit", xticks=range(classes), yticks=range(classes))
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e4e4e4")
    axes.tick_params(which="minor", length=0)
    _write(figure, path)


def first_layer_filters(kernel: np.ndarray, path: Path, most: int = 64) -> None:
    """The weights that meet the pixels, one tile a unit: (kh,kw,C,F) filters, or (784,units) as 28 x 28 images."""
    if kernel.ndim == 2:
        side = math.isqrt(len(kernel))
        tiles = kernel.T.reshape(-1, side, side)  # (784,U) -> (U,28,28)
    else:
        tiles = np.moveaxis(kernel.mean(2), -1, 0)  # (kh,kw,C,F) -> (F,kh,kw)
    shown = tiles[:most]
    figure, axes, _ = _tiles(shown, 0)
    largest = np.abs(shown).max()
    axes.images[0].set(cmap="RdBu_r", clim=(-largest, largest))
    figure.colorbar(axes.images[0], ax=axes, shrink=0.6, label="weight")
    of = f"the first {len(shown)} of {len(tiles)}" if len(tiles) > len(shown) else f"{len(tiles)}"
    axes.set_title(f"First layer: {of} filters of {tiles.shape[1]} x {tiles.shape[2]}")
    _write(figure, path)


def misclassified(
    pixels: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, path: Path, most: int = 40
) -> None:
    """The digits that were taken for another, the surest mistakes first; above each: digit, answer, how sure."""
    predicted, sure = probabilities.argmax(-1), probabilities.max(-1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    shown = wrong[:most]
    figure, axes, middles = _tiles(pixels[shown] if len(shown) else np.zeros((1, *pixels.shape[1:])), 9)
    axes.images[0].set(cmap="gray_r")
    for place, i in zip(middles, shown, strict=False):
        words = f"{labels[i]} → {predicted[i]}  {100 * sure[i]:.0f} %"
        axes.text(*place, words, fontsize=8, color=RED, ha="center", va="bottom")
    of = f", the {len(shown)} surest" if len(shown) < len(wrong) else ""
    axes.set_title(f"{len(wrong):,} of {len(labels):,} misclassified{of}:  digit → answer, how sure")
    _write(figure, path)


def _tiles(
    tiles: np.ndarray, above: int, columns: int = 8, gap: int = 5
) -> tuple[Figure, Any, list[tuple[float, float]]]:
    """Images (n,h,w) side by side as one; `above` pixels of room over each, whose middles come along."""
    factor = -(-28 // tiles.shape[1])
    tiles = tiles.repeat(factor, 1).repeat(factor, 2)
    (_, h, w), rows = tiles.shape, -(-len(tiles) // columns)
    canvas = np.full((rows * (h + above + gap), columns * (w + gap)), np.nan)
    middles = []
    for i, tile in enumerate(tiles):
        y, x = i // columns * (h + above + gap) + above, i % columns * (w + gap)
        canvas[y : y + h, x : x + w] = tile
        middles.append((x + w / 2, y - 1))
    figure = Figure(figsize=(9, 9 * canvas.shape[0] / canvas.shape[1] + 0.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(canvas, interpolation="nearest")
    axes.set_axis_off()
    return figure, axes, middles


def _write(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150)
    atomic_write(path, png.getvalue())
