"""What every op has: its record, the registry, and the way of tensors into it and out of it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import replay
from .autograd import Node
from .backends import Array, Backend, backend_of, current_device, get_backend, is_owned, move
from .dtypes import canonical, default_dtype
from .errors import DeviceError, DTypeError
from .samples import Domain, Draw, Kink
from .shapes import Shape, Signature
from .tensor import Tensor, from_python

OPS: dict[str, Op] = {}


def refuse_second(name: str) -> None:
    """Raise ValueError if there is an op of this name."""
    if name in OPS:
        raise ValueError(f"there is an op '{name}' already, in {OPS[name].where}: choose another name")


@dataclass(frozen=True)
class Note:
    """What the record says besides what runs: for the reader, the docs and the tests."""

    definition: str = ""  # index notation or LaTeX of structural ops
    why: str = ""  # the reason for a stable form, and what it avoids
    source: str = ""  # paper, section, equation
    equations: tuple[str, ...] = ()  # the documents' numbers, e.g. ("E12",)
    special: Mapping[Any, Any] = field(default_factory=dict)
    kinks: Sequence[Kink] = ()
    ulps: int = 8  # how far forward may be from the definition, in units in the last place of float64
    invariants: Sequence[Callable[..., Any]] = ()
    domain: Sequence[Domain] = ()
    samples: Callable[[Draw], tuple[Sequence[Any], dict[str, Any]]] | None = None  # inputs and params for a test
    errors: Sequence[tuple[Callable[..., Any], str]] = ()  # (a bad call of the op, what the message must match)
    reference: Callable[..., Any] | None = None  # plain NumPy or loops, where index notation can't say it
    autocast: str = ""  # within `autocast`: "half" for products, "float32" for what 16 bits would spoil
    letters: Callable[..., Mapping[str, Any]] | None = (
        None  # (*inputs, **params) -> what else the definition's letters stand for
    )


class Op:
    """An operation: callable on tensors, arrays and Python scalars."""

    name: str
    note: Note
    signature: Signature | None = None
    differentiable = True

    @property
    def latex(self) -> str:
        """The equation that this op computes."""
        raise NotImplementedError

    def __init__(self, name: str, note: Note, source: Callable[..., Any] | None) -> None:
        self.name, self.note, self.__name__ = name, note, name
        code = getattr(inspect.unwrap(source), "__code__", None) if source else None
        frame = sys._getframe(3)
        self.file: str = code.co_filename if code else frame.f_code.co_filename
        self.line: int = code.co_firstlineno if code else frame.f_lineno
        self.__module__ = frame.f_globals.get("__name__", "engine.ops")
        self._enter()

    def _enter(self) -> None:
        """Into the registry."""
        refuse_second(self.name)
        OPS[self.name] = self

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        raise NotImplementedError

    def pull(self, node: Node, g: Any, create_graph: bool) -> Sequence[Any]:
        """One cotangent per input, of the cotangent g of the node's result."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> Any:
        """There is one op of a name: a copy, and what comes out of a pickle, is that."""
        return _by_name, (self.name,)


def _by_name(name: str) -> Op:
    return OPS[name]


# ------------------------------------------------------------------------------------------------ tensors in and out
def unwrap(op: str, args: Sequence[Any]) -> tuple[list[Any], list[Tensor | None], str, bool]:
    """Arrays and weak scalars of args, the tensors among them, their device, and whether a gradient is wanted."""
    arrays: list[Any] = []
    tensors: list[Tensor | None] = []
    device: str | None = None
    wanted = foreign = False
    for a in args:
        if isinstance(a, Tensor):
            data = a.data
            arrays.append(data)
            tensors.append(a)
            wanted = wanted or a.requires_grad
            name = "cpu" if type(data) is np.ndarray else backend_of(data).name
            if device is not None and name != device:
                raise DeviceError(
                    f"{op}: tensors on '{device}' and '{name}' meet; move one of them with .to(\"{device}\")"
                )
            device = name
        else:
            tensors.append(None)
            if a is None or type(a) in (float, int, bool):
                arrays.append(a)
            else:
                arrays.append(_foreign(op, a))
                foreign = True
    device = device or current_device()
    if device != "cpu":
        if foreign:  # arrays and lists go where the tensors are
            backend = get_backend(device)
            arrays = [a if t is not None else _placed(a, backend) for a, t in zip(arrays, tensors, strict=True)]
        replay.reads(arrays, tensors)
    return arrays, tensors, device, wanted


