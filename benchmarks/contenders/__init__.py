"""Who is timed. Each module imports its library at its top: one that is not installed is skipped with a line.

A module has a function per network of `cases.py` (sizes -> step), and `kernel(case)`, where it has any.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Contender:
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    package: str = ""  # what to install for it
    install: str = ""


CONTENDERS: dict[str, Contender] = {
    "chainrule": Contender("ours"),
    "chainrule-steps": Contender("ours", {"steps_only": True}),  # the baseline of "epoch"
    "chainrule-epoch-1": Contender("ours", {"epochs_before": 0}),  # the baseline of "denormals"
    "chainrule-kernels": Contender("bare_kernels"),  # without tensors and tape, against NumPy
    "torch": Contender("pytorch", package="torch"),
    "torch-best": Contender("pytorch", {"best": True}, "torch"),  # channels_last, fused Adam
    "torch-compile": Contender("pytorch", {"compiled": True}, "torch"),
    "jax": Contender("jax_jit", package="jax"),
    "mygrad": Contender("with_mygrad", package="mygrad"),
    "numpy": Contender("plain_numpy"),
}


@dataclass
class Call:
    """A kernel made ready: `run()` is timed inside of `context`; `results()` are its outputs and gradients."""

    run: Callable[[], Any]
    results: Callable[[], list[Any]]
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
