"""Loads the frozen reference vectors into NumPy arrays. README.md beside it says what a record holds."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
NUMBERS = {"inf": np.inf, "-inf": -np.inf, "nan": np.nan}


@dataclass(frozen=True)
class Second:
    """The gradient of sum_i <directions[i], gradients[i]>, by the inputs and by the cotangent."""

    directions: list[np.ndarray | None]
    gradients: list[np.ndarray | None]
    cotangent: np.ndarray


@dataclass(frozen=True)
class Vector:
    """One call of one op: what went in, what came out, and its gradients under a random cotangent."""

    op: str
    inputs: dict[str, np.ndarray]                   # in order; float64, int64 or bool, read-only
    params: dict[str, Any]                          # keyword arguments, in our names; lists have become tuples
    output: np.ndarray
    source: str
    indices: np.ndarray | None = None               # the second result of topk
    cotangent: np.ndarray | None = None             # None: the record holds no gradients
    gradients: list[np.ndarray | None] = field(default_factory=list)   # one per input; None: not differentiated
    second: Second | None = None
    signed_zeros: bool = False                      # the sign of a zero is part of the answer
    torch_error: float = 0.0                        # how far PyTorch is from this (relative), where it is
    note: str = ""

    def __str__(self) -> str:
        shapes = ",".join(str(list(x.shape)).replace(" ", "") for x in self.inputs.values())
        options = ",".join(f"{k}={v}".replace(" ", "") for k, v in self.params.items())
        return f"{self.op}-{shapes}{'-' + options if options else ''}-{self.source.split()[0]}"


@dataclass(frozen=True)
class Trajectory:
    """Ten steps of an optimiser: parameters[t] is what gradients[t] makes of parameters[t - 1]."""

    optimizer: str
    params: dict[str, Any]                          # hyper-parameters, in Keras' names
    update: str                                     # whose formula it is
    initial: np.ndarray                             # (D,)
    gradients: np.ndarray                           # (steps, D)
    parameters: np.ndarray                          # (steps, D)
    source: str

    def __str__(self) -> str:
        return f"{self.optimizer}-{','.join(f'{k}={v}' for k, v in self.params.items())}-{self.source.split()[0]}"


def families() -> list[str]:
    """The names of the op families: one JSON file each."""
    return sorted(p.stem for p in FOLDER.glob("*.json") if p.stem != "optim")


@cache
def load(family: str) -> tuple[Vector, ...]:
    """All records of one family ("elementwise", "conv", ...)."""
    return tuple(vector(r) for r in json.loads((FOLDER / f"{family}.json").read_text()))


def load_op(op: str) -> list[Vector]:
    """All records of one op, whatever family and source they are from."""
    return [v for family in families() for v in load(family) if v.op == op]


@cache
def load_optim() -> tuple[Trajectory, ...]:
    """The optimisers' trajectories."""
    arrays = ("initial", "gradients", "parameters")
    return tuple(Trajectory(**{k: frozen(np.array(v, dtype=np.float64)) if k in arrays else v for k, v in r.items()})
                 for r in json.loads((FOLDER / "optim.json").read_text()))


def vector(r: dict[str, Any]) -> Vector:
    second = r.get("second")
    return Vector(
        op=r["op"], inputs={x["name"]: array(x) for x in r["inputs"]}, params=parameter(r["params"]),
        output=array(r["output"]), source=r["source"],
        indices=array(r["indices"]) if "indices" in r else None,
        cotangent=array(r["cotangent"]) if "cotangent" in r else None, gradients=optional(r.get("gradients", [])),
        second=Second(optional(second["directions"]), optional(second["gradients"]), array(second["cotangent"]))
        if second else None,
        signed_zeros=r.get("signed_zeros", False), torch_error=float(r.get("torch_error", 0.0)),
        note=r.get("tolerance_note", r.get("note", "")))


def array(r: dict[str, Any]) -> np.ndarray:
    """A flat list with a dtype and a shape; "inf", "-inf" and "nan" are words."""
    data = [NUMBERS.get(v, v) if isinstance(v, str) else v for v in r["data"]]
    return frozen(np.array(data, dtype=r["dtype"]).reshape(r["shape"]))


def optional(arrays: list[dict[str, Any] | None]) -> list[np.ndarray | None]:
    return [None if a is None else array(a) for a in arrays]


def parameter(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: parameter(v) for k, v in value.items()}
    if isinstance(value, list):
        return tuple(parameter(v) for v in value)
    return NUMBERS.get(value, value) if isinstance(value, str) else value


def frozen(a: np.ndarray) -> np.ndarray:
    a.setflags(write=False)
    return a
