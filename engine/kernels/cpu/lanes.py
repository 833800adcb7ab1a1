"""A formula in the words that SIMD lanes have.

    lower(formula)     the formula in words that have instructions (`lane_words.WORDS`), or None if it has no such form

An op that `lane_forms` knows takes its form from there, the sharpest for the range in which its argument lies. Any
other is what its record says: its stable form, of other ops.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.expr import ATOMS, Sym, call_with_params, inputs_of, lift, make, topological
from engine.formula import Formula

from .lane_forms import FORMULAS, SHARPER, Range, range_of
from .lane_words import BITWISE, BOOLEAN, SHIFTS, WORDS

LEAVES = ("var", "const")


def lower(formula: Formula, done: Lowered | None = None) -> Formula | None:
    """The same formula in `WORDS` only: ops with lane mathematics become it, ops made of others become those.

    Formulas that share subexpressions are lowered faster with one `done` for all.
    """
    done = Lowered() if done is None else done
    try:
        return Formula(formula.inputs, tuple(done.take(formula.outs)), formula.params)
    except LookupError:
        return None


class Lowered:
    """Nodes in `WORDS`, and the range in which a node's values lie."""

    def __init__(self) -> None:
        self.forms: dict[Sym, Sym] = {}
        self.ranges: dict[Sym, Range] = {}

    def take(self, outs: Sequence[Sym]) -> list[Sym]:
        for e in topological(outs):
            if e not in self.forms:
                self.forms[e] = self._form(e)
                self.ranges[e] = range_of(e, [self.ranges[a] for a in e.args] if e.name not in LEAVES else [])
        return [self.forms[e] for e in outs]

    def _form(self, e: Sym) -> Sym:
        if e.name in LEAVES:
            return e
        args = [self.forms[a] for a in e.args]
        if e.name in FORMULAS:
            for lo, hi, formula in SHARPER.get(e.name, ()):
                if lo <= self.ranges[e.args[0]][0] and self.ranges[e.args[0]][1] <= hi:
                    return formula(*args)
            return lift(FORMULAS[e.name](*args))
        if e.name in WORDS:
            return make(e.name, *args)
        atom = ATOMS[e.name]
        expansion = atom.forward or (None if atom.numpy else atom.definition)
        if expansion is None:  # a primitive that only NumPy knows
            raise LookupError(e.name)
        return self.take([lift(call_with_params(expansion, atom, inputs_of(atom, e.args), e.args))])[0]


def words_of(formula: Formula) -> int:
    """How many instructions (or a few) an element takes."""
    return sum(e.name in WORDS for e in topological(formula.outs))


def kinds_of(formula: Formula, kinds: Sequence[str]) -> list[str]:
    """What the outputs are, given what the inputs are: "f" float32, "?" truth values, or whole numbers such as "i"."""
    inputs = dict(zip(formula.inputs, kinds, strict=True))
    kind: dict[Sym, str] = {}
    for e in topological(formula.outs):
        if e.name == "var":
            kind[e] = inputs[e.args[0]]
        elif e.name == "const":
            kind[e] = "?" if isinstance(e.args[0], bool) else "f"
        elif e.name == "where":
            kind[e] = "?" if kind[e.args[1]] == kind[e.args[2]] == "?" else "f"
        elif e.name in BITWISE:
            kind[e] = kind[e.args[0]]
        else:
            kind[e] = "?" if e.name in BOOLEAN else "f"
    return [kind[e] for e in formula.outs]


def takes(formula: Formula, kinds: Sequence[str]) -> bool:
    """Can a formula in `WORDS` be computed on these? On whole numbers of one kind where it is all about their bits."""
    words = {e.name for e in topological(formula.outs) if e.name not in LEAVES}
    if not words & BITWISE:
        return all(kind in "?f" for kind in kinds)
    (kind, *others) = set(kinds)
    return not others and words <= BITWISE and kind != "f" and not (words & SHIFTS and kind in "?BHILQ")
