"""The tensor: an array, its gradient, and the node that made it.

Operators and methods are written out; all of them call the ops of `engine.ops`, where the equations are. Activations
and other functions are functions, not methods.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import autograd, changes, elsewhere, replay
from .backends import Array, Backend, backend_of, current_device, get_backend, is_device, is_owned, move
from .dtypes import canonical, default_dtype, is_float
from .errors import DTypeError, GradientError, IndexRangeError, ShapeError
from .shapes import Shape

GPU_MEMORY = 2, 13  # in DLPack's enumeration: CUDA's, and what CUDA moves by itself


class Storage:
    """What views of one memory share: a version that each change bumps, and the live views."""

    __slots__ = ("most", "version", "views")

    def __init__(self) -> None:
        self.version = 0
        self.views: list[weakref.ref[Tensor]] = []  # and some that are no more
        self.most = 8  # of them, before we look who is still there

    def shown_by(self, view: Tensor) -> None:
        if len(self.views) >= self.most:
            self.views = [r for r in self.views if r() is not None]
            self.most = 2 * len(self.views) + 8
        self.views.append(weakref.ref(view))


class Tensor:
    """An n-dimensional array that can be differentiated.

    data            the array, on the tensor's device
    requires_grad   are operations on it recorded?
    grad            after backward, for a leaf: d(result)/d(self), a Tensor of the same shape; else None

    Make one with `engine.tensor(data)`.
    """

    __slots__ = ("__weakref__", "_hooks", "_storage", "data", "grad", "node", "requires_grad")
    __array_priority__ = 1000
    __array_ufunc__ = None  # np.float32(2) * tensor comes to us

    data: Any

    def __init__(self, data: Array, requires_grad: bool = False, node: autograd.Node | None = None) -> None:
        self.data = data
        self.requires_grad = requires_grad
        self.grad: Tensor | None = None
        self.node = node
        self._storage: Storage | None = None
        self._hooks: list[Callable[[Tensor], Tensor | None]] | None = None

    # -------------------------------------------------------------------------------------------- facts
    @property
    def shape(self) -> Shape:
        return self.data.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return self.data.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        return self.data.size  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> str:
        return backend_of(self.data).name

    @property
    def backend(self) -> Backend:
        return backend_of(self.data)

    @property
    def is_leaf(self) -> bool:
        """True for a tensor that no recorded op made; only leaves get `.grad`."""
        return self.node is None

    @property
    def storage(self) -> Storage:
        if self._storage is None:
            self._storage = Storage()
        return self._storage

    def mark_changed(self) -> None:
        """Say that the values were written to in place: graphs that saved the old ones refuse to use the new."""
        self.storage.version += 1
        changes.mark(self.data)
        replay.reads((self.data,), (self,))

    def share_storage(self, base: Tensor) -> None:
        """Declare that this tensor is a view of `base`."""
        storage = self._storage = base.storage
        if not storage.views:
            storage.shown_by(base)
        storage.shown_by(self)

    def __getattr__(self, name: str) -> Any:
        """Only what is missing comes here."""
        raise elsewhere.NoAttribute(type(self), name)

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len() of a tensor with no axes; use .item() for its value")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise ShapeError("a tensor with no axes can't be iterated over; use .item() for its value")
        return (self[i] for i in range(self.shape[0]))

    def __repr__(self) -> str:
        body = np.array2string(self.numpy(), separator=", ", prefix="tensor(", threshold=100, edgeitems=3, precision=4)
        facts = [f"shape={self.shape}", f"dtype={self.dtype}"]
        if self.device != "cpu":
            facts.append(f"device='{self.device}'")
        if self.node is not None:
            facts.append(f"from={self.node.op.name}")
        elif self.requires_grad:
            facts.append("requires_grad=True")
        return f"tensor({body}, {', '.join(facts)})"

    __hash__ = object.__hash__

    # -------------------------------------------------------------------------------------------- values out
    def numpy(self) -> Any:
        """The values as a NumPy array that can't be written to (it may share the tensor's memory)."""
        view = backend_of(self.data).to_numpy(self.data).view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if copy:
            return np.array(self.numpy(), dtype=dtype, copy=True)
        return self.numpy() if dtype is None or np.dtype(dtype) == self.dtype else self.numpy().astype(dtype)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        import engine

        return engine

    def __dlpack__(self, **options: Any) -> Any:
        if self.requires_grad:
            raise GradientError(
                "a tensor that requires a gradient can't be exported: another library would not record; use t.detach()"
            )
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def item(self) -> Any:
        """The value of a tensor of one element, as a Python number."""
        if self.size != 1:
            raise ShapeError(f"item() needs a tensor of one element, this one has shape {self.shape}; use .tolist()")
        return backend_of(self.data).to_numpy(self.data).item()

    def tolist(self) -> Any:
        return self.numpy().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(f"a tensor of shape {self.shape} has no single truth value; use .any() or .all()")
        return bool(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise DTypeError(f"only an integer tensor can be an index, this one is {self.dtype}")
        return int(self.item())

    # -------------------------------------------------------------------------------------------- gradients
    def backward(self, gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add d(self)/dx to `x.grad` of every leaf x. See `engine.autograd.backward`."""
        autograd.backward(self, gradient, retain_graph=retain_graph, create_graph=create_graph)

    def detach(self) -> Tensor:
        """The same values without history; shares the memory."""
        t = Tensor(self.data)
        t._storage = self.storage
        replay.reads((self.data,), (self,))
        return t

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` of a leaf, and return it."""
        if self.node is not None and not requires_grad:
            raise GradientError("requires_grad=False on a result of a recorded op; use .detach()")
        if requires_grad and not is_float(self.dtype):
            raise DTypeError(
                f"only floating tensors have gradients, this one is {self.dtype}; cast with .astype('float32')"
            )
        self.requires_grad = requires_grad
        return self

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Call hook(gradient) when this tensor's gradient is known; a returned tensor replaces it. Returns a
        remover.
        """
        if not self.requires_grad:
            raise GradientError("register_hook: this tensor requires no gradient")
        if self.node is None:
            hooks = self._hooks = self._hooks or []
        else:
            hooks = self.node.hooks = self.node.hooks or []
        hooks.append(hook)
        return lambda: hooks.remove(hook)

    def retain_grad(self) -> None:
        """Keep `.grad` of a tensor that is not a leaf, too."""
        if self.node is None:
            return
        me = weakref.ref(self)

        def keep(g: Tensor) -> None:
            t = me()
            if t is not None:
                t.grad = g if t.grad is None else t.grad + g

        self.register_hook(keep)

    # -------------------------------------------------------------------------------------------- copies and casts
    def clone(self) -> Tensor:
        """A copy, recorded."""
        return ops.positive(self)

    def astype(self, dtype: Any) -> Tensor:
        """A copy in another dtype, recorded where both are floats."""
        return ops.astype(self, dtype=canonical(dtype))

    def to(self, target: Any) -> Tensor:
        """The tensor on a device ("cpu", "cuda:0") or in a dtype; itself if it is there already. Recorded."""
        if isinstance(target, str) and is_device(target):
            name = get_backend(target).name
            return self if name == self.device else ops.to_device(self, device=name)
        dtype = canonical(target)
        return self if dtype == self.dtype else self.astype(dtype)

    def float(self) -> Tensor:
        return self.to("float32")

    def double(self) -> Tensor:
        return self.to("float64")

    def long(self) -> Tensor:
        return self.to("int64")

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self) -> Tensor:
        return self.to("cuda")

    def __copy__(self) -> Tensor:
        return self.detach().requires_grad_(self.requires_grad and self.is_leaf)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.node is not None:
            raise GradientError("deepcopy of a tensor in a graph; copy t.detach() instead")
        t = Tensor(self.data.copy(), self.requires_grad)
        memo[id(self)] = t
        return t

    def __reduce__(self) -> Any:
        return _unpickle, (self.numpy(), self.requires_grad and self.is_leaf, self.device)

    # -------------------------------------------------------------------------------------------- arithmetic
    def __add__(self, o: Any) -> Tensor:
        return ops.add(self, o)

    def __radd__(self, o: Any) -> Tensor:
        return ops.add(o, self)

    def __sub__(self, o: Any) -> Tensor:
        return ops.subtract(self, o)

    def __rsub__(self, o: Any) -> Tensor:
        return ops.subtract(o, self)

    def __mul__(self, o: Any) -> Tensor:
        return ops.multiply(self, o)

    def __rmul__(self, o: Any) -> Tensor:
        return ops.multiply(o, self)

    def __truediv__(self, o: Any) -> Tensor:
        return ops.divide(self, o)

    def __rtruediv__(self, o: Any) -> Tensor:
        return ops.divide(o, self)

    def __floordiv__(self, o: Any) -> Tensor:
        return ops.floor_divide(self, o)

    def __rfloordiv__(self, o: Any) -> Tensor:
        return ops.floor_divide(o, self)

    def __mod__(self, o: Any) -> Tensor:
        return ops.remainder(self, o)

    def __rmod__(self, o: Any) -> Tensor:
        return ops.remainder(o, self)

    def __pow__(self, o: Any) -> Tensor:
        return ops.square(self) if isinstance(o, (int, float)) and o == 2 else ops.pow(self, o)

    def __rpow__(self, o: Any) -> Tensor:
        return ops.pow(o, self)

    def __matmul__(self, o: Any) -> Tensor:
        y: Tensor = ops.matmul(self, o)
        return y

    def __rmatmul__(self, o: Any) -> Tensor:
        y: Tensor = ops.matmul(o, self)
        return y

    def __neg__(self) -> Tensor:
        return ops.negative(self)

    def __pos__(self) -> Tensor:
        return ops.positive(self)

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __lt__(self, o: Any) -> Tensor:
        return ops.less(self, o)

    def __le__(self, o: Any) -> Tensor:
        return ops.less_equal(self, o)

    def __gt__(self, o: Any) -> Tensor:
        return ops.greater(self, o)

    def __ge__(self, o: Any) -> Tensor:
        return ops.greater_equal(self, o)

    def __eq__(self, o: Any) -> Tensor:  # type: ignore[override]
        return ops.equal(self, o)

    def __ne__(self, o: Any) -> Tensor:  # type: ignore[override]
        return ops.not_equal(self, o)

    def __and__(self, o: Any) -> Tensor:
        return ops.bitwise_and(self, o)

    def __rand__(self, o: Any) -> Tensor:
        return ops.bitwise_and(o, self)

    def __or__(self, o: Any) -> Tensor:
        return ops.bitwise_or(self, o)

    def __ror__(self, o: Any) -> Tensor:
        return ops.bitwise_or(o, self)

    def __xor__(self, o: Any) -> Tensor:
        return ops.bitwise_xor(self, o)

    def __rxor__(self, o: Any) -> Tensor:
        return ops.bitwise_xor(o, self)

    def __lshift__(self, o: Any) -> Tensor:
        return ops.bitwise_left_shift(self, o)

    def __rshift__(self, o: Any) -> Tensor:
        return ops.bitwise_right_shift(self, o)

    def __invert__(self) -> Tensor:
        return ops.bitwise_invert(self)

    # -------------------------------------------------------------------------------------------- reductions
    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return ops.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def var(self, axis: Any = None, correction: Any = 0, keepdims: bool = False) -> Tensor:
        return ops.var(self, axis=axis, correction=correction, keepdims=keepdims)

    def std(self, axis: Any = None, correction: Any = 0, keepdims: bool = False) -> Tensor:
        return ops.std(self, axis=axis, correction=correction, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return ops.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return ops.min(self, axis=axis, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return ops.prod(self, axis=axis, keepdims=keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return ops.all(self, axis=axis, keepdims=keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return ops.any(self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return ops.argmax(self, axis=axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return ops.argmin(self, axis=axis, keepdims=keepdims)

    # -------------------------------------------------------------------------------------------- shape
    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; one side may be -1."""
        return ops.reshape(self, shape=_shape_argument(shape))

    def permute_dims(self, *axes: Any) -> Tensor:
        return ops.permute_dims(self, axes=_shape_argument(axes))

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        return ops.swapaxes(self, axis1=axis1, axis2=axis2)

    def expand_dims(self, axis: int = 0) -> Tensor:
        y: Tensor = ops.expand_dims(self, axis=axis)
        return y

    def squeeze(self, axis: Any = None) -> Tensor:
        y: Tensor = ops.squeeze(self, axis=axis)
        return y

    def flatten(self, start: int = 0) -> Tensor:
        """Axes from `start` on as one: (N, H, W, C).flatten(1) -> (N, H*W*C)."""
        return ops.reshape(self, shape=(*self.shape[:start], int(np.prod(self.shape[start:]))))

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise ShapeError(f".T is for matrices, this tensor has shape {self.shape}; use .mT or permute_dims")
        return ops.permute_dims(self, axes=(1, 0))

    @property
    def mT(self) -> Tensor:
        """Each matrix transposed: the last two axes swapped."""
        if self.ndim < 2:
            raise ShapeError(f".mT needs at least two axes, this tensor has shape {self.shape}")
        return ops.swapaxes(self, axis1=-1, axis2=-2)

    # -------------------------------------------------------------------------------------------- indexing
    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index=index)

    def __setitem__(self, index: Any, value: Any) -> None:
        """Change elements in place: the one way to mutate a tensor. It is recorded."""
        if not isinstance(value, Tensor):
            value = asarray(value, dtype=self.dtype if is_float(self.dtype) else None, device=self.device)
        if is_float(value.dtype) and not is_float(self.dtype):
            raise DTypeError(
                f"setitem: {value.dtype} values into a tensor of {self.dtype} would lose their fractions; "
                f"cast one of them (t.astype('float32') or value.astype('{self.dtype}'))"
            )
        recorded = autograd.is_grad_enabled() and (self.requires_grad or value.requires_grad)
        new = None
        if recorded:
            self._refuse_mutation()
            new = ops.set_at(self, value, index=index)
        backend = self.backend
        plain = ops.placed_index(index, self.shape, backend)
        if not getattr(self.data.flags, "writeable", True):
            self.data = self.data.copy()
        try:
            backend.assign(self.data, plain, value.data)
        except (ValueError, IndexError) as e:
            kind = IndexRangeError if isinstance(e, IndexError) else ShapeError
            raise kind(
                f"setitem: can't write values of shape {value.shape} into {self.shape} at [{index!r}]: {e}"
            ) from None
        self.mark_changed()
        if new is not None:
            self.node, self.requires_grad = new.node, True

    def _refuse_mutation(self) -> None:
        if self.node is None and self.requires_grad:
            raise GradientError(
                "t[idx] = v on a leaf that requires a gradient; "
                "do it under no_grad(), or write where(...) and keep the result"
            )
        live = [r() for r in self._storage.views] if self._storage else []
        if any(v is not None and v is not self for v in live):
            raise GradientError(
                "t[idx] = v on a view, or on a tensor with live views, while recording: "
                "the others' graph would not see it; "
                "write where(mask, v, t), or scatter_add into a fresh tensor"
            )


def _shape_argument(shape: tuple[Any, ...]) -> Any:
    """reshape(2, 3) and reshape((2, 3)) are one."""
    sides = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    try:
        return tuple(operator.index(n) for n in sides)
    except TypeError:
        raise ShapeError(f"reshape and permute_dims take integers, or one tuple of them; got {shape}") from None


def _unpickle(data: Any, requires_grad: bool, device: str = "cpu") -> Tensor:
    return tensor(data, device=device, requires_grad=requires_grad)


# ------------------------------------------------------------------------------------------------ making tensors
def tensor(data: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new tensor that owns a copy of `data`: numbers, nested lists, arrays, tensors, anything with __array__ or
    DLPack.

    Floats take the default dtype (float32) unless they come as an array, which keeps its own. Raises DTypeError for
    complex or non-numeric data and ShapeError for ragged lists.
    """
    return _make(data, dtype, device, requires_grad, copy=True)


def asarray(data: Any, *, dtype: Any = None, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A tensor with these values; a tensor passes through, an array is shared where that is possible."""
    if isinstance(data, Tensor) and not copy:
        t = data if device is None else data.to(device)
        return t if dtype is None or canonical(dtype) == t.dtype else t.astype(dtype)
    return _make(data, dtype, device, False, copy=bool(copy))


def _make(data: Any, dtype: Any, device: str | None, requires_grad: bool, copy: bool) -> Tensor:
    if isinstance(data, Tensor):
        data, device = data.data, device or data.device
    goal = None if dtype is None else canonical(dtype)
    if not hasattr(data, "dtype"):
        data = from_python("tensor", data)
        if goal is None and data.dtype.kind == "f":
            goal = default_dtype()
    elif not isinstance(data, (np.ndarray, np.generic)):
        data, device = _from_library(data, device)
    backend = get_backend(device or current_device())
    goal = goal or canonical(data.dtype)
    array = backend.asarray(data, dtype=goal, copy=True if copy else None)
    if requires_grad and not is_float(array.dtype):
        raise DTypeError(
            f"tensor: only floating tensors have gradients, got {array.dtype}; pass dtype='float32' or write 1.0 for 1"
        )
    return Tensor(array, requires_grad)


def _from_library(data: Any, device: str | None) -> tuple[Array, str | None]:
    """Another library's array as one of ours on the device where it lies, without a copy; moved if it is asked for."""
    if hasattr(data, "__dlpack_device__") and int(data.__dlpack_device__()[0]) in GPU_MEMORY:
        owner = get_backend(f"cuda:{data.__dlpack_device__()[1]}")
        data = data if owner.owns(data) else owner.xp.from_dlpack(data)
    elif not is_owned(data):
        data = np.asarray(data) if hasattr(data, "__array__") else np.from_dlpack(data)
    if device is None:
        return data, backend_of(data).name if not isinstance(data, np.ndarray) else None
    return (data if isinstance(data, np.ndarray) else move(data, get_backend(device))), device


def from_python(op: str, data: Any) -> Any:
    """Numbers and nested lists (tensors among them) as a NumPy array."""
    try:
        array = np.asarray(_lower(data))
    except ValueError as e:
        raise ShapeError(f"{op}: the nested lists are ragged ({e}); give every row the same length") from None
    if array.dtype == object:
        raise DTypeError(f"{op}: can't make numbers of {type(data).__name__}; give numbers, nested lists or an array")
    canonical(array.dtype)
    return array


def _lower(data: Any) -> Any:
    if isinstance(data, (list, tuple)):
        return [_lower(d) for d in data]
    return data.numpy() if isinstance(data, Tensor) else data


def as_sequence(x: Any) -> Sequence[Any]:
    return x if isinstance(x, (list, tuple)) else (x,)


from . import ops  # noqa: E402  (the ops need Tensor to exist, and Tensor's methods need the ops)
