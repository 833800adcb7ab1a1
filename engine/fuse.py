r"""`fuse`: one kernel of a user's own elementwise function, with its derivative.

    @fuse
    def swish(x, *, beta=1.0):
        return x * sigmoid(beta * x)

    y = swish(x)             # one pass over the memory, where the composition makes three
    y.sum().backward()       # and one for the derivative
    print(swish.latex)       # y = x \, \sigma\left(\mathrm{beta} \, x\right)

The function runs once, on symbols; what it returns is a formula, which is compiled as those of the built-in ops are.
The derivative follows by the chain rule from the (stable) derivatives of the ops in it.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import expr
from .arity import BinaryOp, UnaryOp
from .declare import evaluate
from .dtypes import is_float
from .elementwise import PLAIN, ElementwiseOp, plain_number
from .errors import ArgumentError
from .expr import ATOMS, Atom, Sym, var
from .formula import Formula
from .record import Note, Op
from .tensor import Tensor


class Fused(ElementwiseOp):
    """A function of tensors that runs as one kernel. See `fuse`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        name = function.__name__
        signature = inspect.signature(function)
        self.function, self.signature_of = function, signature
        inputs, params = _arguments(name, signature)
        out = _traced(name, function, inputs, tuple(params))
        self._formula = Formula((*inputs, *params), (out,), tuple(params))
        rules = (
            []
            if self._formula.boolean
            else [_rule(out, n, inputs, tuple(params)) if _reaches(var(n), out) else None for n in inputs]
        )
        latex = self._formula.latex()
        atom = Atom(name, latex=latex, definition=function, vjp=rules, params=tuple(params))
        super().__init__(name, Note(definition=latex), atom, inputs, params, "float", "")
        self.__wrapped__, self.__module__, self.__qualname__ = function, function.__module__, function.__qualname__
        self.file, self.line = function.__code__.co_filename, function.__code__.co_firstlineno

    def _enter(self) -> None:
        """Its name is the user's: it is in no registry."""

    @property
    def forward(self) -> Formula:
        return self._formula

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        bound = self._bound(args, params)
        return super().__call__(*bound.args, **bound.kwargs)

    def _not_met(self, args: Sequence[Any], params: dict[str, Any], kinds: Any) -> Tensor:
        if not is_float_work(args):  # symbols, whole numbers, truth values: what the composition makes of them
            return self.function(*args, **params)  # type: ignore[no-any-return]
        return super()._not_met(args, params, kinds)

    def _bound(self, args: Sequence[Any], params: dict[str, Any]) -> inspect.BoundArguments:
        try:
            bound = self.signature_of.bind(*args, **params)
        except TypeError as problem:
            raise ArgumentError(f"{self.name}: takes {self._takes()}, but {problem}") from None
        bound.apply_defaults()
        for name, value in bound.kwargs.items():
            bound.arguments[name] = value = plain_number(value)
            if not isinstance(value, PLAIN):
                raise ArgumentError(
                    f"{self.name}: {name} is {type(value).__name__}, but what follows the * is plain numbers; "
                    "move it before the * to pass tensors"
                )
        return bound

    def _takes(self) -> str:
        return f"{len(self.inputs)} input{'s' * (len(self.inputs) != 1)} ({', '.join(self.inputs)})"

    def __repr__(self) -> str:
        return f"<fused {self.name}({', '.join((*self.inputs, *self.params))}): {self.latex}>"

    def __reduce__(self) -> Any:
        """By its name, if that is where it stands; else by the name of the function that it was made of."""
        found: Any = sys.modules.get(self.__module__)
        for part in self.__qualname__.split("."):
            found = getattr(found, part, None)
        return self.__qualname__ if found is self else (fuse, (self.function,))

    def __copy__(self) -> Fused:
        return self

    def __deepcopy__(self, memo: Any) -> Fused:
        return self


class FusedUnary(UnaryOp, Fused):
    """Of one input: with the short way of the built-in ops."""


class FusedBinary(BinaryOp, Fused):
    """Of two inputs."""


