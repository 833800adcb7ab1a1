"""The paper of an SVG drawing."""

from __future__ import annotations


def sheet(width: float, height: float, body: str) -> str:
    """A drawing of this size in pixels; where there is less room it is shown smaller, never cut."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" style="max-width:100%;height:auto" '
        "font-family=\"system-ui, 'DejaVu Sans', sans-serif\">"
        f'<rect width="100%" height="100%" rx="8" fill="#fbfaf7"/>{body}</svg>'
    )
