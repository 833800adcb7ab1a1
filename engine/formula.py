"""A formula and what it becomes: NumPy, mpmath, CUDA C, LaTeX, its own derivative.

f = Formula.trace(lambda x: 1 / (1 + exp(-x)))
f.latex()        \\frac{1}{1 + e^{-x}}
f.numpy(dtype)   a function of arrays
f.mpmath()       a function of 50-digit numbers, the oracle of the tests
f.cuda()         its lines in CUDA C++; engine/kernels/cuda/elementwise.py makes kernels of them
f.derivative(0)  the formula of dy/dx, by the chain rule
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .expr import ATOMS, Sym, expand, lift, make, number, rewrite, topological, var, vjp
from .forks import cached_property


def _straight_line(
    outs: Sequence[Sym], target: str, literal: Callable[[Any], str]
) -> tuple[list[tuple[str, str, bool]], list[str]]:
    """A temporary for every node used more than once: [(name, text, is boolean)], and the texts of outs."""
    outs = expand(outs, target)
    order = topological(outs)
    uses: dict[Sym, int] = {}
    for e in order:
        for a in e.args:
            if isinstance(a, Sym):
                uses[a] = uses.get(a, 0) + 1
    for e in outs:
        uses[e] = uses.get(e, 0) + 1
    text: dict[Sym, str] = {}
    lines: list[tuple[str, str, bool]] = []
    for e in order:
        if e.name == "var":
            text[e] = _variable(e.args[0])
        elif e.name == "const":
            text[e] = literal(e.args[0])
        else:
            atom = ATOMS[e.name]
            s = getattr(atom, target).format(*(text[a] for a in e.args))
            if uses[e] > 1:
                text[e] = f"t{len(lines)}"
                lines.append((text[e], s, atom.boolean))
            else:
                text[e] = f"({s})"
    return lines, [text[e] for e in outs]


def _variable(name: str) -> str:
    """An input in generated code, where no temporary, constant or module has its name."""
    return f"x_{name}"


def numpy_source(inputs: Sequence[str], outs: Sequence[Sym]) -> str:
    """Source of `bind(T)`, which gives the function for the scalar type T with its literals made once."""
    constants: dict[str, str] = {}

    def literal(v: Any) -> str:
        if isinstance(v, bool):
            return str(v)
        if v != v or v in (math.inf, -math.inf):
            value = "T(np.nan)" if v != v else "T(np.inf)" if v > 0 else "T(-np.inf)"
        else:
            value = f"T({v!r})"
        return constants.setdefault(value, f"c{len(constants)}")

    lines, results = _straight_line(outs, "numpy", literal)
    made = "".join(f"    {name} = {value}\n" for value, name in constants.items())
    body = "".join(f"        {t} = {s}\n" for t, s, _ in lines)
    head = f"def bind(T):\n{made}    def formula({', '.join(map(_variable, inputs))}):\n"
    return f"{head}{body}        return {', '.join(results)}\n    return formula\n"


# Atoms that may warn inside an arm that where() does not take, or on values whose IEEE result is meant (log 0 = -inf).
_QUIET = {"negative", "abs", "where", "less", "less_equal", "greater", "greater_equal"}
_QUIET |= {"equal", "not_equal", "maximum", "minimum", "sign", "copysign", "logical_and", "logical_or", "logical_not"}
_QUIET |= {"logical_xor", "bitwise_invert", "bitwise_and", "bitwise_or", "bitwise_xor"}
_QUIET |= {"bitwise_left_shift", "bitwise_right_shift"}


@dataclass(frozen=True, eq=False)
class Formula:
    """Named inputs and the scalars computed of them; `params` names the inputs that arrive as plain numbers."""

    inputs: tuple[str, ...]
    outs: tuple[Sym, ...]
    params: tuple[str, ...] = ()

    @classmethod
    def trace(cls, f: Callable[..., Any], *, inputs: Sequence[str] | None = None) -> Formula:
        """Run f on symbols named as its parameters; keyword-only parameters come last and are `params`."""
        signature = inspect.signature(f).parameters.values()
        names = tuple(inputs or (p.name for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD))
        params = tuple(p.name for p in signature if p.kind is p.KEYWORD_ONLY)
        out = f(*map(var, names), **{p: var(p) for p in params})
        outs = out if isinstance(out, (tuple, list)) else (out,)
        return cls(names + params, tuple(lift(o) for o in outs), params)

    @cached_property
    def used(self) -> frozenset[str]:
        """The inputs that the result depends on."""
        return frozenset(e.args[0] for e in topological(self.outs) if e.name == "var")

    @cached_property
    def quiet(self) -> bool:
        """True where no atom can raise a floating-point warning that the formula does not mean."""
        return all(e.name in _QUIET or e.name in ("var", "const") for e in topological(expand(self.outs, "numpy")))

    def bound(self, numbers: Mapping[str, Any]) -> Formula:
        """The same with numbers in place of these inputs."""
        if not numbers:
            return self

        def rule(name: str, args: tuple[Any, ...]) -> Any:
            return lift(numbers[args[0]]) if name == "var" and args[0] in numbers else None

        left = tuple(n for n in self.inputs if n not in numbers)
        return Formula(left, tuple(rewrite(self.outs, rule)), tuple(p for p in self.params if p not in numbers))

    @cached_property
    def boolean(self) -> bool:
        return self.booleans[0]

    @cached_property
    def booleans(self) -> tuple[bool, ...]:
        """Of each result: is it a truth value?"""
        return tuple(o.name in ATOMS and ATOMS[o.name].boolean for o in self.outs)

    @cached_property
    def key(self) -> str:
        """A text equal for equal formulas, in every process."""
        return " ".join([*self.inputs, *(o.digest.hex() for o in self.outs)])

    def numpy(self, dtype: Any, quietly: bool = True) -> Callable[..., Any]:
        """A function of arrays (or scalars) of `dtype`: whole-array operations in NumPy, `quietly` without warnings."""
        environment: dict[str, Any] = dict(_numpy_environment())
        exec(compile(numpy_source(self.inputs, self.outs), "<formula>", "exec"), environment)
        run: Callable[..., Any] = environment["bind"](np.dtype(dtype).type)
        if self.quiet or not quietly:
            return run

        def without_warnings(*xs: Any) -> Any:
            with np.errstate(all="ignore"):
                return run(*xs)

        return without_warnings

    def mpmath(self) -> Callable[..., Any]:
        """A function of mpmath numbers, at whatever precision is set when it is called."""
        import mpmath as mp

        text: dict[Sym, str] = {}
        outs = expand(self.outs, "mpmath")
        for e in topological(outs):
            if e.name == "var":
                text[e] = _variable(e.args[0])
            elif e.name == "const":
                v = e.args[0]
                text[e] = repr(v) if isinstance(v, (bool, int)) else KNOWN.get(v, ("", f"mp.mpf({float(v)!r})"))[1]
            else:  # nested, not in lines: only the arm that is taken is computed
                text[e] = f"({(ATOMS[e.name].mpmath or '').format(*(text[a] for a in e.args))})"
        code = f"lambda {', '.join(map(_variable, self.inputs))}: {', '.join(text[o] for o in outs)}"
        return eval(code, {"mp": mp, "inf": mp.inf, "nan": mp.nan})  # type: ignore[no-any-return]

    def cuda(self) -> tuple[list[tuple[str, str, bool]], list[str]]:
        """CUDA C++ over the type T, input x called x_x: temporaries [(name, text, is boolean)], the results' texts."""

        def literal(v: Any) -> str:
            if isinstance(v, bool):
                return "true" if v else "false"
            if v != v:
                return "T(NAN)"
            return "T(INFINITY)" if v == math.inf else "T(-INFINITY)" if v == -math.inf else f"T({v!r})"

        return _straight_line(self.outs, "cuda", literal)

    def latex(self) -> str:
        return ", ".join(latex(e) for e in self.outs)

    def derivative(self, i: int | str) -> Formula:
        """The formula of ∂y/∂x_i."""
        name = self.inputs[i] if isinstance(i, int) else i
        return Formula(self.inputs, tuple(vjp(y, [var(name)], lift(1.0))[0] for y in self.outs), self.params)