def fuse(function: Callable[..., Any]) -> Fused:
    r"""One kernel of an elementwise function of tensors; a decorator.

    function  takes tensors, which broadcast against each other, and after a `*` plain numbers; returns one tensor, made
              of its arguments, Python numbers, operators and elementwise ops (`exp`, `where`, other fused functions ..)

    The result is the function's own, up to rounding, and so is the gradient, of any order. Kernels are for floating
    tensors; others take the function as it stands. Choose with `where(condition, a, b)`: the function runs once, on
    symbols, so it can't branch on a value, and numbers from outside are those of the moment of decoration.

        >>> from engine import fuse, tensor, exp
        >>> @fuse
        ... def bell(x, centre, *, width=1.0):
        ...     return exp(-(((x - centre) / width) ** 2))
        >>> x = tensor([0.0, 1.0], requires_grad=True)
        >>> bell(x, 0.0, width=2.0)
        tensor([1.    , 0.7788], shape=(2,), dtype=float32, from=bell)

    Raises ArgumentError when the function is not elementwise, branches on a value, or returns anything but one result;
    and, when called, for a wrong number of arguments.
    """
    if isinstance(function, Fused):
        return function
    if not inspect.isfunction(function):
        raise ArgumentError(f"fuse: takes a Python function, got {type(function).__name__}")
    count = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in inspect.signature(function).parameters.values())
    return {1: FusedUnary, 2: FusedBinary}.get(count, Fused)(function)


# ------------------------------------------------------------------------------------------- from Python to a formula
def _arguments(name: str, signature: inspect.Signature) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names of the tensors, and the plain numbers with their defaults."""
    inputs, params = [], {}
    for p in signature.parameters.values():
        if p.name in ("g", "y"):
            raise ArgumentError(
                f"fuse: {name} has an argument '{p.name}', the name of a cotangent or result; rename it"
            )
        if p.kind is p.POSITIONAL_OR_KEYWORD:
            inputs.append(p.name)
        elif p.kind is p.KEYWORD_ONLY:
            params[p.name] = p.default
        else:
            raise ArgumentError(f"fuse: {name} takes '{p}'; give every input a name of its own")
    if not inputs:
        raise ArgumentError(f"fuse: {name} takes no inputs; tensors come before the *")
    return tuple(inputs), params


def _traced(name: str, function: Callable[..., Any], inputs: Sequence[str], params: Sequence[str]) -> Sym:
    """What the function makes of symbols."""
    try:
        out = function(*map(var, inputs), **{p: var(p) for p in params})
    except Exception as problem:
        raise ArgumentError(
            f"fuse: {name} can't be made one kernel: {_explained(problem)}. It may use Python numbers, operators, "
            "elementwise ops, and where(condition, a, b) in place of if"
        ) from problem
    if isinstance(out, (tuple, list)):
        raise ArgumentError(f"fuse: {name} returns {len(out)} results; fuse one function for each")
    if not isinstance(out, (Sym, int, float)):
        raise ArgumentError(f"fuse: {name} returns {type(out).__name__}, which is not made of its inputs")
    return expr.lift(out)


def _explained(problem: Exception) -> str:
    if isinstance(problem, AttributeError) and isinstance(problem.obj, Sym):
        return f"it uses .{problem.name}, which is not elementwise or has a function's name in engine"
    for frame, _ in traceback.walk_tb(problem.__traceback__):
        op = frame.f_locals.get("self")
        if isinstance(op, Op) and not isinstance(op, ElementwiseOp):
            return f"it uses {op.name}, which is not elementwise"
    return str(problem)


def _reaches(x: Sym, out: Sym) -> bool:
    """Does x reach the result otherwise than through conditions?"""
    reached = {x}
    for e in expr.topological([out]):
        if e.name not in ("var", "const"):
            rules = ATOMS[e.name].vjp
            if any(a in reached and rule is not None for a, rule in zip(e.args, rules, strict=False)):
                reached.add(e)
    return out in reached


def _rule(out: Sym, name: str, inputs: tuple[str, ...], params: tuple[str, ...]) -> Callable[..., Any]:
    """(g, *inputs, y, **params) -> the cotangent of one input, on tensors or on symbols."""
    formula = Formula(("g", *inputs, *params), tuple(expr.vjp(out, [var(name)], var("g"))))

    def rule(g: Any, *xs: Any, **numbers: Any) -> Any:
        literal = expr.lift if isinstance(g, Sym) else lambda v: _in_dtype(v, g.dtype)
        return evaluate(formula, {"g": g} | dict(zip(inputs, xs, strict=False)) | numbers, literal)

    return rule


def _in_dtype(v: Any, dtype: Any) -> Any:
    """A literal as a tensor: two of them on their own would meet in the default dtype."""
    return v if isinstance(v, bool) else Tensor(np.asarray(v, dtype))


def is_float_work(args: Sequence[Any]) -> bool:
    """Is there a floating tensor, and no other kind of tensor?"""
    if all(type(x) is Tensor and is_float(x.dtype) for x in args):
        return bool(args)
    dtypes = [x.dtype for x in args if isinstance(x, (Tensor, np.ndarray, np.generic))]
    return (
        bool(dtypes) and all(map(is_float, dtypes)) and not any(isinstance(x, (Sym, list, tuple, range)) for x in args)
    )
