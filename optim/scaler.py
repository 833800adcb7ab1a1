r"""Loss scaling: gradients of 16-bit results that would round to 0 are carried 2^16 times larger.

    scaler = GradScaler()
    for x, y in batches:
        optimizer.zero_grad()
        with autocast("float16"):
            loss = loss_fn(y, model(x))
        scaler.scale(loss).backward()
        scaler.step(optimizer)          # divides the gradients by the scale; skips the step if one is not finite
        scaler.update()                 # halves the scale after such a step, doubles it after 2000 good ones

Words and defaults are PyTorch's. [Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from engine import replay
from engine.errors import ArgumentError
from engine.tensor import Tensor

from .optimizer import Optimizer


class GradScaler:
    """Scales a loss, and finds the scale.

    init_scale       of the first step
    growth_factor    what the scale is multiplied by after `growth_interval` steps without inf or NaN
    backoff_factor   what it is multiplied by after a step with one, which is skipped
    enabled          False: does nothing, so that one loop serves both precisions
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        if not init_scale > 0 or not growth_factor > 1 or not 0 < backoff_factor < 1 or growth_interval < 1:
            raise ArgumentError(
                "GradScaler: init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1 and growth_interval >= 1, got "
                f"{init_scale}, {growth_factor}, {backoff_factor} and {growth_interval}"
            )
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.enabled = enabled
        self._scale, self._good_steps = float(init_scale), 0
        self._unscaled: WeakSet[Optimizer] = WeakSet()
        self._finite = True  # were all gradients of this step, of every optimiser?

    def get_scale(self) -> float:
        return self._scale if self.enabled else 1.0

    def scale(self, loss: Tensor) -> Tensor:
        """loss times the scale, to be differentiated."""
        if not self.enabled:
            return loss
        replay.refuse("uses GradScaler, which reads back whether gradients are finite", "train in bfloat16")
        return loss * self._scale

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale; to be called when they are clipped by hand, else `step` does it.

        Raises ArgumentError the second time before `update`.
        """
        if not self.enabled:
            return
        if optimizer in self._unscaled:
            raise ArgumentError("GradScaler.unscale_: these gradients were unscaled already; call update() first")
        self._unscaled.add(optimizer)
        finite: Any = True
        for p in optimizer.params:
            if p.grad is not None:
                g = p.grad.data
                wide = g.astype("float32") if g.dtype.itemsize < 4 else g
                p.grad = Tensor(wide * wide.dtype.type(1 / self._scale))
                finite = finite & p.grad.backend.xp.isfinite(p.grad.data).all()
        self._finite = self._finite and bool(finite)  # the one number of a step that is waited for

    def step(self, optimizer: Optimizer) -> None:
        """optimizer.step() with gradients unscaled, unless one of them is inf or NaN."""
        if not self.enabled:
            optimizer.step()
            return
        if optimizer not in self._unscaled:
            self.unscale_(optimizer)
        if self._finite:
            optimizer.step()

    def update(self) -> None:
        """Choose the next step's scale."""
        if not self.enabled:
            return
        if not self._unscaled:
            raise ArgumentError("GradScaler.update: no step was taken; call step(optimizer) before")
        self._good_steps = self._good_steps + 1 if self._finite else 0
        if not self._finite:
            self._scale *= self.backoff_factor
        elif self._good_steps == self.growth_interval:
            self._scale, self._good_steps = self._scale * self.growth_factor, 0
        self._unscaled.clear()
        self._finite = True

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self._scale, "good_steps": self._good_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._scale, self._good_steps = float(state["scale"]), int(state["good_steps"])
