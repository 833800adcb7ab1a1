"""Adagrad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.errors import ArgumentError
from engine.ops import sqrt

from .optimizer import Group, Optimizer


class Adagrad(Optimizer):
    r"""Steps shrink with all that a number's gradients have been so far: rare features keep large ones.

    .. math::
        \begin{aligned}
        a &\leftarrow a + g^2 \\
        w &\leftarrow w - \mathrm{lr} \cdot g \, / \sqrt{a + \epsilon}
        \end{aligned}

    Words and defaults are Keras 3's: learning_rate 0.001, a starts at initial_accumulator_value 0.1, epsilon 1e-7 under
    the root (PyTorch: a starts at 0, epsilon beside the root). [Duchi, Hazan and Singer, JMLR 12, 2011, (1)]
    """

    hyper = ("epsilon",)

    def __init__(
        self,
        params: Any = None,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(params, learning_rate, **options)
        if not initial_accumulator_value >= 0:
            raise ArgumentError(
                f"{self.name}: initial_accumulator_value is a sum of squares, 0 or more, "
                f"got {initial_accumulator_value}"
            )
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, self.checked("epsilon", epsilon)

    def slots(self, group: Group) -> dict[str, float]:
        return {"a": self.initial_accumulator_value}

    def rule(self, group: Group) -> Callable[..., Any]:
        return adagrad

    def numbers(self, group: Group, lr: float, t: int) -> dict[str, float]:
        return {"lr": lr, "epsilon": self.value(group, "epsilon")}


def adagrad(w: Any, g: Any, a: Any, *, lr: Any, epsilon: Any) -> Any:
    a = a + g * g
    return w - lr * g / sqrt(a + epsilon), a
