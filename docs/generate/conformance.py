"""What is held to what: the Python array API by name, and each op by what its record lets the tests check."""

from __future__ import annotations

import engine
from engine.op import ElementwiseOp, Op

from .ops import sections

# The functions of the Python array API standard, 2024.12, as its specification lists them.
ARRAY_API = {
    "creation": """arange asarray empty empty_like eye from_dlpack full full_like linspace meshgrid ones ones_like tril
        triu zeros zeros_like""",
    "data types": "astype can_cast finfo iinfo isdtype result_type",
    "elementwise": """abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_invert
        bitwise_or bitwise_right_shift bitwise_xor ceil clip conj copysign cos cosh divide equal exp expm1
        floor floor_divide greater greater_equal hypot imag isfinite isinf isnan less less_equal log log1p
        log2 log10 logaddexp logical_and logical_not logical_or logical_xor maximum minimum multiply
        negative nextafter not_equal positive pow real reciprocal remainder round sign signbit sin sinh
        square sqrt subtract tan tanh trunc""",
    "indexing": "take take_along_axis",
    "linear algebra": "matmul matrix_transpose tensordot vecdot",
    "manipulation": """broadcast_arrays broadcast_to concat expand_dims flip moveaxis permute_dims repeat reshape roll
        squeeze stack tile unstack""",
    "searching": "argmax argmin count_nonzero nonzero searchsorted where",
    "sets": "unique_all unique_counts unique_inverse unique_values",
    "sorting": "argsort sort",
    "statistics": "cumulative_prod cumulative_sum max mean min prod std sum var",
    "utilities": "all any diff",
}

EACH = """What the tests hold each op to, from its record. *Definition*: elementwise ops within so many units in the
last place (ulp) of their equation at 50 digits, the others against plain loops. *Derivative*: against
differences and, for formulas, the symbolic derivative; an error of 0.1 % planted in it must be caught. The
last columns count what else is listed there and tested: special values, points where the derivative jumps,
laws, bad calls."""


def conformance() -> str:
    out = ["# Conformance", "", "## The Python array API", ""]
    out += ["By name, of the [standard](https://data-apis.org/array-api/2024.12/)'s functions.", ""]
    out += ["| part | there | missing |", "|---|---|---|"]
    for part, names in ARRAY_API.items():
        missing = [n for n in names.split() if not hasattr(engine, n)]
        there = len(names.split()) - len(missing)
        out.append(f"| {part} | {there} of {len(names.split())} | {', '.join(f'`{n}`' for n in missing)} |")
    out += ["", "## Each op", "", EACH, ""]
    head = "| op | definition | derivative | special values | kinks | invariants | errors |"
    out += [head, "|" + "---|" * 7]
    out += [_row(op) for found in sections().values() for op in found]
    return "\n".join([*out, ""])


def _row(op: Op) -> str:
    note = op.note
    held = f"{note.ulps} ulp" if isinstance(op, ElementwiseOp) else "plain loops" if note.definition else "reference"
    counts = [len(x) or "" for x in (note.special, note.kinks, note.invariants, note.errors)]
    derivative = "first and second order" if op.differentiable else ""
    return f"| [{op.name}](ops/{op.name}.md) | {held} | {derivative} | {' | '.join(map(str, counts))} |"
