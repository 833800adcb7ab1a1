"""python -m engine.ops [NAME ...]: an op, its equation, derivative, stable form and why, where it stands; checked live.

Without a name, the list of all ops.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from difflib import get_close_matches
from pathlib import Path

import engine

from ..gradcheck import check_op
from ..op import OPS, ElementwiseOp, Op


def describe(op: Op) -> str:
    """What the record says, and a live gradient check."""
    path = Path(op.file)
    lines = [f"{op.name}", ""]
    if isinstance(op, ElementwiseOp):
        lines += ["definition", f"    {op.latex}"]
        lines += ["derivative", *(f"    {op.derivative_latex(i)}" for i in range(len(op.inputs)))]
        if op.atom.forward is not None:
            lines += ["stable form", f"    y = {op.stable.latex()}"]
    else:
        lines += ["definition", f"    {op.latex or '(made of other ops)'}"]
        if op.signature is not None:
            lines += ["shapes", f"    {op.signature.text}"]
        rule = getattr(op, "rule", None)
        if rule is not None:
            code = textwrap.dedent(inspect.getsource(rule)).splitlines()
            lines += ["derivative, as it runs", *(f"    {line}" for line in code)]
    if op.note.why:
        lines += ["why", f"    {op.note.why}"]
    if op.note.special:
        lines += ["special values", *(f"    {op.name}{_point(x)} = {y}" for x, y in op.note.special.items())]
    if op.note.kinks:
        points = [k for k in op.note.kinks if k.at is not None]
        lines += [
            "kinks",
            *(f"    at {_point(k.at)}: gradient {', '.join(f'{g:g}' for g in k.gradient)}" for k in points),
        ]
    if op.note.equations:
        lines += ["in the documents", f"    {', '.join(op.note.equations)}"]
    if op.note.source:
        lines += ["source", f"    {op.note.source}"]
    lines += ["written at", f"    {_relative(path)}:{op.line}"]
    if op.differentiable and (op.note.samples or isinstance(op, ElementwiseOp)):
        lines += [
            "live",
            *(f"    {line}" for line in str(check_op(op)).splitlines() if not line.startswith(f"  {op.latex}")),
        ]
    elif not isinstance(op, ElementwiseOp) and op.__doc__:
        lines += ["", inspect.cleandoc(op.__doc__)]
    return "\n".join(lines)


def _relative(path: Path) -> str:
    """The file as seen from where engine/ stands; a user's own op keeps its full path."""
    root = Path(engine.__file__).parent.parent
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _point(x: object) -> str:
    return str(x) if isinstance(x, tuple) and len(x) > 1 else f"({x[0] if isinstance(x, tuple) else x})"


def main(names: list[str]) -> int:
    if not names:
        print("\n".join(sorted(OPS)))
        return 0
    for i, name in enumerate(names):
        if name not in OPS:
            near = get_close_matches(name, OPS, 3)
            hint = f"; did you mean {', '.join(near)}?" if near else "; python -m engine.ops lists them all"
            print(f"there is no op '{name}'{hint}", file=sys.stderr)
            return 2
        print(("\n" if i else "") + describe(OPS[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
