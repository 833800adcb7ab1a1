"""The layer: parameters, buffers and other layers held as attributes, and a `call` that uses them.

    class Affine(Layer):
        def __init__(self, units, **options):
            super().__init__(**options)
            self.units = units
            self.kernel = Parameter(initializer=HeNormal())     # exists now, so an optimiser may hold it

        def build(self, input_shape):                           # (None, D): the batch is not known
            self.kernel.declare((input_shape[-1], self.units))

        def call(self, x):                                      # (N,D) @ (D,U) -> (N,U)
            return x @ self.kernel

A part's path is made of attribute names and indices ("encoder.0.kernel"), whatever was built or named before. It is the
key in a `state_dict`, and with the model's seed it determines the initial values.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from engine import config, replay
from engine.backends import current_device, get_backend, move
from engine.dtypes import canonical, default_dtype
from engine.errors import ArgumentError, ChainRuleError
from engine.parameter import Buffer, Parameter, is_training, join_path, training_mode
from engine.random import Generator, default_generator
from engine.tensor import Tensor, asarray

from . import initializers, regularizers, state, symbolic
from .masks import mask_of, masked
from .parts import Revision, parts_in, walk
from .spec import InputSpec, batch_shape


class Layer(config.Configurable, family="layer"):
    """Base class of everything that has parameters, from Dense to whole models.

    name         for people: in a summary, in an error. By default the class's, in snake case
    trainable    False: its parameters are frozen
    dtype        of its parameters, and of the arrays of floats that it is called with
    input_shape  of one sample, without the batch; on the first layer of a model it lets the model be built at once
    """

    _name: str | None = None
    _trainable = True
    _training = True
    _generator: Generator | None = None  # the model's; initial values are drawn from its streams
    _first_built: tuple[int, Parameter | None] = 0, None  # which parameter has a device, and since which Revision
    _path = ""  # within that model
    dtype: Any = None
    built = False
    batch_input_shape: tuple[int | None, ...] | None = None
    needs: InputSpec | None = None

    def __init__(self, *, name: str | None = None, trainable: bool = True, dtype: Any = None, **shape: Any) -> None:
        self._name, self._trainable = name, trainable
        self.dtype = default_dtype() if dtype is None else canonical(dtype)
        self.batch_input_shape = batch_shape(type(self).__name__, shape)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "build" in cls.__dict__:
            cls.build = _then_draw_values(cls.__dict__["build"])  # type: ignore[method-assign]
        cls._passes_training = "training" in inspect.signature(cls.call).parameters

    _passes_training = False
    supports_masking = False  # has the result the steps of the inputs, so that their mask still holds?

    # -------------------------------------------------------------------------------------------- to be overridden
    def build(self, *input_shape: Any) -> None:
        """Give the parameters their shapes. input_shape: (None, ...), one for each input.

        A layer made of other layers need not override this: those are built by being called, here on zeros.
        """
        self._draw_values()  # those of known shape: the call on zeros reads them
        if any(isinstance(part, Layer) for _, part in self.parts()):
            symbolic.probe_output_shape(self, *input_shape)
        self.built = True

    def call(self, *inputs: Any, **options: Any) -> Any:
        """The layer's equation: tensors in, tensors out."""
        raise NotImplementedError(f"{type(self).__name__} defines no call(self, x): write its equation there")

    def compute_output_shape(self, *input_shape: Any) -> Any:
        """The result's shape for an input's, both with None for the batch. By default it is found by trying."""
        return symbolic.probe_output_shape(self, *input_shape)

    def compute_output_dtype(self, *dtypes: Any) -> Any:
        return self.dtype or default_dtype()

    # -------------------------------------------------------------------------------------------- the call
    def __call__(self, *inputs: Any, training: bool | None = None, **options: Any) -> Any:
        """Build if that is still to do, check the shapes, and `call`. Symbolic tensors give symbolic tensors."""
        try:
            plain = len(inputs) == 1 and isinstance(inputs[0], Tensor)
            if (options or not plain) and symbolic.among(options if plain else (inputs, options)):
                return self._call_symbolic(inputs, options)
            if not plain:
                inputs = tuple(self._as_tensor(x) for x in inputs)
            if self.needs is not None:
                self.needs.check(self, *inputs[:1])
            if not self.built:
                self._build_for(inputs)
            if training is not None:
                with training_mode(training):
                    return self._call(inputs, options)
            return self._call(inputs, options)
        except ChainRuleError as error:
            error.add_note(f"in layer {self.title}")
            raise

    def _call(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if self._passes_training:
            options = {"training": self.training, **options}
        y = self.call(*inputs, **options)
        if self.supports_masking and type(inputs[0]) is not Tensor and isinstance(y, Tensor):
            mask = self.mask_for(*inputs)
            return y if mask is None else masked(y, mask)
        return y

    def mask_for(self, *inputs: Any) -> Tensor | None:
        """The mask of the result, in a layer that `supports_masking`: by default the first input's."""
        return mask_of(inputs[0])

    def _call_symbolic(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if self.needs is not None:
            self.needs.check(self, *inputs[:1])
        if not self.built:
            self._settle()
            self.build(*self.shapes_of(inputs))
        return symbolic.record(self, inputs, options)

    def _build_for(self, inputs: tuple[Any, ...]) -> None:
        self._settle()
        if type(self).build is Layer.build:  # its layers are about to be called anyway
            self._draw_values()
            self.built = True
        else:
            self.build(*self.shapes_of(inputs))

    def _as_tensor(self, x: Any) -> Any:
        """Arrays and lists as tensors; their floats take the layer's dtype. A tensor keeps its own."""
        if isinstance(x, Tensor) or x is None:
            return x
        if isinstance(x, dict):
            return {name: self._as_tensor(part) for name, part in x.items()}
        if isinstance(x, (list, tuple)) and any(isinstance(part, (Tensor, np.ndarray)) for part in x):
            return type(x)(self._as_tensor(part) for part in x)
        x, dtype = asarray(x, device=self.device), self.dtype or default_dtype()
        return x if x.dtype == dtype or x.dtype.kind != "f" else x.astype(dtype)

    @staticmethod
    def shapes_of(inputs: tuple[Any, ...]) -> list[Any]:
        """Shapes with None for the batch; a list of inputs has a list of shapes."""
        kinds = Tensor, symbolic.SymbolicTensor, list, tuple, dict
        tensors = [x for x in inputs if isinstance(x, kinds)]
        return [symbolic.map_structure(lambda x: (None, *x.shape[1:]) if x.shape else (), x) for x in tensors]

    # -------------------------------------------------------------------------------------------- its parts
    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        Revision.note(value)

    def attributes(self) -> Iterator[tuple[str, Any]]:
        """Where parts are looked for. A container names them otherwise: Sequential's are "0", "1" ..."""
        return ((name, value) for name, value in vars(self).items() if name not in ("_generator", "_first_built"))

    def parts(self) -> Iterator[tuple[str, Any]]:
        """(path, part): the parameters, buffers, layers and generators held here, also in lists and dicts."""
        for name, value in self.attributes():
            yield from parts_in(name, value)

    def named(self, kind: type | tuple[type, ...]) -> Iterator[tuple[str, Any]]:
        """(path, part) for each part of a kind, here and below; what is shared comes once, under its first path."""
        return ((path, part) for path, part in walk(self) if isinstance(part, kind))

    def named_layers(self) -> list[tuple[str, Layer]]:
        return list(self.named(Layer))

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """(path, parameter) for all that can be learnt, frozen ones too."""
        return [(path, p) for path, p in self.named(Parameter) if not isinstance(p, Buffer)]

    def named_buffers(self) -> list[tuple[str, Buffer]]:
        return list(self.named(Buffer))

    def parameters(self) -> list[Parameter]:
        return [p for _, p in self.named_parameters()]

    def buffers(self) -> list[Buffer]:
        return [b for _, b in self.named_buffers()]

    @property
    def weights(self) -> list[Parameter]:
        """Parameters and buffers, in the order of their attributes."""
        return [p for _, p in self.named(Parameter)]

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [p for p in self.weights if p.trainable]

    @property
    def non_trainable_weights(self) -> list[Parameter]:
        return [p for p in self.weights if not p.trainable]

    def count_params(self) -> int:
        """How many numbers the parameters and buffers hold."""
        return sum(p.size for p in self.weights)

    def add_weight(
        self,
        shape: Sequence[int] | None = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        regularizer: Any = None,
        name: str = "",
    ) -> Parameter:
        """A new parameter (a buffer, if not trainable), as Keras has it; assign the result to an attribute."""
        make = Parameter if trainable else Buffer
        initializer = initializers.get("glorot_uniform" if initializer is None else initializer)
        p = make(
            initializer=initializer,
            dtype=dtype or self.dtype,
            regularizer=regularizers.get(regularizer),
            name=name,
        )
        p.trainable = trainable and self.trainable
        return p if shape is None else p.declare(shape)

    # -------------------------------------------------------------------------------------------- initial values
    @property
    def generator(self) -> Generator:
        """The source of the model's randomness; without `set_seed` it is split from the process's own at first use."""
        if self._generator is None:
            self._generator = default_generator().split()
        return self._generator

    def set_seed(self, seed: int) -> None:
        """Let all randomness of this layer and those below follow from `seed`; call it before it is built."""
        self._generator, self._path = Generator(seed), ""
        for path, layer in self.named_layers():
            layer._generator, layer._path = self._generator, path

    def stream(self, name: str) -> Generator:
        """A generator of its own for one purpose: a function of (seed, path, name)."""
        return self.generator.at(join_path(self._path, name))

    def _settle(self) -> None:
        """Hand on the generator, and their paths, to layers below that have none yet."""
        generator = self.generator
        for path, layer in self.named_layers():
            if layer._generator is None:
                layer._generator, layer._path = generator, join_path(self._path, path)

    def _draw_values(self) -> None:
        """Give this layer's own parameters, where their shape is known, values that follow from (seed, path)."""
        self._settle()
        for name, p in self.parts():
            if isinstance(p, Parameter) and not (p.built and p.path):
                p.path = join_path(self._path, name)
                if p.known_shape is not None:
                    p.build(generator=self.generator.at(p.path))
        if not self._trainable:
            self.trainable = False  # parameters and layers made since the constructor was told so

    # -------------------------------------------------------------------------------------------- modes
    @property
    def training(self) -> bool:
        """Does it behave as in training? `train()` and `eval()` set it; a `training_mode` block overrides both."""
        return is_training(self._training)

    def train(self, training: bool = True) -> Layer:
        """Behave as in training from now on, with all layers below; returns itself."""
        self._training = training
        for _, layer in self.named_layers():
            layer._training = training
        return self

    def eval(self) -> Layer:
        """Behave as in use from now on: no dropout, running statistics."""
        return self.train(False)

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        self._trainable = trainable
        for _, layer in self.named_layers():
            layer._trainable = trainable
        for p in self.parameters():
            p.trainable = trainable
            if not trainable:
                p.grad = None

    def freeze(self) -> Layer:
        """Stop learning here and below; optimisers skip what is frozen."""
        self.trainable = False
        return self

    def unfreeze(self) -> Layer:
        self.trainable = True
        return self

    def zero_grad(self) -> None:
        replay.clear(self.parameters())

    @property
    def device(self) -> str:
        """Where its first parameter lies; without one, where new ones would be made."""
        revision, first = self._first_built
        if first is None or revision != Revision.number:
            first = next((p for _, p in self.named(Parameter) if p.built), None)
            object.__setattr__(self, "_first_built", (Revision.number, first))
        return current_device() if first is None else first.device

    def to(self, device: str) -> Layer:
        """Move parameters and buffers to a device; returns itself."""
        backend = get_backend(device)
        for p in self.weights:
            if p.built and p.device != backend.name:
                p.data, p.grad = move(p.data, backend), None
        return self

    def regularization_loss(self) -> Tensor | None:
        """The sum of all penalties, to be added to the loss; None where there is none."""
        penalties = [p.regularizer(p) for p in self.parameters() if p.regularizer is not None and p.trainable]
        return functools.reduce(lambda a, b: a + b, penalties) if penalties else None

    # -------------------------------------------------------------------------------------------- state
    def get_weights(self) -> list[np.ndarray]:
        """Copies of all values, in the order of `weights`."""
        return [np.array(p.numpy()) for p in self.weights]

    def set_weights(self, values: Sequence[Any]) -> None:
        """Take what `get_weights` gave."""
        weights = list(self.named(Parameter))
        if len(values) != len(weights):
            raise ArgumentError(f"set_weights: {self.title} has {len(weights)} weights, got {len(values)} arrays")
        state.load(self.title, dict(weights), {path: v for (path, _), v in zip(weights, values, strict=True)}, True)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Path -> values (copies) of every parameter and buffer."""
        return {path: np.array(p.numpy()) for path, p in self.named(Parameter)}

    def load_state_dict(self, values: dict[str, Any], strict: bool = True) -> state.Mismatch:
        """Take values by path; all or, in case of an error, none.

        strict: names that are missing or unknown are errors; else they are returned as (missing, unexpected). Shapes
        that differ are always errors. Raises ArgumentError or ShapeError that lists every name.
        """
        return state.load(self.title, dict(self.named(Parameter)), values, strict)

    def random_state(self) -> dict[str, dict[str, Any]]:
        """Path -> where each generator (of a dropout, say) stands: with the state_dict, what a run needs to go on."""
        return {path: g.state() for path, g in self.named(Generator)}

    def load_random_state(self, states: dict[str, dict[str, Any]]) -> None:
        generators = dict(self.named(Generator))
        if generators.keys() != states.keys():
            differ = sorted(generators.keys() ^ states.keys())
            raise ArgumentError(f"load_random_state: {self.title} and the state differ in the generators {differ}")
        for path, g in generators.items():
            g.set_state(states[path])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON has them."""
        options: dict[str, Any] = {"name": self._name, "trainable": self._trainable}
        if self.dtype is not None and self.dtype != default_dtype():
            options["dtype"] = self.dtype.name
        if self.batch_input_shape is not None:
            options["batch_input_shape"] = list(self.batch_input_shape)
        changed = {k: v for k, v in options.items() if v not in (None, True)}
        return super().get_config() | changed

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        """The constructor's own arguments, without those of every layer."""
        return {k: v for k, v in super().arguments().items() if k not in ("name", "trainable", "dtype")}

    # -------------------------------------------------------------------------------------------- words
    @property
    def name(self) -> str:
        return self._name or config.snake_case(type(self).__name__)

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def title(self) -> str:
        """How errors call it: its class, and its path or name."""
        return f"{type(self).__name__} '{self._name or self._path or self.name}'"

    def __repr__(self) -> str:
        """The constructor's call, parameters with their shapes, and the layers below by their paths."""
        line = super().__repr__()
        shapes = [f"{name} {p.known_shape or '?'}" for name, p in self.parts() if isinstance(p, Parameter)]
        line += f": {', '.join(shapes)}" if shapes else ""
        below = [(name, part) for name, part in self.parts() if isinstance(part, Layer)]
        return "\n".join([line, *(f"  {name}: " + repr(part).replace("\n", "\n  ") for name, part in below)])


def _then_draw_values(build: Callable[..., None]) -> Callable[..., None]:
    """A subclass's `build` declares shapes; when it returns, the parameters get their initial values."""

    @functools.wraps(build)
    def wrapped(self: Layer, *input_shape: Any) -> None:
        self._settle()
        build(self, *input_shape)
        self._draw_values()
        self.built = True

    return wrapped
