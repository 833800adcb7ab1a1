"""Adam, and Adam with weight decay."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from engine.ops import sqrt

from .optimizer import Group, Optimizer


class Adam(Optimizer):
    r"""Each number has its own step: the mean of its gradients over the root of the mean of their squares.

    .. math::
        \begin{aligned}
        m &\leftarrow m + (1 - \beta_1)(g - m) \\
        v &\leftarrow v + (1 - \beta_2)(g^2 - v) \\
        \mathrm{alpha} &= \mathrm{lr} \sqrt{1 - \beta_2^t} \, / \, (1 - \beta_1^t) \\
        w &\leftarrow w - \mathrm{alpha} \cdot m \, / \, (\sqrt{v} + \epsilon)
        \end{aligned}

    alpha undoes the bias of means that start at 0. Words and defaults are Keras 3's: learning_rate 0.001, beta_1 0.9,
    beta_2 0.999, epsilon 1e-7, which stands beside the uncorrected root (the paper's "epsilon hat"; PyTorch has 1e-8
    beside the corrected one). [Kingma and Ba, ICLR 2015, algorithm 1 and the end of section 2]
    """

    hyper = ("beta_1", "beta_2", "epsilon")

    def __init__(
        self,
        params: Any = None,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(params, learning_rate, **options)
        self.beta_1, self.beta_2 = self.checked("beta_1", beta_1), self.checked("beta_2", beta_2)
        self.epsilon = self.checked("epsilon", epsilon)

    def slots(self, group: Group) -> dict[str, float]:
        return {"m": 0.0, "v": 0.0}

    def rule(self, group: Group) -> Callable[..., Any]:
        return adam

    def numbers(self, group: Group, lr: float, t: int) -> dict[str, float]:
        beta_1, beta_2, epsilon = (self.value(group, name) for name in self.hyper)
        alpha = lr * math.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        return {"alpha": alpha, "new_1": 1 - beta_1, "new_2": 1 - beta_2, "epsilon": epsilon}


def adam(w: Any, g: Any, m: Any, v: Any, *, alpha: Any, new_1: Any, new_2: Any, epsilon: Any) -> Any:
    m = m + new_1 * (g - m)
    v = v + new_2 * (g * g - v)
    return w - alpha * m / (sqrt(v) + epsilon), m, v


class AdamW(Adam):
    r"""Adam after :math:`w \leftarrow w - \mathrm{lr} \cdot \mathrm{weight\_decay} \cdot w`.

    The decay does not pass through m and v, so every number decays at one rate. Default weight_decay 0.004, as in
    Keras 3. [Loshchilov and Hutter, ICLR 2019, algorithm 2, with the decay scaled by lr]
    """

    def __init__(
        self,
        params: Any = None,
        learning_rate: Any = 0.001,
        weight_decay: float | None = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        super().__init__(params, learning_rate, beta_1, beta_2, epsilon, weight_decay=weight_decay, **options)