def _numpy_environment() -> Mapping[str, Any]:
    from scipy import special

    return {"np": np, "special": special}


GREEK = {
    "g": r"\bar{y}",
    "alpha": r"\alpha",
    "beta": r"\beta",
    "delta": r"\delta",
    "eps": r"\epsilon",
    "lambd": r"\lambda",
    "negative_slope": r"\alpha",
    "threshold": r"\theta",
    "value": "v",
}
# A float that is one of these is meant as it: in LaTeX, and to all digits in mpmath.
KNOWN = {
    math.sqrt(2 / math.pi): (r"\sqrt{\tfrac{2}{\pi}}", "mp.sqrt(2 / mp.pi)"),
    2 * math.sqrt(2 / math.pi): (r"\sqrt{\tfrac{8}{\pi}}", "mp.sqrt(8 / mp.pi)"),
    1 / math.sqrt(2): (r"\tfrac{1}{\sqrt{2}}", "(1 / mp.sqrt(2))"),
    2 / math.sqrt(math.pi): (r"\tfrac{2}{\sqrt{\pi}}", "(2 / mp.sqrt(mp.pi))"),
    1 / math.sqrt(math.pi): (r"\tfrac{1}{\sqrt{\pi}}", "(1 / mp.sqrt(mp.pi))"),
    1 / math.sqrt(2 * math.pi): (r"\tfrac{1}{\sqrt{2\pi}}", "(1 / mp.sqrt(2 * mp.pi))"),
    math.log(2): (r"\ln 2", "mp.ln2"),
    math.log(10): (r"\ln 10", "mp.ln10"),
    math.pi: (r"\pi", "mp.pi"),
    math.pi**2: (r"\pi^2", "mp.pi ** 2"),
    0.5: (r"\tfrac{1}{2}", "mp.mpf(0.5)"),
}


