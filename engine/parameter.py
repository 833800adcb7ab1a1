"""What a network learns: parameters and buffers; and the modes that hold for a block of code.

A parameter exists from the construction of its layer on, so that an optimiser may hold it. It is *built* when it is
given a shape; its initial values then come from (seed, path), so they depend neither on the order of building nor on
what was drawn before:

    w = Parameter(initializer=lambda shape, dtype, generator: generator.normal(shape, dtype), name="w")
    w.data                                   # NotBuiltError: says what to call
    w.build((3, 4), Generator(7).at("w"))    # the same numbers in every program
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from .backends import Array, backend_of, current_device, get_backend, is_owned, move
from .blocks import Setting
from .dtypes import canonical, default_dtype
from .errors import DTypeError, NotBuiltError, ShapeError
from .random import Generator, default_generator
from .shapes import Shape
from .tensor import Tensor

Initializer = Callable[[Shape, Any, Generator], Array]  # (shape, dtype, generator) -> values

# ------------------------------------------------------------------------------------------------ modes
_training: Setting[bool | None] = Setting("chainrule_training", None)
_scope = Setting("chainrule_scope", "")


@contextmanager
def training_mode(training: bool) -> Iterator[None]:
    """`with training_mode(False):` every layer called inside behaves so, whatever `.train()` or `.eval()` said."""
    begun = _training.begin(training)
    try:
        yield
    finally:
        _training.end(begun)


def is_training(otherwise: bool = False) -> bool:
    """Is this code run for training? `otherwise` is the answer outside of any `training_mode` block."""
    training = _training.block().value
    return otherwise if training is None else training


@contextmanager
def name_scope(name: str) -> Iterator[None]:
    """`with name_scope("encoder"):` parameters made inside, and not by a layer, have paths such as `encoder.w`."""
    begun = _scope.begin(join_path(_scope.block().value, name))
    try:
        yield
    finally:
        _scope.end(begun)


def join_path(*names: str) -> str:
    """The path of a part of a part: join_path("encoder", "", "0") is "encoder.0"."""
    return ".".join(n for n in names if n)


# ------------------------------------------------------------------------------------------------ parameters
class Parameter(Tensor):
    """A leaf tensor that is learnt.

    data         its values, or None: then they come from `initializer(shape, dtype, generator)` when it is built
    shape        may be known already, while the values are not
    trainable    False: frozen. The same thing as `requires_grad`
    regularizer  a function of the parameter that gives a penalty, to be added to the loss; or None
    path         where it stands in its model, "encoder.0.kernel": the name of its initial values and in a state_dict

    Raises NotBuiltError when its values are read too early.
    """

    __slots__ = ("_declared", "_dtype", "initializer", "path", "regularizer")

    def __init__(
        self,
        data: Any = None,
        *,
        initializer: Initializer | None = None,
        shape: Sequence[int] | None = None,
        dtype: Any = None,
        trainable: bool = True,
        regularizer: Callable[[Tensor], Tensor] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(None, trainable)
        del self.data  # an empty slot: reading it comes to __getattr__, and a built parameter pays nothing for that
        self.initializer, self.regularizer = initializer, regularizer
        self.path = join_path(_scope.block().value, name)
        self._dtype = default_dtype() if dtype is None else canonical(dtype)
        self._declared: Shape | None = None
        if data is not None:
            values = data.data if isinstance(data, Tensor) else np.asarray(data)
            self._dtype = values.dtype if dtype is None and values.dtype.kind == "f" else self._dtype
            self.assign(values)
        elif shape is not None:
            self.declare(shape)

    def __getattr__(self, name: str) -> Any:
        """Only what is missing comes here: the values of a parameter that has none yet."""
        if name != "data":
            super().__getattr__(name)
        if self._declared is None:
            self._not_built()
        self._fill(default_generator().at(self.path) if self.path else default_generator())
        return self.data

    def _not_built(self) -> NoReturn:
        which = f"'{self.path}' " if self.path else ""
        raise NotBuiltError(
            f"{type(self).__name__} {which}has no values yet, because its shape is not known: "
            "call build(input_shape) of its layer or model, or call that once on data"
        )

    @property
    def built(self) -> bool:
        """Has it values?"""
        try:
            object.__getattribute__(self, "data")  # past __getattr__, which would fill it
        except AttributeError:
            return False
        return True

    @property
    def known_shape(self) -> Shape | None:
        """Its shape, which may be known before it has values; or None."""
        return self.shape if self.built else self._declared

    @property
    def trainable(self) -> bool:
        return self.requires_grad

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        self.requires_grad = trainable

    def declare(self, shape: Sequence[int]) -> Parameter:
        """Give it a shape; values follow when its layer is built, or when they are first read."""
        shape = tuple(int(n) for n in shape)
        known = self.known_shape
        if known is not None and known != shape:
            raise ShapeError(
                f"parameter '{self.path}' has shape {known} and can't be built again with {shape}: "
                "make a new layer for inputs of another shape"
            )
        self._declared = shape
        return self

    def build(self, shape: Sequence[int] | None = None, generator: Generator | None = None) -> Parameter:
        """Give it a shape (unless it has one) and its initial values (unless it has some); returns itself."""
        if shape is not None:
            self.declare(shape)
        if not self.built:
            if self._declared is None:
                self._not_built()
            self._fill(generator or default_generator().at(self.path))
        return self

    def _fill(self, generator: Generator) -> None:
        assert self._declared is not None
        if self.initializer is None:
            raise NotBuiltError(
                f"parameter '{self.path}' of shape {self._declared} has no initializer: "
                "give it initializer= or its values"
            )
        values = np.asarray(self.initializer(self._declared, self._dtype, generator))
        if values.shape != self._declared:
            raise ShapeError(
                f"parameter '{self.path}': its initializer gave values of shape {values.shape}, not {self._declared}; "
                "an initializer is called with (shape, dtype, generator) and returns an array of that shape"
            )
        self.data = get_backend(current_device()).asarray(np.array(values, self._dtype, order="C"))

    def assign(self, values: Any) -> None:
        """Replace the values, in place: whoever shares the memory sees it, and graphs that saved them notice.

        Raises ShapeError where shapes differ and DTypeError for what is not real numbers.
        """
        new = values.data if isinstance(values, Tensor) else values if is_owned(values) else np.asarray(values)
        if new.dtype.kind not in "fiub" and new.dtype.name != "bfloat16":
            raise DTypeError(f"parameter '{self.path}': values must be real numbers, got {new.dtype}")
        wanted = self.known_shape
        if wanted is not None and new.shape != wanted:
            raise ShapeError(f"parameter '{self.path}' has shape {wanted}, its new values {new.shape}; make them equal")
        if self.built and getattr(self.data.flags, "writeable", True):
            with self.backend.active():
                self.data[...] = move(new, self.backend)
        else:
            home = self.backend if self.built else backend_of(new)
            if home.name == "cpu":
                home = get_backend(current_device())
            with home.active():
                self.data = home.xp.array(move(new, home), self._dtype, order="C")
            self._declared = new.shape
        self.mark_changed()

    # -------------------------------------------------------------------------------------------- copies
    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """A parameter of its own: values, no gradient, no hooks."""
        new = memo[id(self)] = type(self).__new__(type(self))
        state = self.__getstate__()
        state["data"] = None if state["data"] is None else state["data"].copy()
        state["initializer"] = copy.deepcopy(self.initializer, memo)
        state["regularizer"] = copy.deepcopy(self.regularizer, memo)
        new.__setstate__(state)
        return new

    def __reduce__(self) -> Any:
        state = self.__getstate__()
        if self.built:
            state["initializer"] = None  # it has done its work, and may be a function that can't be pickled
        return _empty, (type(self),), state

    def __getstate__(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in Parameter.__slots__}
        data = backend_of(self.data).to_numpy(self.data) if self.built else None
        device = self.device if self.built else "cpu"
        return facts | {"data": data, "requires_grad": self.requires_grad, "device": device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        data = state["data"]
        Tensor.__init__(self, data if data is None else get_backend(state.get("device", "cpu")).asarray(data))
        if state["data"] is None:
            del self.data
        for name in (*Parameter.__slots__, "requires_grad"):
            setattr(self, name, state[name])

    def __repr__(self) -> str:
        word = type(self).__name__
        which = f"'{self.path}', " if self.path else ""
        if not self.built:
            return f"{word}({which}{'not built' if self._declared is None else f'shape={self._declared}, no values'})"
        return f"{word}({which}{Tensor.__repr__(self)})"


class Buffer(Parameter):
    """A part of a layer's state that is not learnt, such as a running mean: saved and moved, never trained."""

    __slots__ = ()

    def __init__(self, data: Any = None, **options: Any) -> None:
        super().__init__(data, **{**options, "trainable": False})


def _empty(kind: type[Parameter]) -> Parameter:
    return kind.__new__(kind)
