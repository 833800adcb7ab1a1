"""The timeline of a trace, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .given import escape
from .numbers import digits
from .sheet import sheet

if TYPE_CHECKING:
    from .trace import Event

BAR, LEFT = 20.0, 10.0
MOST = 4000  # bars; of more events the longest are drawn


def draw(events: Sequence[Event], width: float) -> str:
    """One row for each depth of nesting, a bar for each call, backward paler; a scale of milliseconds below."""
    from .trace import colour_of

    end = max((e.end for e in events), default=1e-6)
    start = min((e.start for e in events), default=0.0)
    deepest = max((e.depth for e in events), default=0)
    threads = {t: k for k, t in enumerate(dict.fromkeys(e.thread for e in events))}
    scale = (width - 2 * LEFT) / max(end - start, 1e-9)
    rows = (deepest + 1) * max(len(threads), 1)
    parts = []
    for e in sorted(events, key=lambda e: -e.seconds)[:MOST]:
        x, w = LEFT + (e.start - start) * scale, max(e.seconds * scale, 0.6)
        y = 8 + (threads[e.thread] * (deepest + 1) + e.depth) * (BAR + 3)
        told = f"{e.op}, {e.phase}: {digits(1e3 * e.seconds)} ms, {digits(e.bytes / 1024)} KiB, {e.result}"
        fade = 0.95 if e.phase == "forward" else 0.55
        parts.append(
            f'<rect x="{x:.2f}" y="{y:.1f}" width="{w:.2f}" height="{BAR:g}" rx="2" fill="{colour_of(e.record)}" '
            f'fill-opacity="{fade}"><title>{escape(told)}</title></rect>'
        )
        if w > 7 * len(e.op) + 6:
            ink = "#fff" if e.phase == "forward" else "#1d2228"
            parts.append(
                f'<text x="{x + 4:.1f}" y="{y + 14:.1f}" font-size="11" fill="{ink}" pointer-events="none">'
                f"{escape(e.op)}</text>"
            )
    bottom = 8 + rows * (BAR + 3)
    for k in range(6):
        x = LEFT + (width - 2 * LEFT) * k / 5
        anchor = "start" if k == 0 else "end" if k == 5 else "middle"
        parts.append(f'<path d="M{x:.1f} 4V{bottom + 4:.1f}" stroke="#e3e0d8"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 17:.1f}" font-size="11" fill="#8a8f96" text-anchor="{anchor}">'
            f"{digits(1e3 * (end - start) * k / 5)} ms</text>"
        )
    lines = [p for p in parts if p.startswith("<path")]
    rest = [p for p in parts if not p.startswith("<path")]
    return sheet(width, bottom + 24, "".join([*lines, *rest]))
