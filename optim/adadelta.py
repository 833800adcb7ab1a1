"""Adadelta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.ops import sqrt

from .optimizer import Group, Optimizer


class Adadelta(Optimizer):
    r"""The size of a step is that of the last steps: a change of w is measured in w's own unit.

    .. math::
        \begin{aligned}
        a &\leftarrow \rho a + (1 - \rho) g^2 \\
        d &= g \sqrt{e + \epsilon} \, / \sqrt{a + \epsilon} \\
        e &\leftarrow \rho e + (1 - \rho) d^2 \\
        w &\leftarrow w - \mathrm{lr} \cdot d
        \end{aligned}

    Words and defaults are Keras 3's: learning_rate 0.001 (the paper and PyTorch have 1), rho 0.95, epsilon 1e-7.
    [Zeiler, arXiv 1212.5701, 2012, algorithm 1]
    """

    hyper = ("rho", "epsilon")

    def __init__(
        self, params: Any = None, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, **options: Any
    ) -> None:
        super().__init__(params, learning_rate, **options)
        self.rho, self.epsilon = self.checked("rho", rho), self.checked("epsilon", epsilon)

    def slots(self, group: Group) -> dict[str, float]:
        return {"a": 0.0, "e": 0.0}

    def rule(self, group: Group) -> Callable[..., Any]:
        return adadelta

    def numbers(self, group: Group, lr: float, t: int) -> dict[str, float]:
        rho = self.value(group, "rho")
        return {"lr": lr, "rho": rho, "new": 1 - rho, "epsilon": self.value(group, "epsilon")}


def adadelta(w: Any, g: Any, a: Any, e: Any, *, lr: Any, rho: Any, new: Any, epsilon: Any) -> Any:
    a = rho * a + new * g * g
    d = g * sqrt(e + epsilon) / sqrt(a + epsilon)
    e = rho * e + new * d * d
    return w - lr * d, a, e
