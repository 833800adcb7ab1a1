"""Reverse-mode differentiation: the tape and every function that walks it. No other file follows a graph.

Each op that runs on a tensor with `requires_grad` leaves a `Node`: which op, what its vjp will need, and its parents. A
node never points at the tensor it produced, so a graph is a plain tree of references and dies with its last user.

`backward` visits nodes in the reverse of the order in which they were made (that order is topological), so it needs no
recursion: a chain of 100,000 ops is walked as a chain of two. The chain rule is one line:

    x̄_i += vjp_i(ȳ)        for every node y = op(x_1, ..., x_n)

With `create_graph=True` the vjps run on tensors that carry their own graph, and so the result can be differentiated
again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from contextlib import ContextDecorator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from . import changes, replay
from .backends import Array, backend_of, is_owned
from .backends.protocol import SMALL
from .blocks import Setting
from .errors import GradientError, ShapeError
from .shapes import Shape, broadcast_axes
from .summation import added, total

if TYPE_CHECKING:
    from .op import Op
    from .tensor import Tensor

ndarray, tick = np.ndarray, changes.tick
RECORDING, ANOMALY = 1, 2  # bits of the mode: are operations recorded, is every result searched for NaN?
AUTOCAST = 4  # are products rounded to 16 bits? (`precision.autocast`)
_mode = Setting("chainrule_mode", RECORDING)  # of this thread or async task
modes = _mode.block  # modes().value is the mode


def mode() -> int:
    return modes().value


# ------------------------------------------------------------------------------------------------ modes
def is_grad_enabled() -> bool:
    """Are operations recorded at the moment?"""
    return bool(mode() & RECORDING)


class Switched(ContextDecorator):
    """A block in which a bit of the mode is on or off."""

    def __init__(self, bit: int, on: bool) -> None:
        self._wanted = bit, on

    def __enter__(self) -> None:
        (bit, on), now = self._wanted, mode()
        self._begun = _mode.begin(now | bit if on else now & ~bit)

    def __exit__(self, *_: object) -> None:
        _mode.end(self._begun)

    def _recreate_cm(self) -> Switched:  # each call of a decorated function is a block of its own
        return Switched(*self._wanted)


def no_grad() -> Any:
    """`with no_grad():` nothing is recorded. Also a decorator. Per thread and per async task."""
    return Switched(RECORDING, False)


def enable_grad() -> Any:
    """`with enable_grad():` recording, inside a `no_grad` block."""
    return Switched(RECORDING, True)


def detect_anomaly() -> Any:
    """`with detect_anomaly():` the first op whose forward or backward makes a NaN raises GradientError with its
    name.
    """
    return Switched(ANOMALY, True)


def check_finite_step(op: str, phase: str, array: Any) -> None:
    """Raise GradientError when an array made under detect_anomaly holds a NaN."""
    backend = backend_of(array)
    backend.synchronize()
    with backend.active():
        found = int((array != array).sum()) if array.dtype.kind == "f" else 0
    if found:
        raise GradientError(
            f"{op}: its {phase} made {found} NaN in a result of shape {array.shape}; "
            "look at its inputs (a log or sqrt of a negative number, 0/0, inf - inf, or a NaN that came in)"
        )


# ------------------------------------------------------------------------------------------------ the tape
class Node:
    """One recorded operation.

    parents   per input: the node that made it, the leaf tensor itself, or None where no gradient is wanted
    arrays    per input: its values if the vjp reads them or it is a Python number, else None
    metas     per input: (shape, dtype), a number's dtype being None; None for an elementwise op of tensors that are
              all like its result
    y, aux    the result, if the vjp reads it, and what else the op kept
    time      when it was made: a node is younger than its parents
    """

    __slots__ = (
        "arrays", "aux", "dtype", "hooks", "metas", "op", "params", "parents", "shape", "time", "y", "__weakref__",
    )  # fmt: skip

    def __init__(
        self,
        op: Op,
        parents: Sequence[Node | Tensor | None],
        arrays: Sequence[Any],
        metas: Sequence[tuple[Shape, Any]] | None,
        params: dict[str, Any],
        y: Array | None,
        aux: Any,
        shape: Shape,
        dtype: Any,
    ) -> None:
        self.op = op
        self.parents = parents
        self.arrays = arrays
        self.metas = metas
        self.params = params
        self.y = y
        self.aux = aux
        self.shape = shape
        self.dtype = dtype
        self.hooks: list[Callable[[Tensor], Tensor | None]] | None = None
        self.time = tick()

    @property
    def inputs(self) -> Sequence[tuple[Shape, Any]]:
        """Shape and dtype of each input."""
        return [(self.shape, self.dtype)] * len(self.parents) if self.metas is None else self.metas

    @property
    def freed(self) -> bool:
        return self.parents is _FREED

    def free(self) -> None:
        """Let go of everything saved. The parents go too, so a long chain is released link by link."""
        self.parents = _FREED
        self.arrays = ()
        self.y = self.aux = None

    def check(self) -> None:
        """Raise GradientError when the graph is gone or a saved value was changed."""
        if self.freed:
            raise GradientError(
                f"backward through '{self.op.name}' a second time: its graph was freed by the first; "
                "pass retain_graph=True to the earlier call if you need both"
            )
        for array in (*self.arrays, self.y):
            if hasattr(array, "strides") and changes.changed(array, self.time):
                raise GradientError(
                    f"'{self.op.name}' needs a value of shape {array.shape} that was changed in place after it was "
                    "used; change a copy (t.clone()), or write where(...) or scatter instead of t[idx] = v"
                )

    def __repr__(self) -> str:
        return f"<{self.op.name} -> {self.shape}>"


_FREED: tuple[Any, ...] = ("freed",)


# ------------------------------------------------------------------------------------------------ the walk
def _walk(
    roots: Sequence[tuple[Tensor, Any]],
    *,
    targets: Sequence[Tensor] | None,
    create_graph: bool,
    retain_graph: bool,
) -> tuple[dict[int, Any], dict[int, Tensor]]:
    """Cotangents by id of wanted node or leaf tensor, and those leaves. With `targets`, only what leads to them
    is visited.
    """
    wanted = None if targets is None else {id(t.node or t) for t in targets}
    useful, gone = (None, None) if wanted is None else _leading_to([t.node for t, _ in roots], wanted)
    bar: dict[int, Any] = {}  # id of a node or leaf -> its cotangent so far: array, or Tensor under create_graph
    sums: set[int] = set()  # whose cotangent is a sum that was made here: the next term is added in place
    leaves: dict[int, Tensor] = {}
    heap: list[tuple[int, Node]] = []
    kept: dict[int, Any] = {}

    push, pop, pushpop = heapq.heappush, heapq.heappop, heapq.heappushpop
    ahead: Node | None = None  # waits outside of the heap: in a chain nothing else does
    arriving: Iterable[tuple[Any, Any]] = [(t.node or t, g) for t, g in roots if t.requires_grad]
    # backward goes in the precision of the forward pass, wherever it is called
    now = modes().value & ~AUTOCAST
    begun = _mode.begin(now | RECORDING if create_graph else now & ~RECORDING)
    try:
        while True:
            for receiver, x_bar in arriving:
                if receiver is None or x_bar is None:
                    continue
                key = id(receiver)
                if key in bar:
                    if key in sums:
                        bar[key] = _plus_in_place(bar[key], x_bar)
                    else:
                        bar[key] = _plus(bar[key], x_bar)
                        if not create_graph:
                            sums.add(key)
                elif type(receiver) is Node:
                    if useful is None or key in useful:
                        bar[key] = x_bar
                        if ahead is None:
                            ahead = receiver
                        else:
                            push(heap, (-receiver.time, receiver))
                elif wanted is None or key in wanted:
                    bar[key] = x_bar
                    leaves[key] = receiver
            if ahead is None:
                if not heap:
                    break
                node = pop(heap)[1]
            else:
                node = pushpop(heap, (-ahead.time, ahead))[1] if heap else ahead
                ahead = None
            g = bar.pop(id(node))
            arriving = ()
            if node.hooks:
                g = _apply_hooks(node.hooks, g, create_graph)
            if wanted is not None and id(node) in wanted:
                kept[id(node)] = g
                if not _behind(node, useful, wanted):
                    continue
            if changes.last > node.time or node.parents is _FREED:
                node.check()
            values = g.data if create_graph else g
            if type(values) is ndarray or isinstance(values, np.generic):
                cotangents = node.op.pull(node, g, create_graph)
                if node.metas is not None:
                    cotangents = _fitted(node, cotangents)
            else:  # a graph may lie on several devices
                with backend_of(values).active():
                    cotangents = _fitted(node, node.op.pull(node, g, create_graph))
            if now & ANOMALY:
                _check_finite_step(node, cotangents, create_graph)
            arriving = zip(node.parents, cotangents)  # noqa: B905 (a keyword costs more than the rest of this line)
            if not retain_graph:
                node.free()
    finally:
        _mode.end(begun)
    for key, leaf in leaves.items():
        g = bar[key]
        kept[key] = _apply_hooks(leaf._hooks, g, create_graph) if leaf._hooks else g
    if wanted and gone and not wanted <= kept.keys():
        gone.check()  # what was not reached may lie behind it
    return kept, leaves


def _fitted(node: Node, cotangents: Sequence[Any]) -> Sequence[Any]:
    """One cotangent for each input, in its shape and dtype."""
    if node.metas is None:
        return cotangents
    return [
        None if x_bar is None else _fit(x_bar, meta, node.op.name)
        for x_bar, meta in zip(cotangents, node.metas, strict=True)
    ]


def _check_finite_step(node: Node, cotangents: Sequence[Any], create_graph: bool) -> None:
    for parent, x_bar in zip(node.parents, cotangents, strict=True):
        if parent is not None and x_bar is not None:
            check_finite_step(node.op.name, "backward", x_bar.data if create_graph else x_bar)


def _plus(a: Any, b: Any) -> Any:
    """a + b. Of two arrays without axes NumPy makes a scalar; a cotangent stays an array."""
    if type(a) is np.ndarray:
        return added(a, b) if a.size >= SMALL else np.asarray(a + b)
    if is_owned(a):
        with backend_of(a).active():
            return a + b
    total = a + b
    return np.asarray(total) if isinstance(total, np.generic) else total


def _plus_in_place(a: Any, b: Any) -> Any:
    if type(a) is np.ndarray:
        a += b
        return a
    with backend_of(a).active():
        a += b
    return a


def _owner(array: Any) -> Any:
    """The array that owns the memory which this one shows, or whatever else owns it."""
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return array


def _behind(node: Node, useful: set[int] | None, wanted: set[int]) -> bool:
    """Does a wanted node have another wanted one behind it?"""
    return useful is None or any(p is not None and (id(p) in useful or id(p) in wanted) for p in node.parents)


def _leading_to(starts: Sequence[Node | None], wanted: set[int]) -> tuple[set[int], Node | None]:
    """The nodes from which a wanted node or leaf can be reached, without recursion; and one whose graph was freed."""
    order: list[Node] = []
    seen: set[int] = set()
    stack = [n for n in starts if n is not None]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            order.append(node)
            stack.extend(p for p in node.parents if isinstance(p, Node))
    useful: set[int] = set()
    for node in sorted(order, key=lambda n: n.time):  # parents are older than their children
        if id(node) in wanted or any(p is not None and (id(p) in useful or id(p) in wanted) for p in node.parents):
            useful.add(id(node))
    return useful, next((node for node in order if node.freed), None)


def _fit(g: Any, meta: tuple[Shape, Any], op: str) -> Any:
    """A cotangent in its input's shape and dtype: the one place where broadcasting is undone."""
    shape, dtype = meta
    if g.shape != shape:
        g = unbroadcast(g, shape, op)
    return g if g.dtype == dtype else g.astype(dtype)


