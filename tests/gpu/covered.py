"""What the tests compare with the CPU on another device: every op, layer, loss and optimiser, or a test fails.

    python -m tests.gpu.covered        # prints the list
"""

from __future__ import annotations

import engine
import layers
import optim
from tests import test_agreement as compared
from tests.gpu.uncovered import UNCOVERED

ELSEWHERE = {"to_device"}  # tests/test_devices.py, tests/gpu/test_emulate.py


def subclasses(module: object, base: type) -> set[str]:
    return {
        c.__name__ for c in vars(module).values() if isinstance(c, type) and issubclass(c, base) and c is not base
    }  # fmt: skip


def public() -> dict[str, set[str]]:
    """What there is."""
    return {
        "ops": set(engine.OPS), "layers": subclasses(layers, layers.Layer),
        "losses": subclasses(layers.losses, layers.losses.Loss), "optimisers": subclasses(optim, optim.Optimizer),
    }  # fmt: skip


def covered() -> dict[str, set[str]]:
    """What is compared."""
    parameter = [engine.ones(1, requires_grad=True)]
    return {
        "ops": {*compared.SAMPLED, *ELSEWHERE}, "layers": {type(layer).__name__ for layer, _ in compared.EVERY},
        "losses": set(compared.LOSSES),
        "optimisers": {type(make(parameter)).__name__ for make in compared.OPTIMIZERS.values()},
    }  # fmt: skip


def report() -> str:
    lines = [f"{len(names)} {kind}: {', '.join(sorted(names))}" for kind, names in covered().items()]
    lines += [f"not on the emulated device, which has no machine code compiled inside CuPy: {', '.join(UNCOVERED)}"]
    return "compared with the CPU, results and gradients:\n\n" + "\n\n".join(lines)


if __name__ == "__main__":
    print(report())
