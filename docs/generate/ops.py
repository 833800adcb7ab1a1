"""The page of an op, from its record."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.op import OPS, ElementwiseOp, Op
from engine.tensor import Tensor
from engine.view import view
from engine.view.page import ROOT, Page, check, page

from .docstrings import markdown, summary
from .examples import example, parts
from .pictures import picture
from .speed import speed


def op_page(op: Op) -> str:
    """Markdown. The example runs when the site is built."""
    p = page(op)
    out = [f"# {p.name}", "", *formula(p.equation), *_opening(p), "```{.python .no-run}", f"engine.{p.call}", "```", ""]
    out += ["## Example", "", "```python", example(op), "```", ""]
    out += ["## Picture", "", *_drawings(op)]
    out += _gradient(op, p)
    if p.stable:
        out += ["## Stable form", "", *formula(p.stable), f"{p.why[0].upper()}{p.why[1:]}.", ""]
    elif p.why:
        out += ["## Why it is written so", "", f"{p.why[0].upper()}{p.why[1:]}.", ""]
    out += ["## Shapes", "", _shapes(p), ""]
    out += table("Special values", "at", "value", [(f"`{a}`", f"`{b}`") for a, b in p.special])
    out += table("Where the derivative jumps", "at", "gradient", [(f"`{a}`", f"`{b}`") for a, b in p.kinks])
    if p.errors:
        out += ["## Errors", "", "```{.text .wrap}", *p.errors, "```", ""]
    out += ["## Checked", "", *_checked(op, p)]
    out += ["## Speed", "", *speed(p.name), ""]
    if p.equations:
        out += ["## In the documents", "", f"Equation {', '.join(p.equations)} of [the table](../equations.md).", ""]
    if p.source:
        out += ["## Source", "", f"{p.source}.", ""]
    out += [f'??? note "The record: {p.where}"', "", "    ```{.python .no-run}"]
    out += [f"    {line}".rstrip() for line in entry(op).splitlines()]
    return "\n".join([*out, "    ```", ""])


def sections() -> dict[str, list[Op]]:
    """Our ops by the file they stand in, in the order in which they stand there."""
    found: dict[str, list[Op]] = {}
    for op in OPS.values():
        if Path(op.file).is_relative_to(ROOT / "engine"):
            found.setdefault(Path(op.file).stem, []).append(op)
    return found


def index() -> str:
    """All ops with their equations, file by file."""
    out = ["# Ops", "", f"{sum(map(len, sections().values()))} operations, each written in one place.", ""]
    for name, ops in sections().items():
        module = ast.get_docstring(ast.parse(Path(ops[0].file).read_text())) or ""
        out += [f"## {name}", "", summary(module), "", "| op | equation |", "|---|---|"]
        out += [f"| [{op.name}]({op.name}.md) | ${op.latex.replace('|', chr(92) + 'vert ').rstrip()}$ |" for op in ops]
        out += [""]
    return "\n".join(out)


def formula(latex: str) -> list[str]:
    return ["$$", latex, "$$", ""] if latex else []


def table(title: str, left: str, right: str, rows: list[tuple[str, str]]) -> list[str]:
    """A section with a table of two columns, or nothing."""
    if not rows:
        return []
    return [f"## {title}", "", f"| {left} | {right} |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows), ""]


# ------------------------------------------------------------------------------------------------ parts of a page
def _opening(p: Page) -> list[str]:
    """What a structural op's docstring says; the equation stands above already."""
    if not p.doc:
        return ["Elementwise; inputs broadcast against each other.", ""]
    return [re.sub(r"\n\$\$\n.*?\n\$\$\n", "", markdown(p.doc), flags=re.S), ""]


def _shapes(p: Page) -> str:
    if p.shapes:
        return f"`{p.shapes}`" + (
            "; `*B` is any number of leading axes, `*R` the shape that results" if "*" in p.shapes else ""
        )
    where = "; ".join(f"`{name}` from {span}" for name, span in p.domain)
    return f"Any shapes that broadcast; the result has their broadcast shape. Tested on {where}."


def _gradient(op: Op, p: Page) -> list[str]:
    if not op.differentiable:
        return ["## Gradient", "", "None: the result does not change in a way that has a derivative.", ""]
    out = ["## Gradient", ""]
    for line in p.derivative:
        out += formula(line)
    if p.rule:
        out += ["As it runs; `g` is the cotangent of the result:", "", "```{.python .no-run}", p.rule, "```", ""]
    elif not p.derivative:
        out += ["It is made of other ops, so its gradient follows by the chain rule.", ""]
    return out


def _checked(op: Op, p: Page) -> list[str]:
    out = []
    if p.ulps:
        out = [f"Within {p.ulps} units in the last place of the definition at 50 digits, in float64.", ""]
    report = check(op)
    if report is None:
        return out or ["Against its definition on generated inputs.", ""]
    out += ["Backward beside central differences, in float64, as this page was built:", ""]
    out += ["| input | order | backward | differences | relative error |", "|---|---|---|---|---|"]
    for c in report.comparisons:
        error = c.error / max(abs(c.numeric), 1e-300)
        out.append(f"| {c.input} | {c.order} | {c.analytic:.9g} | {c.numeric:.9g} | {error:.1e} |")
    return [*out, ""]


def _drawings(op: Op) -> list[str]:
    """Elementwise: the function and its derivative. Else the Jacobian and the graph of the example."""
    inputs, names, call = example_call(op)
    svg = picture(op, lambda: (inputs, names, call))
    out = [f'<div class="picture" data-search-exclude>{svg}</div>', ""] if svg else []
    if svg and isinstance(op, ElementwiseOp):
        return out
    y = call(*inputs)
    y = next((t for t in y if t.node), y[0]) if isinstance(y, (tuple, list)) else y
    if y.node is None:
        return out
    plain = isinstance(op, ElementwiseOp) or y.ndim == 0
    cotangent = np.ones(y.shape, y.dtype) if plain else 2 * y.numpy()  # as in the example
    graph = view(y, names=dict(zip(names, inputs, strict=True)), gradient=cotangent).svg(backward=True)
    return [*out, f'<div class="picture" data-search-exclude>{graph}</div>', ""]


def example_call(op: Op) -> tuple[list[Tensor], list[str], Callable[..., Any]]:
    """The floating inputs of the example, their names, and the call as a function of them."""
    inputs, call = parts(op)
    values: dict[str, Any] = {"engine": engine}
    for name, text in inputs:
        values[name] = eval(text, values)
    names = [n for n, text in inputs if "requires_grad" in text] if op.differentiable else []
    return (
        [values[n] for n in names],
        names,
        lambda *xs: eval(f"engine.{call}", values | dict(zip(names, xs, strict=True))),
    )


@cache
def _tree(file: str) -> tuple[list[str], list[ast.stmt]]:
    text = Path(file).read_text()
    return text.splitlines(), ast.parse(text).body


def entry(op: Op) -> str:
    """The lines that make the op: its record, and its vjp if that stands apart."""
    lines, body = _tree(op.file)

    def first(node: Any) -> int:
        return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])

    found = [n for n in body if first(n) <= op.line <= (n.end_lineno or 0)]
    rule = getattr(op, "rule", None)
    if rule is not None and rule.__code__.co_filename == op.file:
        at = rule.__code__.co_firstlineno
        found += [n for n in body if first(n) <= at <= (n.end_lineno or 0) and n not in found]
    return "\n\n\n".join("\n".join(lines[first(n) - 1 : n.end_lineno]) for n in found)
