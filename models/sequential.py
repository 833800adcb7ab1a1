"""One layer after the other.

model = Sequential([Dense(512, "relu", input_shape=(784,)), Dense(10, "softmax")])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from engine import config, ops
from engine.errors import ArgumentError
from engine.precision import is_autocast_enabled
from engine.tensor import Tensor
from layers import GRU, LSTM, Activation, Conv2D, Dense, Embedding, InputLayer, Layer, MaxPooling2D, ReLU, SimpleRNN
from layers.symbolic import SymbolicTensor, is_shape
from models.model import Model


class Sequential(Model):
    """A model that is a list of layers, each on the result of the one before.

    It is built at once where the first layer says its input_shape (or is an `Input`), else by the first data.
    Parameters are named by place: "0.kernel", "0.bias", "2.kernel" ...
    """

    input_names = ("x",)
    output_names = ("y",)
    fixed_layers = True

    def __init__(self, layers: Sequence[Any] | None = None, name: str | None = None, seed: int | None = None) -> None:
        self._layers: list[Layer] = []
        super().__init__(name=name, seed=seed)
        self._shapes: list[Any] = []  # before the first layer, after it, after the next ...
        self._plan: list[tuple[Layer, ...]] = []
        for layer in layers or []:
            self.add(layer)

    # --- its layers --------------------------------------------------------------------------------------------------
    def add(self, layer: Any) -> None:
        """Put a layer at the end."""
        layer = layer.layer if isinstance(layer, SymbolicTensor) else layer
        if not isinstance(layer, Layer):
            raise ArgumentError(f"Sequential.add: takes a layer, got {layer!r}; wrap a function, Activation(function)")
        if isinstance(layer, InputLayer):
            if self._layers:
                raise ArgumentError("Sequential.add: an Input can only be the first")
            self.batch_input_shape = layer.batch_input_shape
            return
        self._layers.append(layer)
        if len(self._layers) == 1 and self.batch_input_shape is None:
            self.batch_input_shape = getattr(layer, "batch_input_shape", None)
        shape = self._shapes[0] if self._shapes else self.batch_input_shape
        if shape is not None:
            self.build(shape)

    def pop(self) -> Layer:
        """Take the last layer off, and return it."""
        if not self._layers:
            raise ArgumentError("Sequential.pop: there is no layer")
        layer = self._layers.pop()
        self._shapes = self._shapes[: len(self._layers) + 1]
        self._plan, self._prepared = plan(self._layers), None
        return layer

    @property
    def layers(self) -> list[Layer]:
        return list(self._layers)

    def attributes(self) -> Iterator[tuple[str, Any]]:
        return ((str(i), layer) for i, layer in enumerate(self._layers))

    # --- building and calling ----------------------------------------------------------------------------------------
    def build(self, input_shape: Any) -> None:
        """Build the layers that are not built yet, each on what the one before gives; input_shape: (None, ...)."""
        if not self._layers:
            raise ArgumentError("Sequential.build: there is no layer yet: add(...) one")
        self._settle()
        shape, self._shapes = tuple(input_shape), [tuple(input_shape)]
        for layer in self._layers:
            if layer.needs is not None and is_shape(shape):  # before a build or a compute_output_shape trips over it
                layer.needs.check_shape(layer, shape)
            if not layer.built:
                layer.build(shape)
            shape = layer.compute_output_shape(shape)
            self._shapes.append(shape)
        self.input_shapes, self._plan, self._prepared = [self._shapes[0]], plan(self._layers), None

    def call(self, x: Tensor) -> Tensor:
        for layer, *behind in self._plan:
            done, options = along(layer, behind) if behind else (0, {})
            x = layer(x, **options)
            for other in behind[done:]:
                x = other(x)
        return x

    def compute_output_shape(self, input_shape: Any) -> Any:
        for layer in self._layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    @property
    def input_shape(self) -> Any:
        return self._shapes[0] if self._shapes else self.batch_input_shape

    @property
    def output_shape(self) -> Any:
        return self._shapes[-1] if self._shapes else None

    # --- as JSON -----------------------------------------------------------------------------------------------------
    def get_config(self) -> dict[str, Any]:
        """A layer that is there twice is written once, then by its place."""
        first = {id(layer): i for i, layer in reversed(list(enumerate(self._layers)))}
        entries = [
            config.serialize(layer) if first[id(layer)] == i else first[id(layer)]
            for i, layer in enumerate(self._layers)
        ]
        shape = self.input_shape
        return {"name": self._name, "seed": self.seed, "input_shape": list(shape) if shape else None, "layers": entries}

    @classmethod
    def from_config(cls, saved: dict[str, Any]) -> Sequential:
        model = cls(name=saved["name"], seed=saved["seed"])
        for entry in saved["layers"]:
            model.add(model._layers[entry] if isinstance(entry, int) else config.deserialize(Layer, entry))
        if saved["input_shape"] and not model._shapes:
            model.build(saved["input_shape"])
        return model


def plan(layers: Sequence[Layer]) -> list[tuple[Layer, ...]]:
    """What runs: each layer, with those behind it whose work it may do in one kernel.

    Dense takes an activation along; Conv2D an activation, max-pooling, or both; Embedding a recurrent layer. Whether it
    does is decided at each call (`along`). Softmax and cross-entropy need no plan: the loss finds the logits behind the
    probabilities (`layers.losses.logits_of`).
    """
    todo: list[Layer] = list(layers)
    chosen: list[tuple[Layer, ...]] = []
    while todo:
        group = [todo.pop(0)]
        if type(group[0]) in (Dense, Conv2D) and todo and activation_of(todo[0]) is not None:
            group.append(todo.pop(0))
        if type(group[0]) is Conv2D and todo and type(todo[0]) is MaxPooling2D:
            group.append(todo.pop(0))
        if type(group[0]) is Embedding and todo and type(todo[0]) in (SimpleRNN, GRU, LSTM):
            group.append(todo.pop(0))
        chosen.append(tuple(group))
    return chosen


def along(layer: Any, behind: Sequence[Any]) -> tuple[int, dict[str, Any]]:
    """How many of the layers behind it this one does as well, and the options that make it do so."""
    options: dict[str, Any] = {}
    if any("call" in vars(one) for one in (layer, *behind)):  # somebody looks at, or changes, what this one layer does
        return 0, options
    if type(layer) is Embedding:
        # within autocast the layer rounds the rows that are read, the op would round the whole table
        reads = behind[0].reads_tokens() and not is_autocast_enabled()
        return (1, {"reader": behind[0]}) if reads else (0, options)
    last = behind[-1]
    activation = layer.activation
    if last is not behind[0] or type(last) is not MaxPooling2D:  # an activation layer stands between
        if activation is not None:
            return 0, options
        activation = options["activation"] = activation_of(behind[0])
        if activation is None:
            return 0, {}
    if type(last) is MaxPooling2D and activation is ops.relu and layer.use_bias:
        options["pooling"] = {"window": last.pool_size, "pool_stride": last.strides, "pool_padding": last.padding}
        return len(behind), options
    return len(options), options


def activation_of(layer: Layer) -> Any:
    """The function that an activation layer is; None for others."""
    if type(layer) is Activation:
        return layer.activation
    plain = type(layer) is ReLU and layer.max_value is None and layer.threshold == layer.negative_slope == 0.0
    return ops.relu if plain else None
