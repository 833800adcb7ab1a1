"""The shape language: "x:(N,H,W,C), w:(kh,kw,C,F) -> y:(N,H',W',F)".

One string is parsed once and used three times: it checks the inputs of a call, words the error, and is printed in the
docs. A name stands for one length throughout; `*B` for any number of leading axes, which broadcast where several inputs
have one; a number for itself; a primed name (H') is computed by the op and not checked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .errors import ShapeError

Shape = tuple[int, ...]

_OPERAND = re.compile(r"(\w+)\s*:\s*\(([^)]*)\)")


@dataclass(frozen=True)
class Operand:
    """`x:(*B, N, C)`: a name, whether leading axes are free, and the named axes."""

    name: str
    batch: str  # "*B" where leading axes are free, else ""
    axes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}:({','.join(((self.batch,) if self.batch else ()) + self.axes)})"


@dataclass(frozen=True, eq=False)  # one object for each op: it is looked up by identity at each call
class Signature:
    """The parsed shape string of an op."""

    text: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]

    @classmethod
    def parse(cls, text: str) -> Signature:
        left, arrow, right = text.partition("->")
        if not arrow:
            raise ValueError(f"shape string '{text}' has no '->': write \"x:(N,C) -> y:(N,C)\"")
        return cls(text, _operands(left, text), _operands(right, text))

    @property
    def takes_any(self) -> bool:
        """One input of any shape: there is nothing to check."""
        return len(self.inputs) == 1 and not self.inputs[0].axes and bool(self.inputs[0].batch)

    def check(self, op: str, shapes: Sequence[Shape | None]) -> None:
        """Raise ShapeError unless the shapes fit (None: an input that is not there); remembers the answers it gave."""
        problem = _problem(self, tuple(shapes))
        if problem:
            raise ShapeError(f"{op}: {problem}")


def _operands(text: str, whole: str) -> tuple[Operand, ...]:
    found = []
    for name, inside in _OPERAND.findall(text):
        axes = [a.strip() for a in inside.split(",") if a.strip()]
        batch = axes.pop(0) if axes and axes[0].startswith("*") else ""
        found.append(Operand(name, batch, tuple(axes)))
    if not found:
        raise ValueError(f"shape string '{whole}' names no operand on one side")
    return tuple(found)


@lru_cache(maxsize=4096)
def _problem(signature: Signature, shapes: tuple[Shape | None, ...]) -> str | None:
    """What is wrong with these shapes, in words; None if nothing is."""
    sizes: dict[str, tuple[int, str, int]] = {}  # axis name -> length, and the argument and position that set it
    leading: dict[str, list[Shape]] = {}  # operands with the same *B broadcast against each other
    there = [(o, s) for o, s in zip(signature.inputs, shapes, strict=False) if s is not None]
    for operand, shape in there:
        n = len(operand.axes)
        if len(shape) < n or (len(shape) > n and not operand.batch):
            need = f"at least {n}" if operand.batch else f"{n}"
            return (
                f"{operand.name} has {len(shape)} dimensions {shape}, but {operand} needs {need}; "
                f"reshape it (expand_dims adds an axis of length 1). Expected {signature.text}"
            )
        leading.setdefault(operand.batch, []).append(shape[: len(shape) - n])
        for k, (axis, length) in enumerate(zip(operand.axes, shape[len(shape) - n :], strict=True)):
            position = len(shape) - n + k
            if axis.isdigit():
                if length != int(axis):
                    return f"{operand.name}.shape[{position}] is {length}, but {operand} needs {axis} there"
            elif "'" not in axis:
                known = sizes.setdefault(axis, (length, operand.name, position))
                if known[0] != length:
                    return (
                        f"{operand.name}.shape[{position}] is {length}, but {axis} is {known[0]} from "
                        f"{known[1]}.shape[{known[2]}]; they must be equal. Expected {signature.text}, got "
                        + ", ".join(f"{o.name}:{s}" for o, s in there)
                    )
    try:
        for group in leading.values():
            broadcast_shapes(*group)
    except ShapeError:
        return "the leading axes do not broadcast: " + ", ".join(f"{o.name}:{s}" for o, s in there)
    return None


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that all of these broadcast to: aligned at the right, equal or 1 on each axis.

    >>> broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    if len(set(shapes)) == 1:
        return shapes[0]
    rank = max(map(len, shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for i, n in enumerate(shape, rank - len(shape)):
            if n != 1:
                if result[i] not in (1, n):
                    raise ShapeError(
                        f"shapes {' and '.join(map(str, shapes))} do not broadcast: "
                        f"axis {i - rank} is {result[i]} and {n}; "
                        "lengths must be equal, or 1 on one side (expand_dims adds an axis of length 1)"
                    )
                result[i] = n
    return tuple(result)


def broadcast_axes(shape: Shape, result: Shape) -> tuple[int, ...]:
    """The axes of `result` along which an operand of `shape` was repeated: the ones a cotangent must be summed over."""
    lead = len(result) - len(shape)
    return tuple(range(lead)) + tuple(i for i, n in enumerate(shape, lead) if n == 1 and result[i] != 1)


def normalize_axis(op: str, axis: int, rank: int) -> int:
    """A non-negative axis; ShapeError when it is out of range."""
    if not isinstance(axis, int) and not hasattr(axis, "__index__"):
        raise ShapeError(f"{op}: axis must be an integer, got {axis!r}")
    if not -rank <= axis < rank:
        raise ShapeError(
            f"{op}: axis {axis} is out of range for {rank} dimensions; use {-rank} to {rank - 1}"
            if rank
            else f"{op}: axis {axis} is out of range: the tensor has no axes (its shape is ())"
        )
    return int(axis) % rank


def normalize_axes(op: str, axis: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """All axes for None, else sorted, non-negative and distinct."""
    if axis is None:
        return tuple(range(rank))
    axes = tuple(normalize_axis(op, a, rank) for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{op}: axis {axis} names an axis twice; name each once")
    return tuple(sorted(axes))


def prod(shape: Sequence[int]) -> int:
    n = 1
    for k in shape:
        n *= k
    return n