def unbroadcast(g: Any, shape: Shape, op: str = "unbroadcast") -> Any:
    """Sum a cotangent over the axes along which its input was repeated. g: array or Tensor.

    y_{ij} = x_j  ⇒  x̄_j = Σ_i ȳ_{ij}
    """
    axes = broadcast_axes(shape, g.shape)
    if axes:
        g = g.sum(axis=axes, keepdims=True) if hasattr(g, "node") else total(g, axes, keepdims=True)
    if g.shape == shape:
        return g
    try:
        return g.reshape(shape)
    except (ValueError, ShapeError):
        raise GradientError(
            f"the vjp of '{op}' gave a cotangent of shape {g.shape} for an input of shape {shape}"
        ) from None


def _apply_hooks(hooks: Sequence[Callable[[Tensor], Tensor | None]], g: Any, create_graph: bool) -> Any:
    from .tensor import Tensor

    t = g if isinstance(g, Tensor) else Tensor(g)
    for hook in hooks:
        replaced = hook(t)
        if replaced is None:
            continue
        if not isinstance(replaced, Tensor) or replaced.shape != t.shape:
            found = f"of shape {replaced.shape}" if isinstance(replaced, Tensor) else type(replaced).__name__
            raise GradientError(
                f"a hook returned a {'tensor ' if isinstance(replaced, Tensor) else ''}{found} for a gradient of "
                f"shape {t.shape}; return None, or a tensor of that shape"
            )
        t = replaced
    return t if create_graph else t.data


