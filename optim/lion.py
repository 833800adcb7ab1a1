"""Lion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.ops import sign

from .optimizer import Group, Optimizer


class Lion(Optimizer):
    r"""Every number moves by exactly lr, in the direction of the sign of a mean gradient.

    .. math::
        \begin{aligned}
        w &\leftarrow w - \mathrm{lr} \cdot \operatorname{sign}(\beta_1 m + (1 - \beta_1) g) \\
        m &\leftarrow \beta_2 m + (1 - \beta_2) g
        \end{aligned}

    Words and defaults are Keras 3's: learning_rate 0.001, beta_1 0.9, beta_2 0.99. It wants 3 to 10 times less learning
    rate, and as much more weight decay, than AdamW. [Chen et al., NeurIPS 2023, algorithm 2]
    """

    hyper = ("beta_1", "beta_2")

    def __init__(
        self, params: Any = None, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, **options: Any
    ) -> None:
        super().__init__(params, learning_rate, **options)
        self.beta_1, self.beta_2 = self.checked("beta_1", beta_1), self.checked("beta_2", beta_2)

    def slots(self, group: Group) -> dict[str, float]:
        return {"m": 0.0}

    def rule(self, group: Group) -> Callable[..., Any]:
        return lion

    def numbers(self, group: Group, lr: float, t: int) -> dict[str, float]:
        beta_1, beta_2 = (self.value(group, name) for name in self.hyper)
        return {"lr": lr, "beta_1": beta_1, "new_1": 1 - beta_1, "beta_2": beta_2, "new_2": 1 - beta_2}


def lion(w: Any, g: Any, m: Any, *, lr: Any, beta_1: Any, new_1: Any, beta_2: Any, new_2: Any) -> Any:
    return w - lr * sign(beta_1 * m + new_1 * g), beta_2 * m + new_2 * g
