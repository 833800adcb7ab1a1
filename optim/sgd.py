"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.errors import ArgumentError

from .optimizer import Group, Optimizer


class SGD(Optimizer):
    r"""Down the gradient, with momentum if wanted.

    .. math::
        \begin{aligned}
        v &\leftarrow \mathrm{momentum} \cdot v - \mathrm{lr} \cdot g \\
        w &\leftarrow w + v && \text{or, with nesterov,} \\
        w &\leftarrow w + \mathrm{momentum} \cdot v - \mathrm{lr} \cdot g
        \end{aligned}

    Without momentum: :math:`w \leftarrow w - \mathrm{lr} \cdot g`, the documents' E4 and E11. Defaults are Keras 3's:
    learning_rate 0.01, no momentum. PyTorch's v lacks the factor lr; the two agree while lr is constant.
    [Polyak 1964; Nesterov 1983; the form of Sutskever, Martens, Dahl and Hinton, ICML 2013, (1)-(4)]
    """

    hyper = ("momentum",)

    def __init__(
        self,
        params: Any = None,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(params, learning_rate, **options)
        if not 0 <= momentum <= 1:
            raise ArgumentError(f"SGD: momentum is the share of the last step that is kept, 0 to 1, got {momentum}")
        self.momentum, self.nesterov = momentum, nesterov

    def slots(self, group: Group) -> dict[str, float]:
        return {"v": 0.0} if self.value(group, "momentum") else {}

    def rule(self, group: Group) -> Callable[..., Any]:
        if not self.value(group, "momentum"):
            return plain
        return nesterov if self.nesterov else heavy_ball

    def numbers(self, group: Group, lr: float, t: int) -> dict[str, float]:
        return {"lr": lr, "momentum": self.value(group, "momentum")}


def plain(w: Any, g: Any, *, lr: Any, momentum: Any) -> Any:
    return w - lr * g


def heavy_ball(w: Any, g: Any, v: Any, *, lr: Any, momentum: Any) -> Any:
    v = momentum * v - lr * g
    return w + v, v


def nesterov(w: Any, g: Any, v: Any, *, lr: Any, momentum: Any) -> Any:
    v = momentum * v - lr * g
    return w + momentum * v - lr * g, v