def _seed(y: Tensor, g: Any, what: str) -> Tensor:
    """The cotangent a walk starts from."""
    made, asarray = _tensor()
    if not y.requires_grad:
        raise GradientError(
            f"{what}: the tensor (shape {y.shape}) has no graph: none of its inputs requires a gradient, or it was "
            "made under no_grad or detached; create inputs with requires_grad=True"
        )
    if g is None:
        if y.size != 1:
            raise GradientError(
                f"{what}: the tensor has shape {y.shape}; a gradient starts from one number. Reduce it first "
                "(.sum() or .mean()), or pass gradient= of the same shape"
            )
        backend = backend_of(y.data)
        with backend.active():
            return made(backend.xp.ones_like(y.data))
    there, given = y.data, g.data if isinstance(g, made) else None
    alike = type(given) is type(there) is np.ndarray and given.dtype == there.dtype
    seed: Tensor = g if alike else asarray(g, dtype=y.dtype, device=y.device)
    if seed.data.shape != there.shape:
        raise ShapeError(f"{what}: gradient has shape {seed.shape}, the tensor {y.shape}; they must be equal")
    return seed


@cache
def _tensor() -> tuple[type[Tensor], Callable[..., Tensor]]:
    """What tensor.py makes tensors with; it needs this file first."""
    from .tensor import Tensor, asarray

    return Tensor, asarray


