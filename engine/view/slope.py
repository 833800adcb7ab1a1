"""The Taylor slope of a gradient check: a right gradient leaves a remainder that falls as h², a wrong one as h."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .given import escape
from .sheet import sheet

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420.0, 250.0, 54.0, 118.0, 14.0, 36.0
COLOURS = ("#26619c", "#d66018", "#1f7a4d", "#7a4fb0", "#b3261e", "#5f6b76")
LEAST = 1e-18  # a remainder of zero has no logarithm


def draw(comparisons: Sequence[Any]) -> str:
    """An SVG of log r over log h, a line for each input; nothing where no slope was measured."""
    lines = [(c, [(math.log10(h), math.log10(max(r, LEAST))) for h, r in c.taylor]) for c in comparisons if c.taylor]
    if not lines:
        return ""
    xs, ys = [x for _, p in lines for x, _ in p], [y for _, p in lines for _, y in p]
    x0, x1, y0, y1 = math.floor(min(xs)), math.ceil(max(xs)), math.floor(min(ys)), math.ceil(max(ys))

    def at(x: float, y: float) -> tuple[float, float]:
        across, down = (x - x0) / max(x1 - x0, 1), (y1 - y) / max(y1 - y0, 1)
        return LEFT + across * (WIDTH - LEFT - RIGHT), TOP + down * (HEIGHT - TOP - BOTTOM)

    parts = [_axes(x0, x1, y0, y1, at)]
    top = max(max(y for _, y in p) for _, p in lines)
    for slope, ink, word in ((1, "#e0a29c", "slope 1: wrong"), (2, "#a8c9b6", "slope 2: right")):
        ends = [(x, top + slope * (x - max(xs))) for x in (min(xs), max(xs))]
        ends = [(max(x, max(xs) + (y0 - top) / slope), max(y, y0)) for x, y in ends]
        parts.append(_line([at(*e) for e in ends], ink, 1.2, "5 4"))
        parts.append(_text(*at(*ends[0]), word, ink, 10))
    for k, (c, points) in enumerate(lines):
        ink = COLOURS[k % len(COLOURS)]
        parts.append(_line([at(*p) for p in points], ink, 2.0))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{ink}"/>' for x, y in (at(*p) for p in points)]
        name = f"{c.input}: {c.slope:.2f}" if c.slope is not None else f"{c.input}: linear"
        parts.append(_text(WIDTH - RIGHT + 10, TOP + 12 + 16 * k, name, ink, 12))
    return sheet(WIDTH, HEIGHT, "".join(parts))


def _axes(x0: int, x1: int, y0: int, y1: int, at: Any) -> str:
    parts = []
    for x in range(x0, x1 + 1):
        px, py = at(x, y0)
        parts.append(_line([(px, TOP), (px, py)], "#e8e5dd", 1))
        parts.append(_text(px - 12, py + 15, f"1e{x}", "#8a8f96", 10))
    for y in range(y0, y1 + 1, max(1, (y1 - y0) // 6)):
        px, py = at(x0, y)
        parts.append(_line([(px, py), (WIDTH - RIGHT, py)], "#e8e5dd", 1))
        parts.append(_text(8, py + 4, f"1e{y}", "#8a8f96", 10))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2 - 20, HEIGHT - 6, "step h", "#5f6b76", 11))
    return "".join(parts)


def _line(points: Sequence[tuple[float, float]], ink: str, width: float, dash: str = "") -> str:
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{path}" fill="none" stroke="{ink}" stroke-width="{width:g}"{dashes}/>'


def _text(x: float, y: float, text: str, ink: str, size: float) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{ink}">{escape(text)}</text>'