def _placed(a: Any, backend: Backend) -> Any:
    return a if a is None or isinstance(a, (float, int, bool)) else move(a, backend)


def _foreign(op: str, a: Any) -> Any:
    """An argument that is no tensor: an array keeps its dtype, a list takes the default one, a scalar is weak."""
    if isinstance(a, (np.generic, np.ndarray)):
        canonical(a.dtype)
        return a.item() if isinstance(a, np.generic) and a.dtype.kind in "fiub" else get_backend("cpu").asarray(a)
    if isinstance(a, (list, tuple, range)):
        array = from_python(op, a)
        return array.astype(default_dtype()) if array.dtype == np.float64 else array
    if is_owned(a):
        return a
    if hasattr(a, "__array__") or hasattr(a, "__dlpack__"):
        return get_backend("cpu").asarray(a)
    if isinstance(a, complex):
        raise DTypeError(f"{op}: complex tensors are not supported yet; keep real and imaginary parts as two tensors")
    raise DTypeError(
        f"{op}: an argument of type {type(a).__name__} is not a tensor, an array or a number; "
        "convert it with engine.tensor(...)"
    )


def record(
    op: Op,
    y: Array,
    aux: Any,
    arrays: Sequence[Any],
    tensors: Sequence[Tensor | None],
    params: dict[str, Any],
    keep: Sequence[bool],
    keep_y: bool,
) -> Tensor:
    """The result as a tensor with its node on the tape."""
    out = Tensor(y, True)
    parents: list[Node | Tensor | None] = []
    saved: list[Any] = []
    metas: list[tuple[Shape, Any]] = []
    for a, t, k in zip(arrays, tensors, keep, strict=True):
        if t is None:
            parents.append(None)
            metas.append(meta(a))
        else:
            parents.append((t.node or t) if t.requires_grad else None)
            metas.append((t.data.shape, t.data.dtype))
        saved.append(a if k or isinstance(a, (float, int)) else None)
    out.node = Node(op, parents, saved, metas, params, y if keep_y else None, aux, y.shape, y.dtype)
    return out


def meta(a: Any) -> tuple[Shape, Any]:
    """Shape and dtype of an input, which its cotangent will have; a Python number has no dtype."""
    return (a.shape, a.dtype) if hasattr(a, "dtype") else ((), None)


def rebuild(node: Node, create_graph: bool) -> list[Any]:
    """The inputs a vjp sees: with their graph under create_graph, else bare tensors; a stub where nothing was kept."""
    inputs: list[Any] = []
    for parent, array, (shape, dtype) in zip(node.parents, node.arrays, node.inputs, strict=True):
        if array is None:
            inputs.append(Unkept(shape, dtype) if dtype is not None else None)
        elif dtype is None:  # a Python scalar
            inputs.append(array)
        elif create_graph and isinstance(parent, Tensor):
            inputs.append(parent if parent.data is array else _as_it_was(parent, array, (shape, dtype)))
        else:
            t = Tensor(array)
            if create_graph and isinstance(parent, Node):
                t.node, t.requires_grad = parent, True
            inputs.append(t)
    return inputs


def _as_it_was(leaf: Tensor, array: Any, was: tuple[Shape, Any]) -> Tensor:
    """A leaf with the values that the op met, where `leaf.data = ...` has given it others since: a graph is that of
    its forward pass.
    """
    return Tensor(array, True, Node(OPS["positive"], [leaf], [None], [was], {}, None, None, array.shape, array.dtype))


def result_of(node: Node, create_graph: bool) -> Any:
    if node.y is None:
        return Unkept(node.shape, None)
    y = Tensor(node.y)
    if create_graph:
        y.node, y.requires_grad = node, True
    return y


class Unkept:
    """Stands for an input whose values the vjp does not read: it has a shape and a dtype, and no data."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Shape, dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)
