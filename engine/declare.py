"""How an elementwise op is written: `elementwise(...)` takes its formula, its stable form and its derivative."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import expr
from .arity import BinaryOp, UnaryOp
from .elementwise import ElementwiseOp
from .expr import ATOMS, Atom, Sym
from .formula import Formula
from .record import OPS, Note, refuse_second
from .samples import Domain, Kink, real


def elementwise(
    name: str,
    definition: Callable[..., Any] | None = None,
    *,
    forward: Callable[..., Any] | None = None,
    vjp: Sequence[Callable[..., Any] | None] | None = None,
    params: Mapping[str, Any] | None = None,
    inputs: str = "x",
    native: str | None = None,
    numpy: str | None = None,
    mpmath: str | None = None,
    cuda: str | None = None,
    latex: str | None = None,
    precedence: int = 9,
    result: str = "float",
    condition: str = "",
    domain: Domain | Sequence[Domain] = real,
    special: Mapping[Any, Any] | None = None,
    kinks: Sequence[Kink] = (),
    invariants: Sequence[Callable[..., Any]] = (),
    errors: Sequence[tuple[Callable[..., Any], str]] = (),
    ulps: int = 8,
    why: str = "",
    source: str = "",
    equations: tuple[str, ...] = (),
) -> ElementwiseOp:
    """Register an elementwise op: the one place where it is written.

    definition  the textbook formula, of symbols named as the lambda's parameters; keyword-only ones are `params` (plain
                numbers with the defaults given). A primitive has none: `inputs` names its arguments, and `native` (or
                `numpy`, `mpmath`, `cuda` where they differ) says what the targets call it: a template ("{0} + {1}") or
                a function's name ("np.exp").
    forward     the same function in a numerically stable form, and `why`
    vjp         one rule (g, *inputs, y, **params) -> cotangent per input; None: not differentiable in that input. Left
                out, it is the symbolic derivative of the definition.
    result      "float": integers become the default float; "number": integers stay, booleans count as integers; "any":
                every dtype stays; "bool"; "integer": floats are refused
    condition   the name of an input that is a truth value
    domain      where draws come from, one for all inputs or one each; `kinks` are kept away from and tested by value
    ulps        how far `forward` may be from the definition, in float64 units in the last place over the domain
    special     {x or (x1, x2): y}: values met exactly
    """
    refuse_second(name)  # before anything of the first is touched
    if definition is not None:
        signature = inspect.signature(definition).parameters.values()
        names = tuple(p.name for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD)
        keywords = tuple(p.name for p in signature if p.kind is p.KEYWORD_ONLY)
    else:
        names, keywords = tuple(inputs.split()), tuple(params or {})
    defaults = {k: (params or {})[k] for k in keywords}
    if vjp is None:
        vjp = (
            []
            if result in ("bool", "integer") or definition is None
            else [_symbolic_rule(definition, i) for i in range(len(names))]
        )
    arguments = ", ".join(f"{{{i}}}" for i in range(len(names) + len(keywords)))
    atom = Atom(
        name=name,
        numpy=_template(numpy or native, arguments),
        mpmath=_template(mpmath or native, arguments),
        cuda=_template(cuda or native, arguments),
        latex=latex if latex is not None else rf"\operatorname{{{{{_latex_name(name)}}}}}\left({arguments}\right)",
        precedence=precedence,
        boolean=result == "bool",
        definition=definition,
        forward=forward,
        vjp=tuple(vjp),
        params=keywords,
    )
    ATOMS[name] = atom
    domains = (domain,) * len(names) if isinstance(domain, Domain) else tuple(domain)
    note = Note(
        why=why, source=source, equations=equations, special=special or {}, kinks=kinks, invariants=invariants,
        domain=domains, errors=errors, ulps=ulps,
    )  # fmt: skip
    kind = {1: UnaryOp, 2: BinaryOp}.get(len(names), ElementwiseOp)
    return kind(name, note, atom, names, defaults, result, condition)


def _template(word: str | None, arguments: str) -> str | None:
    return word if word is None or "{" in word else f"{word}({arguments})"


def _latex_name(name: str) -> str:
    return name.replace("_", r"\_")


def _symbolic_rule(definition: Callable[..., Any], i: int) -> Callable[..., Any]:
    """g · ∂y/∂x_i, differentiated once on symbols and then run on whatever comes."""
    traced = Formula.trace(definition)
    names = [n for n in traced.inputs if n not in traced.params]
    derivative = traced.derivative(i)

    def rule(g: Any, *xs: Any, **params: Any) -> Any:
        values = dict(zip(names, xs, strict=False)) | params
        return g * evaluate(derivative, values)

    return rule


def evaluate(formula: Formula, values: Mapping[str, Any], literal: Callable[[Any], Any] = lambda v: v) -> Any:
    """A formula's first result by calling the ops themselves, on tensors or symbols; `literal` makes its numbers."""
    done: dict[Sym, Any] = {}
    for e in expr.topological(formula.outs):
        if e.name == "var":
            done[e] = values[e.args[0]]
        elif e.name == "const":
            done[e] = literal(e.args[0])
        else:
            done[e] = OPS[e.name](*(done[a] for a in e.args))
    return done[formula.outs[0]]
