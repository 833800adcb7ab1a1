"""What is timed: one training step of each network, made for each contender.

A case is a name, a batch size and, per contender, a function that returns `step()`: one whole training step (zero the
gradients, forward, backward, update) that gives back the loss as a float. All contenders get the same data and sizes.
Imports stand inside: a contender that is not installed is skipped with a line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Step = Callable[[], float]


@dataclass(frozen=True)
class Case:
    name: str
    batch: int
    contenders: dict[str, Callable[[int], Step]]


def digits(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images (N,28,28,1) and labels: timing does not depend on what they show."""
    rng = np.random.default_rng(0)
    return rng.random((batch, 28, 28, 1), dtype=np.float32), rng.integers(0, 10, batch)


# ------------------------------------------------------------------------------------------------ Chain Rule
def chainrule(network: str) -> Callable[[int], Step]:
    def make(batch: int) -> Step:
        from models import zoo

        x, labels = digits(batch)
        model = getattr(zoo, network)()
        model.compile(optimizer="adam", loss="categorical_crossentropy")
        x = x.reshape(batch, *model.input_shapes[0][1:]) if network == "mnist_mlp" else x
        y = np.eye(10, dtype=np.float32)[labels]
        return lambda: float(model.train_on_batch(x, y))

    return make


# ------------------------------------------------------------------------------------------------ PyTorch
def torch_network(network: str):  # noqa: ANN201
    from torch import nn

    conv = lambda c, f: (nn.Conv2d(c, f, 3), nn.ReLU())  # noqa: E731
    dense = lambda n, m: (nn.Linear(n, m), nn.ReLU())  # noqa: E731
    pool = nn.MaxPool2d(2)
    return {
        "mnist_cnn": lambda: nn.Sequential(
            *conv(1, 32),
            pool,
            *conv(32, 64),
            pool,
            *conv(64, 64),
            nn.Flatten(),
            *dense(576, 64),
            nn.Linear(64, 10),
        ),
        "mnist_cnn_small": lambda: nn.Sequential(
            *conv(1, 32), pool, nn.Flatten(), *dense(5408, 128), nn.Linear(128, 10)
        ),
        "mnist_mlp": lambda: nn.Sequential(
            nn.Flatten(), *dense(784, 512), nn.Dropout(0.2), *dense(512, 512), nn.Dropout(0.2), nn.Linear(512, 10)
        ),
    }[network]()


def torch_eager(network: str, *, best: bool = False) -> Callable[[int], Step]:
    """best: channels_last and the fused Adam, PyTorch's own advice for speed."""

    def make(batch: int) -> Step:
        import torch

        x, labels = digits(batch)
        images, targets = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)
        model = torch_network(network)
        if best:
            model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=best or None)

        def step() -> float:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    return make


def network_case(name: str, network: str, batch: int) -> Case:
    return Case(
        name,
        batch,
        {
            "chainrule": chainrule(network),
            "torch": torch_eager(network),
            "torch-best": torch_eager(network, best=True),
        },
    )


CASES = {
    c.name: c
    for c in (
        network_case("mnist-cnn", "mnist_cnn", 64),
        network_case("mnist-cnn-small", "mnist_cnn_small", 128),
        network_case("mnist-mlp", "mnist_mlp", 128),
    )
}
