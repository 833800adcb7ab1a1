"""Why a kernel is slower than PyTorch's, for docs/performance.md: of "op direction size", "op direction" or "op"."""

from __future__ import annotations

VIEW = "a view: nothing is computed, the row is the cost of a call"

REASONS: dict[str, str] = {
    "positive": "PyTorch gives the same tensor back, here it is a copy: a result never shares memory unless it says so",
    "diagonal": "PyTorch gives a view, here the numbers are gathered",
    "split": VIEW,
    "unstack": VIEW,
    "expand_dims": VIEW,
    "squeeze": VIEW,
    "reshape": VIEW,
    "moveaxis": VIEW,
    "swapaxes": VIEW,
    "permute_dims": VIEW,
    "matrix_transpose": VIEW,
    "broadcast_to": VIEW,
    "broadcast_arrays": VIEW,
}


def reason(op: str, direction: str, size: str) -> str:
    for key in (f"{op} {direction} {size}", f"{op} {direction}", op):
        if key in REASONS:
            return REASONS[key]
    return ""