def latex(e: Sym, outer: int = -1) -> str:
    """LaTeX, in as few brackets as precedence allows."""
    if e.name == "var":
        n: str = e.args[0]
        return GREEK.get(n, n if len(n) == 1 and n != "_" else rf"\mathrm{{{n}}}".replace("_", r"\_"))
    if e.name == "const":
        return _latex_number(e.args[0], outer)
    base, times = _as_power(e)
    if times > 1:
        return f"{_base(base)}^{times}"
    if e.name == "multiply" and (factor := number(e.args[0])) is not None and factor < 0:
        s = f"-{latex(make('multiply', -factor, e.args[1]), 3)}"
        return rf"\left({s}\right)" if outer > 3 else s
    atom = ATOMS[e.name]
    closed = atom.precedence >= 9
    texts = []
    for i, a in enumerate(e.args):
        right_of_minus = e.name in ("subtract", "remainder", "floor_divide") and i == 1
        base_of_power = e.name in ("pow", "square") and i == 0
        leading_factor = e.name == "multiply" and i == 0  # (-a) b is -a b
        inner = -1 if closed else atom.precedence + right_of_minus - leading_factor
        texts.append(_base(a) if base_of_power else latex(a, inner))
    s = atom.latex.format(*texts)
    return rf"\left({s}\right)" if atom.precedence < outer else s


def _as_power(e: Sym) -> tuple[Sym, int]:
    """b and n where e is the product of n factors b."""
    if e.name == "multiply":
        (a, m), (b, n) = map(_as_power, e.args)
        if a is b:
            return a, m + n
    return e, 1


def _base(e: Sym) -> str:
    """The base of a power: in brackets, unless it is a name, a number or closed by a bracket of its own."""
    s = latex(e, 9)
    return s if e.name in ("var", "const") or s.endswith((r"\right)", r"\right|")) else rf"\left({s}\right)"


def _latex_number(v: Any, outer: int) -> str:
    if isinstance(v, bool):
        return rf"\text{{{str(v).lower()}}}"
    for known, (text, _) in KNOWN.items():
        if abs(v - known) < 1e-12:
            return text
    if v != v:
        return r"\text{nan}"
    if v in (math.inf, -math.inf):
        return r"\infty" if v > 0 else r"-\infty"
    s = f"{v:.6g}"
    if "e" in s:
        mantissa, exponent = s.split("e")
        s = rf"{mantissa} \cdot 10^{{{int(exponent)}}}"
    return s if v >= 0 or outer <= 2 else rf"\left({s}\right)"