# ------------------------------------------------------------------------------------------------ the public functions
def backward(y: Tensor, gradient: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False) -> None:
    """Add dy/dx to `x.grad` of every leaf x that y was computed from.

    y: a scalar, or any shape with `gradient` (the cotangent ȳ, same shape). The graph is freed unless `retain_graph`
    (default: the value of `create_graph`). Raises GradientError when y has no graph, when the graph was freed, or
    when a saved value was changed in place.
    """
    made, _ = _tensor()
    seed = _seed(y, gradient, "backward")
    g = seed if create_graph else seed.data
    retain = create_graph if retain_graph is None else retain_graph
    kept, leaves = _walk([(y, g)], targets=None, create_graph=create_graph, retain_graph=retain)
    recording = replay.current()
    owners = {id(_owner(seed.data))}  # a sum hands one cotangent to several leaves, but each gets its own memory
    for key, leaf in leaves.items():
        g = kept[key] if create_graph else made(kept[key])
        if recording is not None:
            recording.gradient(leaf)
        if leaf.grad is not None:
            g = leaf.grad + g if create_graph else made(_plus(leaf.grad.data, g.data))
        elif (owner := id(_owner(g.data))) in owners:
            small = type(g.data) is np.ndarray and g.data.size < SMALL
            g = made(g.data.copy()) if small and not create_graph else g.clone()
        else:
            owners.add(owner)
        leaf.grad = g


