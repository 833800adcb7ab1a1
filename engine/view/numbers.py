"""Numbers as people read them: a few digits, a short line of statistics, a small picture of an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import backend_of
from ..shapes import Shape

SMALL = 6  # so many numbers are written out
SHOWN = 5  # rows and columns of a matrix in LaTeX, more are dots
CELLS = 12  # a picture of an array has at most so many cells a side


def plain(array: Any) -> Any:
    """The array in NumPy's memory, as float64."""
    return np.asarray(backend_of(array).to_numpy(array), np.float64)


def digits(x: float, n: int = 3) -> str:
    """Three significant digits: 0.0123, 1.2e-07, 12300."""
    x = float(x)
    if x != x:
        return "nan"
    if x in (np.inf, -np.inf):
        return "∞" if x > 0 else "-∞"
    if x == 0:
        return "0"
    size = int(np.floor(np.log10(abs(x))))
    if -4 <= size < 6:
        text = f"{x:.{max(n - 1 - size, 0)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{x:.{n - 1}e}"


def latex_digits(x: float, n: int = 3) -> str:
    r"""As `digits`, for LaTeX: 1.2 \cdot 10^{-7}."""
    text = digits(x, n)
    if "e" in text:
        mantissa, exponent = text.split("e")
        return rf"{mantissa} \cdot 10^{{{int(exponent)}}}"
    return text.replace("∞", r"\infty").replace("nan", r"\text{nan}")


def matrix(value: Any) -> str:
    """Numbers in brackets, at most 5 x 5 of them; of an array with more axes its first matrix."""
    a = np.asarray(value, np.float64)
    if a.ndim == 0:
        return latex_digits(float(a), 4)
    if a.ndim > 2:
        return matrix(a.reshape(-1, a.shape[-1])[: SHOWN + 1])
    rows = a.reshape(1, -1) if a.ndim == 1 else a
    cells = [_elided([latex_digits(float(x)) for x in row], r"\cdots") for row in rows]
    if len(cells) > SHOWN:
        cells = [*cells[: SHOWN - 1], [r"\vdots"] + [""] * (len(cells[0]) - 1), cells[-1]]
    return r"\begin{bmatrix} " + r" \\ ".join(" & ".join(row) for row in cells) + r" \end{bmatrix}"


def _elided(cells: list[str], dots: str) -> list[str]:
    return cells if len(cells) <= SHOWN else [*cells[: SHOWN - 1], dots, cells[-1]]


def words(shape: Shape) -> str:
    """32 × 10, or "a number"."""
    return " × ".join(map(str, shape)) if shape else "number"


def brief(array: Any) -> str:
    """A few numbers in full, of many the range."""
    a = plain(array)
    if a.size == 0:
        return "empty"
    if a.size == 1:
        return digits(a.item(), 4)
    if a.size <= SMALL:
        return _nested(a)
    finite = a[np.isfinite(a)]
    bad = a.size - finite.size
    if not finite.size:
        return f"{bad} not finite"
    text = f"{digits(finite.min())} … {digits(finite.max())}"
    return f"{text}, {bad} not finite" if bad else text


def _nested(a: Any) -> str:
    """[[1, 2], [3, 4]]"""
    return digits(a) if a.ndim == 0 else f"[{', '.join(map(_nested, a))}]"


def picture(array: Any) -> Any:
    """At most CELLS x CELLS numbers from -1 to 1 that show the array: rows are its leading axes, columns its last one,
    blocks are averaged, and the largest magnitude is 1.
    """
    a = plain(array)
    a = np.where(np.isfinite(a), a, 0.0)
    a = a.reshape(-1, a.shape[-1]) if a.ndim else a.reshape(1, 1)
    for axis in (0, 1):
        n = a.shape[axis]
        if n > CELLS:
            a = np.stack([part.mean(axis) for part in np.array_split(a, CELLS, axis)], axis)
    top = np.abs(a).max(initial=0.0)
    return a / top if top > 0 else a


def colour(x: float) -> str:
    """Blue below zero, orange above, pale at zero."""
    pale, ends = (246, 245, 241), ((38, 97, 156), (214, 96, 24))
    end = ends[bool(x > 0)]
    k = min(abs(x), 1.0)
    return "#" + "".join(f"{round(p + (e - p) * k):02x}" for p, e in zip(pale, end, strict=True))
