r"""`sum_of`, `mean_of`: a formula's sum over axes, in one pass over the memory.

    @fuse
    def squared_error(y_true, y_pred):
        return square(y_pred - y_true)

    mean_of(squared_error, t, p)             # reads t and p once, and writes nothing but the mean
    sum_of(multiply, x1, x2, axis=-1)        # the dot products of rows

What the formula gives for each element is never in memory, forward or backward: the cotangent of an input is
x̄_i = ȳ ∂f/∂x_i, a formula too, and one pass makes those of all inputs. The definition is the composition, `sum(f(x))`:
that is drawn, that is what tests compare with, and what is differentiated for higher orders.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

from .. import expr
from ..backends import Array, Backend, backend_of, get_backend
from ..elementwise import ElementwiseOp
from ..errors import ArgumentError
from ..formula import Formula
from ..fuse import is_float_work
from ..op import Note, StructuralOp
from ..shapes import Shape, broadcast_shapes, normalize_axes
from ..tensor import Tensor
from .reduce import mean, reduced, sum


class Summed(StructuralOp):
    """`after`, which is `sum` or `mean`, of what `each` gives, an elementwise op or a fused function."""

    def __init__(self, each: ElementwiseOp, after: StructuralOp) -> None:
        self.each, self.after = each, after
        self._kernels: dict[Any, Any] = {}
        steps = getattr(each, "function", each)  # a fused function, as the ops that it is made of

        def body(*xs: Any, axis: Any, keepdims: bool, **params: Any) -> Any:
            axes, n = self._axes(broadcast_shapes(*(x.shape for x in xs)), axis)
            numbers = self._numbers(params)
            y = self._total(backend_of(xs[0]).name, numbers)(*xs, *numbers, axes=axes, keepdims=keepdims)
            return y if n == 1 else y / y.dtype.type(n)

        def composition(*xs: Any, axis: Any = None, keepdims: bool = False, **params: Any) -> Tensor:
            return after(steps(*xs, **params), axis=axis, keepdims=keepdims)

        P = inspect.Parameter
        options = {"axis": None, "keepdims": False, **each.params}
        positional = [P(name, P.POSITIONAL_OR_KEYWORD) for name in each.inputs]
        said = inspect.signature(after.body).parameters
        keywords = [
            P(name, P.KEYWORD_ONLY, default=value, annotation=said[name].annotation if name in said else P.empty)
            for name, value in options.items()
        ]
        body.__signature__ = inspect.Signature([*positional, *keywords])  # type: ignore[attr-defined]
        name = f"{after.name}_of({each.name})"
        n = r"\frac{1}{n} " if after is mean else ""
        note = Note(definition=rf"y = {n}\sum \left( {each.definition.latex()} \right)", autocast="float32")
        shapes = ", ".join(f"{name}:(*B)" for name in each.inputs) + " -> y:(*R)"
        super().__init__(name, note, body, shapes, {"composition": composition})
        self.rule = self._rule
        self.file, self.line = each.file, each.line

    def _enter(self) -> None:
        """No op of its own: it is named after two that are."""

    def __reduce__(self) -> Any:
        return summed, (self.each, self.after)

    def _axes(self, shape: Shape, axis: Any) -> tuple[tuple[int, ...], int]:
        """The axes that go, and what the sum is divided by."""
        if self.after is mean:
            axes, n = reduced("mean", shape, axis)
            return axes, n or 1
        return normalize_axes(self.name, axis, len(shape)), 1

    def _numbers(self, params: dict[str, Any]) -> tuple[Any, ...]:
        """Values of the params that a kernel takes as inputs: none, where they are as declared."""
        return () if params == self.each.params else tuple(params[k] for k in self.each.params)

    def _total(self, device: str, numbers: tuple[Any, ...]) -> Any:
        key = device, not numbers
        if key not in self._kernels:
            formula = self.each.forward if numbers else self.each.forward.bound(self.each.params)
            self._kernels[key] = get_backend(device).compile_sum(formula)
        return self._kernels[key]

    def _pull(self, device: str, numbers: tuple[Any, ...], needs: tuple[bool, ...]) -> Any:
        """A kernel of all wanted cotangents, and which of (g, *inputs, *numbers) it reads."""
        key = device, not numbers, needs
        if key not in self._kernels:
            formula = self.each.forward if numbers else self.each.forward.bound(self.each.params)
            wanted = [expr.var(x) for x, need in zip(self.each.inputs, needs, strict=True) if need]
            names = ("g", *formula.inputs)
            pulled = Formula(names, tuple(expr.vjp(formula.outs[0], wanted, expr.var("g"))))
            read = tuple(name for name in names if name in pulled.used) or ("g",)
            kernel = get_backend(device).compile(Formula(read, pulled.outs))
            self._kernels[key] = kernel, [names.index(name) for name in read]
        return self._kernels[key]

    def _rule(
        self, g: Any, y: Any, aux: Any, *xs: Any, needs: tuple[bool, ...], axis: Any, keepdims: bool, **params: Any
    ) -> list[Any]:
        """x̄_i = ȳ ∂f/∂x_i, over n in a mean"""
        backend, shape, numbers = g.backend, broadcast_shapes(*(x.shape for x in xs)), self._numbers(params)
        axes, n = self._axes(shape, axis)
        g = g.data.reshape([1 if a in axes else side for a, side in enumerate(shape)])
        kernel, read = self._pull(backend.name, numbers, needs)
        values = (g if n == 1 else g / g.dtype.type(n), *(x.data for x in xs), *numbers)
        found = kernel(*[values[k] for k in read])
        pulled = iter(found if type(found) is tuple else (found,))
        return [Tensor(_spread(backend, next(pulled), shape)) if need else None for need in needs]


def _spread(backend: Backend, x_bar: Array, shape: Shape) -> Array:
    """A cotangent whose formula does not read the largest input."""
    return x_bar if x_bar.shape == shape else backend.xp.broadcast_to(x_bar, shape)


@lru_cache(maxsize=512)
def summed(each: ElementwiseOp, after: StructuralOp) -> Summed:
    """The one op of these two."""
    return Summed(each, after)


def sum_of(f: ElementwiseOp, *xs: Any, axis: Any = None, keepdims: bool = False, **numbers: Any) -> Tensor:
    r"""The sum of f(x1, x2, ...) over `axis`: :math:`y = \sum_r f(x_{1,r}, x_{2,r}, \dots)`.

    f         an elementwise op, or a function under `fuse`
    xs        its inputs; they broadcast against each other, and `axis` counts the axes of what they broadcast to
    numbers   its params

    Floats take one pass, forward and backward; all else is `sum(f(...))`. Truth values are counted.

        >>> from engine import fuse, sum_of, tensor
        >>> @fuse
        ... def square_of_difference(a, b):
        ...     return (a - b) ** 2
        >>> sum_of(square_of_difference, tensor([1.0, 2.0]), tensor([3.0, 5.0])).item()
        13.0

    Raises ArgumentError where f is neither, ShapeError for shapes that do not broadcast and for a missing axis.
    """
    return _run(f, sum, xs, {"axis": axis, "keepdims": keepdims, **numbers})


def mean_of(f: ElementwiseOp, *xs: Any, axis: Any = None, keepdims: bool = False, **numbers: Any) -> Tensor:
    r"""The mean of f(x1, x2, ...) over `axis`: :math:`y = \frac{1}{n} \sum_r f(x_{1,r}, x_{2,r}, \dots)`.

    As `sum_of`. Raises ShapeError also for the mean of no numbers.
    """
    return _run(f, mean, xs, {"axis": axis, "keepdims": keepdims, **numbers})


def _run(f: ElementwiseOp, after: StructuralOp, xs: tuple[Any, ...], params: dict[str, Any]) -> Tensor:
    if not isinstance(f, ElementwiseOp):
        raise ArgumentError(
            f"{after.name}_of: f is {type(f).__name__}, and must be an elementwise op or a fused function: "
            "write @engine.fuse above its def"
        )
    op = summed(f, after)
    if is_float_work(xs) and not (f.definition.boolean and after is mean):
        return op(*xs, **params)
    assert op.composition is not None
    return op.composition(*xs, **params)  # type: ignore[no-any-return]
