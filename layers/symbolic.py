"""Symbolic tensors: a network drawn before there is data.

    x = Input((28, 28, 1))        # SymbolicTensor (None, 28, 28, 1)
    y = Dense(10)(Flatten()(x))   # SymbolicTensor (None, 10), made by the call Dense(Flatten(x))

Calling a layer on symbolic tensors builds it, infers the shape of its result and leaves a `Call`: which layer, on what.
`models.Model(inputs, outputs)` walks these calls back from the outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.dtypes import canonical
from engine.errors import ArgumentError

if TYPE_CHECKING:
    from .layer import Layer

SymbolicShape = tuple[int | None, ...]  # None: not known before there is data


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a layer: its positional arguments (symbolic tensors, maybe in lists, and plain values) and options."""

    layer: Layer
    inputs: tuple[Any, ...]
    options: dict[str, Any]


class SymbolicTensor:
    """The place of a tensor in a network.

    shape, dtype    as of the tensor to come; None in the shape is a length that is not known yet
    layer, inputs   the layer that makes it, and the arguments it is called with
    index           which of the layer's results it is
    call            the same `Call` object for all results of one call
    """

    __array_ufunc__ = None

    def __init__(self, shape: SymbolicShape, dtype: Any, layer: Layer, inputs: tuple[Any, ...], index: int = 0,
                 call: Call | None = None) -> None:  # fmt: skip
        self.shape, self.dtype, self.index = tuple(shape), canonical(dtype), index
        self.call = call or Call(layer, inputs, {})

    @property
    def layer(self) -> Layer:
        return self.call.layer

    @property
    def inputs(self) -> tuple[Any, ...]:
        return self.call.inputs

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<SymbolicTensor {self.shape}, {self.dtype}, from {self.layer.name}>"

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise ArgumentError(
            "a symbolic tensor has no values: build a models.Model(inputs, outputs) and call that on data, "
            "or use layers where you use functions of arrays"
        )

    def __bool__(self) -> bool:
        raise ArgumentError("a symbolic tensor has no truth value: a network can't branch on data it hasn't seen")

    def __add__(self, other: Any) -> Any:
        return apply("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return apply("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return apply("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return apply("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return apply("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return apply("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return apply("divide", other, self)

    def __neg__(self) -> Any:
        return apply("negative", self)


def apply(op: str, *inputs: Any, **params: Any) -> Any:
    """An op of the engine as a layer of its own, called on these."""
    from .core import Operation

    return Operation(op, **params)(*inputs)


def tensors_in(arguments: Any) -> Iterator[SymbolicTensor]:
    """The symbolic tensors among arguments, also inside of lists and dicts."""
    if isinstance(arguments, SymbolicTensor):
        yield arguments
    elif isinstance(arguments, (list, tuple)):
        for a in arguments:
            yield from tensors_in(a)
    elif isinstance(arguments, dict):
        for a in arguments.values():
            yield from tensors_in(a)


def among(arguments: Any) -> bool:
    """Is there a symbolic tensor among arguments?"""
    return next(tensors_in(arguments), None) is not None


def map_structure(f: Any, arguments: Any) -> Any:
    """f of every argument inside of nested lists, tuples and dicts; the nest stays as it is."""
    if isinstance(arguments, (list, tuple)):
        return type(arguments)(map_structure(f, a) for a in arguments)
    if isinstance(arguments, dict):
        return {k: map_structure(f, a) for k, a in arguments.items()}
    return f(arguments)


def record(layer: Layer, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What `layer(*inputs)` is when some input is symbolic: one symbolic tensor, or a list of them."""
    call = Call(layer, inputs, options)
    shapes = layer.compute_output_shape(*layer.shapes_of(inputs))
    dtype = layer.compute_output_dtype(*(s.dtype for s in tensors_in(inputs)))
    if is_shape(shapes):
        return SymbolicTensor(shapes, dtype, layer, inputs, 0, call)
    return [SymbolicTensor(s, dtype, layer, inputs, i, call) for i, s in enumerate(shapes)]


def is_shape(shape: Any) -> bool:
    """One shape, not a list of them?"""
    return isinstance(shape, (list, tuple)) and all(n is None or isinstance(n, (int, np.integer)) for n in shape)


def probe_output_shape(layer: Layer, *shapes: Any) -> Any:
    """The shape of a layer's result by trying: unknown lengths are 2, then 3; what changes is unknown in the result."""
    import engine
    from engine.parameter import training_mode

    def attempt(unknown: int) -> Any:
        def zeros(shape: Any) -> Any:
            if is_shape(shape):
                return engine.zeros([unknown if n is None else n for n in shape], device=layer.device)
            if isinstance(shape, dict):
                return {name: zeros(part) for name, part in shape.items()}
            return type(shape)(map(zeros, shape))

        with engine.no_grad(), training_mode(False):
            return map_structure(lambda y: y.shape, layer.call(*map(zeros, shapes)))

    two, three = attempt(2), attempt(3)
    if is_shape(two):
        return _known(two, three)
    return [_known(a, b) for a, b in zip(two, three, strict=True)]


def _known(a: Any, b: Any) -> SymbolicShape:
    return tuple(m if m == n else None for m, n in zip(a, b, strict=True))
