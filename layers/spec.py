"""What a layer asks of its input, and the words for a shape that does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import ArgumentError, ShapeError

if TYPE_CHECKING:
    from .layer import Layer


class InputSpec:
    """Checked at each call, and where a model is built on a shape.

    axes: how the docs write the input, "(N,H,W,C)". rank: the number of axes, or `at_least` so many. channels: the
    length of axis `axis` that the layer was built for.
    """

    def __init__(
        self, axes: str, rank: int | None = None, *, at_least: int = 1, channels: int | None = None, axis: int = -1
    ) -> None:
        self.axes, self.rank, self.at_least, self.channels, self.axis = axes, rank, at_least, channels, axis

    def check(self, layer: Layer, x: Any = None) -> None:
        if not hasattr(x, "shape"):
            met = "none" if x is None else f"a {type(x).__name__}"
            raise ArgumentError(
                f"{layer.title}: takes one tensor {self.axes}, got {met}; call it on an array, or join several with "
                "Concatenate or Add before"
            )
        self.check_shape(layer, x.shape)

    def check_shape(self, layer: Layer, shape: Sequence[int | None]) -> None:
        """The same of a shape alone: None is a length that is not known."""
        if len(shape) != self.rank if self.rank is not None else len(shape) < self.at_least:
            count = self.rank if self.rank is not None else f"at least {self.at_least}"
            raise ShapeError(
                f"{layer.title}: the input has {len(shape)} dimensions {words(shape)}, but {self.axes} needs {count}; "
                "reshape it, or put a Reshape or Flatten layer before (a single sample needs a batch axis: x[None])"
            )
        if self.channels is not None and shape[self.axis] not in (self.channels, None):
            raise ShapeError(
                f"{layer.title}: the input has shape {words(shape)} with {shape[self.axis]} on axis {self.axis}, but "
                f"the layer was built for {self.channels} there, {self.axes}; feed what it was built for, or make a "
                "new layer"
            )


def words(shape: Sequence[int | None]) -> str:
    return f"({', '.join('None' if n is None else str(n) for n in shape)}{',' * (len(shape) == 1)})"


def known(layer: Layer, what: str, n: int | None) -> int:
    """A length that the layer needs for building."""
    if n is None:
        raise ShapeError(f"{layer.title}: {what} must be known to build it, got None; give the full input shape")
    return n


def batch_shape(who: str, options: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    """The declared shape, with the batch, from `input_shape=`, `batch_input_shape=` or `input_dim=`."""
    unknown = options.keys() - {"input_shape", "batch_input_shape", "input_dim"}
    if unknown:
        raise ArgumentError(f"{who}: unknown argument {sorted(unknown)}; see help({who}) for what it takes")
    if options.get("batch_input_shape") is not None:
        return tuple(options["batch_input_shape"])
    if options.get("input_shape") is not None:
        shape = options["input_shape"]
        return (None, *((shape,) if isinstance(shape, int) else shape))
    return (None, options["input_dim"]) if options.get("input_dim") is not None else None