def grad(
    ys: Tensor | Sequence[Tensor],
    xs: Tensor | Sequence[Tensor],
    gradients: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """dy/dx for each x, as new tensors; `.grad` is not touched.

    ys, gradients: one or a sequence, of equal shapes. xs: one tensor (the result is a tensor) or several (a tuple);
    leaves or results of other ops. Raises GradientError for an x that y does not depend on, unless `allow_unused`
    (then None).
    """
    from .tensor import Tensor

    single = isinstance(xs, Tensor)
    targets: Sequence[Tensor] = [xs] if isinstance(xs, Tensor) else list(xs)
    outputs = [ys] if isinstance(ys, Tensor) else list(ys)
    cotangents = [gradients] if isinstance(ys, Tensor) else list(gradients or [None] * len(outputs))
    for i, x in enumerate(targets):
        if not x.requires_grad:
            raise GradientError(
                f"grad: input {i} (shape {x.shape}) has requires_grad=False; set it before y is computed"
            )
    seeds = [_seed(y, g, "grad") for y, g in zip(outputs, cotangents, strict=True)]
    roots = [(y, g if create_graph else g.data) for y, g in zip(outputs, seeds, strict=True)]
    retain = create_graph if retain_graph is None else retain_graph
    kept, _ = _walk(roots, targets=targets, create_graph=create_graph, retain_graph=retain)
    results = []
    for i, x in enumerate(targets):
        g = kept.get(id(x.node or x))
        if g is None and not allow_unused:
            raise GradientError(
                f"grad: y does not depend on input {i} (shape {x.shape}); pass allow_unused=True to get None"
            )
        results.append(g if g is None or isinstance(g, Tensor) else Tensor(g))
    return results[0] if single else tuple(results)


def value_and_grad(f: Callable[..., Tensor], argnums: int | Sequence[int] = 0) -> Callable[..., tuple[Tensor, Any]]:
    """A function that returns (f(*args), gradient of f with respect to the arguments `argnums`)."""

    def run(*args: Any) -> tuple[Tensor, Any]:
        wanted = [argnums] if isinstance(argnums, int) else list(argnums)
        inputs = list(args)
        for i in wanted:
            inputs[i] = _leaf(args[i])
        y = f(*inputs)
        gs = grad(y, [inputs[i] for i in wanted])
        return y.detach(), gs[0] if isinstance(argnums, int) else gs

    return run


def vjp(f: Callable[..., Tensor], *xs: Any) -> tuple[Tensor, Callable[[Any], tuple[Tensor, ...]]]:
    """(y, pull) with y = f(*xs) and pull(ȳ) = (ȳᵀ ∂y/∂x_1, ...). pull may be called several times."""
    leaves = [_leaf(x) for x in xs]
    y = f(*leaves)

    def pull(cotangent: Any) -> tuple[Tensor, ...]:
        gs = grad(y, leaves, cotangent, retain_graph=True, allow_unused=True)
        return tuple(_zeros_like(x) if g is None else g for g, x in zip(gs, leaves, strict=True))

    return y.detach(), pull


def jvp(f: Callable[..., Tensor], xs: Sequence[Any], vs: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """(y, Σ_i ∂y/∂x_i v_i): the derivative along v, as the vjp of the vjp (which is linear in its cotangent)."""
    from .ops import multiply, sum as sum_

    leaves = [_leaf(x) for x in xs]
    y = f(*leaves)
    if not y.requires_grad:
        return y.detach(), _zeros_like(y)
    u = _leaf(_zeros_like(y))
    gs = grad(y, leaves, u, create_graph=True, allow_unused=True)
    total = None
    for g, v, x in zip(gs, vs, leaves, strict=True):
        if np.shape(v) != x.shape:
            raise ShapeError(f"jvp: a direction has shape {np.shape(v)}, its input {x.shape}; they must be equal")
        if g is not None and g.requires_grad:
            term = sum_(multiply(g, v))
            total = term if total is None else total + term
    if total is None:
        return y.detach(), _zeros_like(y)
    tangent = grad(total, u, allow_unused=True)
    return y.detach(), _zeros_like(y) if tangent is None else tangent


def hvp(f: Callable[[Tensor], Tensor], x: Any, v: Any) -> tuple[Tensor, Tensor]:
    """(f(x), H v) of a scalar function, without the matrix H: the gradient of ⟨∇f, v⟩."""
    from .ops import multiply, sum as sum_

    leaf = _leaf(x)
    y = f(leaf)
    g = grad(y, leaf, create_graph=True, allow_unused=True) if y.requires_grad else None
    if g is None or not g.requires_grad:
        return y.detach(), _zeros_like(leaf)
    product = grad(sum_(multiply(g, v)), leaf, allow_unused=True)
    return y.detach(), _zeros_like(leaf) if product is None else product


def jacobian(f: Callable[[Tensor], Tensor], x: Any, *, create_graph: bool = False) -> Tensor:
    """∂y/∂x of shape y.shape + x.shape, one vjp per element of y."""
    from .ops import reshape, stack

    leaf = x if create_graph and hasattr(x, "requires_grad") and x.requires_grad else _leaf(x)
    y = f(leaf)
    rows = []
    for k in range(y.size):
        e = np.zeros(y.size, y.dtype)
        e[k] = 1
        g = None
        if y.requires_grad:
            g = grad(y, leaf, e.reshape(y.shape), retain_graph=True, create_graph=create_graph, allow_unused=True)
        rows.append(_zeros_like(leaf) if g is None else g)
    if not rows:
        return _leaf(np.zeros(y.shape + leaf.shape, y.dtype)).detach()
    return reshape(stack(rows), y.shape + leaf.shape)


def hessian(f: Callable[[Tensor], Tensor], x: Any) -> Tensor:
    """∂²f/∂x∂x of a scalar function, shape x.shape + x.shape."""

    def gradient(leaf: Tensor) -> Tensor:
        y = f(leaf)
        g = grad(y, leaf, create_graph=True, allow_unused=True) if y.requires_grad else None
        return _zeros_like(leaf) if g is None else g

    return jacobian(gradient, x)


def _leaf(x: Any) -> Tensor:
    """A fresh leaf with x's values."""
    from .tensor import asarray

    t = asarray(x).detach()
    t.requires_grad = True
    return t


def _zeros_like(t: Tensor) -> Tensor:
    from .tensor import Tensor

    return Tensor(backend_of(t.data).xp.zeros_like(t.data))
