"""The model: a layer that can be trained. Made by subclassing, from inputs and outputs, or as `Sequential`.

    class Net(Model):
        def __init__(self):
            super().__init__()
            self.hidden = Dense(512, "relu")
            self.out = Dense(10, "softmax")

        def call(self, x):
            return self.out(self.hidden(x))

    x = Input((784,))
    net = Model(x, Dense(10, "softmax")(Dense(512, "relu")(x)))
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from engine.errors import ArgumentError
from layers import Layer
from models.summary import ModelView, summary
from models.training import Trainer


class Model(Trainer, Layer):
    """A network with fit, evaluate, predict, save.

    Model(inputs, outputs) makes a functional model of symbolic tensors, see `models.functional`. A subclass defines
    call(self, x); a model of several inputs is called with a list of them.

    seed: of everything random in it, initial values included; without it they follow engine.random.manual_seed.
    """

    input_names: tuple[str, ...] | None = None  # None: not known, as in a subclass
    output_names: tuple[str, ...] | None = None
    input_shapes: list[tuple[int | None, ...]] | None = None  # with None for the batch

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Model and (args or "inputs" in kwargs):
            from models.functional import Functional

            return super().__new__(Functional)
        return super().__new__(cls)

    def __init__(self, *, name: str | None = None, seed: int | None = None, **options: Any) -> None:
        super().__init__(name=name, **options)
        self.seed = seed
        if seed is not None:
            self.set_seed(seed)

    def build(self, *input_shape: Any) -> None:
        """Give all parameters their shapes and values. input_shape: (None, ...); a list of them for several inputs."""
        super().build(*input_shape)
        shapes = input_shape[0]
        self.input_shapes = [tuple(s) for s in shapes] if isinstance(shapes, list) else [tuple(shapes)]

    @property
    def layers(self) -> list[Layer]:
        """The layers it is made of, without what is inside of these."""
        return list(dict.fromkeys(part for _, part in self.parts() if isinstance(part, Layer)))

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or index."""
        if index is not None:
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise ArgumentError(f"get_layer: there is no layer '{name}'; there are {names}")

    def summary(self) -> None:
        """Print a table of the layers, the shapes of their results and their numbers of parameters."""
        summary(self)

    def __view__(self) -> ModelView:
        """What `engine.view.view(model)` shows."""
        return ModelView(self)

    # --- files -------------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write model, optimiser, random state, epoch and step to one file. See `models.saving`."""
        from models import saving

        saving.save_model(self, path)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters and buffers to one file."""
        from models import saving

        saving.save_weights(self, path)

    def load_weights(self, path: str | os.PathLike[str], strict: bool = True) -> Any:
        """Read parameters and buffers by name, from a file of weights or a saved model."""
        from models import saving

        return saving.load_weights(self, path, strict)

    @staticmethod
    def load(path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> Model:
        """The model in a file, as `models.load_model`."""
        from models import saving

        return saving.load_model(path, custom_objects)
