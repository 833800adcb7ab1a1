"""RMSprop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.ops import sqrt

from .optimizer import Group, Optimizer


class RMSprop(Optimizer):
    r"""The gradient over the root of the running mean of its squares.

    .. math::
        \begin{aligned}
        v &\leftarrow \rho v + (1 - \rho) g^2 \\
        u &= \mathrm{lr} \cdot g \, / \sqrt{v + \epsilon} \\
        w &\leftarrow w - u
        \end{aligned}

    centered: with :math:`a \leftarrow \rho a + (1 - \rho) g` the root is :math:`\sqrt{v - a^2 + \epsilon}`, the
    deviation instead of the mean square. momentum: :math:`b \leftarrow \mathrm{momentum} \cdot b + u` takes u's place.
    Words and defaults are Keras 3's: learning_rate 0.001, rho 0.9, epsilon 1e-7 under the root (PyTorch: beside it).
    [Tieleman and Hinton, Coursera lecture 6.5, 2012; centered: Graves, arXiv 1308.0850, (38)-(45)]
    """

    hyper = ("rho", "epsilon")

    def __init__(
        self,
        params: Any = None,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(params, learning_rate, **options)
        self.rho, self.momentum = self.checked("rho", rho), self.checked("momentum", momentum)
        self.epsilon, self.centered = self.checked("epsilon", epsilon), centered

    def slots(self, group: Group) -> dict[str, float]:
        return {"v": 0.0} | ({"a": 0.0} if self.centered else {}) | ({"b": 0.0} if self.momentum else {})

    def rule(self, group: Group) -> Callable[..., Any]:
        names = tuple(self.slots(group))

        def rmsprop(
            w: Any, g: Any, *slots: Any, lr: Any, rho: Any, new: Any, momentum: Any, epsilon: Any
        ) -> tuple[Any, ...]:
            s = dict(zip(names, slots, strict=True))
            spread = s["v"] = rho * s["v"] + new * g * g
            if "a" in s:
                s["a"] = rho * s["a"] + new * g
                spread = spread - s["a"] * s["a"]
            u = lr * g / sqrt(spread + epsilon)
            if "b" in s:
                u = s["b"] = momentum * s["b"] + u
            return (w - u, *s.values())

        return rmsprop

    def numbers(self, group: Group, lr: float, t: int) -> dict[str, float]:
        rho = self.value(group, "rho")
        epsilon = self.value(group, "epsilon")
        return {"lr": lr, "rho": rho, "new": 1 - rho, "momentum": self.momentum, "epsilon": epsilon}
