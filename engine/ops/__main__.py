"""python -m engine.ops [NAME ...]: an op, its equation, derivative, stable form and why, where it stands; checked live.

Without a name, the list of all ops.
"""

from __future__ import annotations

import sys

from ..errors import near
from ..op import OPS, Op
from ..view.page import check, page


def describe(op: Op) -> str:
    """What the record says, and a live gradient check."""
    p = page(op)
    lines = [p.name, "", "definition", f"    {p.equation or '(made of other ops)'}"]
    if p.shapes:
        lines += ["shapes", f"    {p.shapes}"]
    if p.derivative:
        lines += ["derivative", *(f"    {line}" for line in p.derivative)]
    if p.rule:
        lines += ["derivative, as it runs", *(f"    {line}" for line in p.rule.splitlines())]
    if p.stable:
        lines += ["stable form", f"    {p.stable}"]
    if p.why:
        lines += ["why", f"    {p.why}"]
    if p.special:
        lines += ["special values", *(f"    {point} = {value}" for point, value in p.special)]
    if p.kinks:
        lines += ["kinks", *(f"    at {point}: gradient {gradient}" for point, gradient in p.kinks)]
    if p.equations:
        lines += ["in the documents", f"    {', '.join(p.equations)}"]
    if p.source:
        lines += ["source", f"    {p.source}"]
    lines += ["written at", f"    {p.where}"]
    report = check(op)
    if report is not None:
        lines += ["live", *(f"    {line}" for line in str(report).splitlines() if not line.startswith(f"  {op.latex}"))]
    elif p.doc:
        lines += ["", p.doc]
    return "\n".join(lines)


def main(names: list[str]) -> int:
    if not names:
        print("\n".join(sorted(OPS)))
        return 0
    for i, name in enumerate(names):
        if name not in OPS:
            hint = near(name, OPS) or "; python -m engine.ops lists them all"
            print(f"there is no op '{name}'{hint}", file=sys.stderr)
            return 2
        print(("\n" if i else "") + describe(OPS[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
