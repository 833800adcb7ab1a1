"""A recurrent layer in both directions, and masks from values that mean nothing."""

from __future__ import annotations

from typing import Any

from engine import config, ops
from engine.errors import ArgumentError
from engine.tensor import Tensor

from .layer import Layer
from .masks import Masked, mask_of
from .recurrent import _Recurrent
from .spec import InputSpec

MERGE = {
    "concat": lambda a, b: ops.concat([a, b], axis=-1),  # (.., 2 units)
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
    None: lambda a, b: [a, b],
}


class Masking(Layer):
    """Steps at which every feature is `mask_value` are left out by the layers behind: (N, T, D) -> the same, masked."""

    def __init__(self, mask_value: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.mask_value = mask_value

    def call(self, x: Tensor) -> Tensor:
        real = ops.any(x != self.mask_value, axis=-1, keepdims=True)  # (N,T,D) -> (N,T,1)
        return Masked(ops.where(real, x, 0.0), real[..., 0])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return tuple(input_shape)


class Bidirectional(Layer):
    """Two recurrent layers, one from each end: (N, T, D) -> (N, 2 units), or (N, T, 2 units) with return_sequences.

    layer: any recurrent layer; the forward one is made like it, and so is the backward one, unless `backward_layer` is
    given. merge_mode: "concat", "sum", "mul", "ave", or None for a list of both. With return_state the result is a
    list, that and the last states of both. At masked steps the output is 0.

    [Schuster and Paliwal, IEEE Trans. SP 45, 1997]
    """

    needs = InputSpec("(N,T,D)", 3)

    def __init__(
        self, layer: Any, merge_mode: str | None = "concat", backward_layer: Any = None, **options: Any
    ) -> None:
        super().__init__(**options)
        layer, backward_layer = config.get(Layer, layer), config.get(Layer, backward_layer)
        if not isinstance(layer, _Recurrent) or not isinstance(backward_layer, (_Recurrent, type(None))):
            raise ArgumentError("Bidirectional: takes a recurrent layer, Bidirectional(LSTM(64)), and maybe another")
        if merge_mode not in MERGE:
            raise ArgumentError(f"Bidirectional: merge_mode is one of {list(MERGE)}, got {merge_mode!r}")
        other = layer if backward_layer is None else backward_layer
        if backward_layer is not None and other.go_backwards == layer.go_backwards:
            raise ArgumentError("Bidirectional: backward_layer goes in the same direction; set its go_backwards")
        for what in ("return_sequences", "return_state", "stateful"):
            if getattr(layer, what) != getattr(other, what):
                raise ArgumentError(f"Bidirectional: {what} must be the same for layer and backward_layer")
        if merge_mode in ("sum", "mul", "ave") and other.units != layer.units:
            raise ArgumentError(
                f"Bidirectional: merge_mode={merge_mode!r} takes two layers of as many units, got {layer.units} and "
                f"{other.units}; 'concat' takes any"
            )
        self.merge_mode = merge_mode
        self.return_sequences, self.return_state = layer.return_sequences, layer.return_state
        self.forward_layer = _like(layer, zero_output_for_mask=layer.return_sequences)
        turned = {"go_backwards": not layer.go_backwards, "zero_output_for_mask": layer.return_sequences}
        self.backward_layer = _like(other, **turned)

    @property
    def layer(self) -> _Recurrent:
        """The forward one, as the constructor calls it."""
        return self.forward_layer

    def build(self, input_shape: Any) -> None:
        self.forward_layer.build(input_shape)
        self.backward_layer.build(input_shape)

    def call(self, x: Tensor, mask: Any = None, initial_state: Any = None) -> Any:
        """initial_state: the states of the forward layer, then those of the backward layer, in one list."""
        mask = mask_of(x) if mask is None else mask
        begin = [None, None]
        if initial_state is not None:
            half = len(initial_state) // 2
            begin = [initial_state[:half], initial_state[half:]]
        a = self.forward_layer(x, mask=mask, initial_state=begin[0])
        b = self.backward_layer(x, mask=mask, initial_state=begin[1])
        (a, *ends), (b, *other_ends) = (a, b) if self.return_state else ([a], [b])
        if self.return_sequences:
            b = ops.flip(b, axis=1)  # step t of both beside each other
        y = MERGE[self.merge_mode](a, b)
        if self.return_sequences and mask is not None:
            y = [Masked(part, mask) for part in y] if self.merge_mode is None else Masked(y, mask)
        return [y, *ends, *other_ends] if self.return_state else y

    def reset_states(self) -> None:
        """Forget the states of the last batch, in both directions."""
        self.forward_layer.reset_states()
        self.backward_layer.reset_states()

    def compute_output_shape(self, input_shape: Any) -> Any:
        both = (part.compute_output_shape(input_shape) for part in (self.forward_layer, self.backward_layer))
        (a, *ends), (b, *other_ends) = both if self.return_state else ([shape] for shape in both)
        merged: Any = [a, b] if self.merge_mode is None else a
        if self.merge_mode == "concat":
            merged = (*a[:-1], a[-1] + b[-1])
        return [merged, *ends, *other_ends] if self.return_state else merged


def _like(layer: _Recurrent, **changes: Any) -> Any:
    """A new layer with the same arguments, but for some."""
    return type(layer).from_config(layer.get_config() | changes)
