"""One op on a page: what its record says, put together once for the terminal (`python -m engine.ops`) and the docs."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import engine

from ..elementwise import ElementwiseOp
from ..gradcheck import Report, check_op
from ..record import Op

ROOT = Path(engine.__file__).parent.parent


@dataclass(frozen=True)
class Page:
    """What there is to say of an op; what it does not have is empty."""

    name: str
    section: str  # the file it stands in: "activation"
    kind: str  # "elementwise", "structural" or "composite"
    call: str  # sigmoid(x)
    doc: str  # the docstring of a structural op
    equation: str  # LaTeX
    shapes: str  # the shape language
    derivative: tuple[str, ...]  # LaTeX, one line an input
    rule: str  # the vjp of a structural op, as it runs
    stable: str  # LaTeX
    why: str
    domain: tuple[tuple[str, str], ...]  # (input, where it is tested)
    special: tuple[tuple[str, str], ...]  # (point, value)
    kinks: tuple[tuple[str, str], ...]  # (point, gradient)
    errors: tuple[str, ...]  # messages, as raised
    equations: tuple[str, ...]  # the documents' numbers
    source: str
    where: str  # engine/ops/activation.py:123
    ulps: int  # elementwise: the tested bound in float64


def page(op: Op) -> Page:
    """What the record of an op says."""
    pointwise = isinstance(op, ElementwiseOp)
    rule = getattr(op, "rule", None)
    note = op.note
    return Page(
        name=op.name,
        section=Path(op.file).stem,
        kind="elementwise" if pointwise else "composite" if not hasattr(op, "rule") else "structural",
        call=_call(op),
        doc="" if pointwise else inspect.cleandoc(op.__doc__ or ""),
        equation=op.latex,
        shapes="" if op.signature is None else op.signature.text,
        derivative=_derivative(op),
        rule="" if rule is None else _code(rule),
        stable=_stable(op),
        why=note.why,
        domain=tuple((n, _domain(d)) for n, d in zip(getattr(op, "inputs", ()), note.domain, strict=False)),
        special=tuple((f"{op.name}{_point(x)}", str(y)) for x, y in note.special.items()),
        kinks=tuple((_point(k.at), ", ".join(f"{g:g}" for g in k.gradient)) for k in note.kinks if k.at is not None),
        errors=tuple(_message(op, bad) for bad, _ in note.errors),
        equations=tuple(note.equations),
        source=note.source,
        where=f"{_relative(Path(op.file))}:{op.line}",
        ulps=note.ulps if pointwise else 0,
    )


def check(op: Op) -> Report | None:
    """A gradient check of the op as it stands, or None where there is nothing to check."""
    checkable = op.differentiable and (op.note.samples is not None or isinstance(op, ElementwiseOp))
    return check_op(op) if checkable else None


# ------------------------------------------------------------------------------------------------ words
def _derivative(op: Op) -> tuple[str, ...]:
    return tuple(map(op.derivative_latex, range(len(op.inputs)))) if isinstance(op, ElementwiseOp) else ()


def _stable(op: Op) -> str:
    return f"y = {op.stable.latex()}" if isinstance(op, ElementwiseOp) and op.atom.forward is not None else ""


def _call(op: Op) -> str:
    if isinstance(op, ElementwiseOp):
        return f"{op.name}({', '.join((*op.inputs, *(f'{k}={v!r}' for k, v in op.params.items())))})"
    signature = inspect.signature(getattr(op, "body"))  # noqa: B009  (an op of neither kind has none)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return f"{op.name}{inspect.Signature(bare)}"


def _code(function: Any) -> str:
    """Source text without what only type checkers read."""
    text = textwrap.dedent(inspect.getsource(function)).rstrip()
    return "\n".join(line.split("  # type: ignore")[0] for line in text.splitlines())


def _domain(d: Any) -> str:
    if d.kind == "bool":
        return "truth values"
    return f"{d.lo:g} to {d.hi:g}" + (", whole numbers" if d.kind == "integer" else "")


def _point(x: object) -> str:
    return str(x) if isinstance(x, tuple) and len(x) > 1 else f"({x[0] if isinstance(x, tuple) else x})"


def _message(op: Op, bad: Any) -> str:
    """What the op says to a call that is wrong."""
    try:
        with np.errstate(all="ignore"):
            bad(op)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError(f"{op.name}: a call that its record says is wrong went through")


def _relative(path: Path) -> str:
    """The file as seen from where engine/ stands; a user's own op keeps its full path."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
