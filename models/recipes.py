"""How the networks of the zoo are trained on MNIST, and what a run leaves behind.

"listing" is what the documents' listings do: Adam at its defaults, categorical cross-entropy. "best" trains the same
network, better: AdamW under a one-cycle rate, every image turned, scaled and shifted a little each time it is seen, and
an exponential average of the weights for use.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import mnist, to_categorical
from data.transforms import RandomAffine
from engine import get_backend
from engine.errors import ArgumentError
from engine.io.atomic import atomic_write
from models.callbacks import AveragedWeights, Callback, CSVLogger, ModelCheckpoint
from models.saving import versions
from models.sequential import Sequential
from models.zoo import ZOO
from optim import AdamW
from optim.schedules import OneCycle

RECIPES = "listing", "best"
FILES = (
    "model.safetensors", "history.csv", "result.json",
    "training-curves.png", "confusion-matrix.png", "first-layer-filters.png", "misclassified.png",
)  # fmt: skip
BATCH = {"mnist-cnn": 64, "mnist-cnn-small": 128, "mnist-mlp": 128}


def compiled(model: Sequential, recipe: str, steps: int) -> tuple[list[Callback], Any]:
    """Compile a model for `steps` steps; returns the callbacks and the transform to train it with."""
    if recipe == "listing":
        model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
        return [], None
    rate = OneCycle(max_learning_rate=3e-3, total_steps=steps)
    model.compile(AdamW(rate, weight_decay=0.01), "categorical_crossentropy", metrics=["accuracy"])
    return [AveragedWeights(decay=0.998)], RandomAffine(degrees=10, shift=2, scale=(0.9, 1.1), shear=5)


def train(
    name: str,
    *,
    epochs: int = 10,
    device: str = "cpu",
    seed: int = 1,
    data: str | None = None,
    out: Path | None = None,
    recipe: str = "listing",
    batch_size: int | None = None,
    verbose: int | str = "auto",
) -> dict[str, Any]:
    """Train a network of the zoo on MNIST, and write FILES to the folder `out` (runs/<name>).

    The model is saved after each epoch. Returns what result.json holds.
    """
    if recipe not in RECIPES:
        raise ArgumentError(f"train: recipe '{recipe}' is none of {', '.join(RECIPES)}")
    get_backend(device)
    out, batch_size = out or Path("runs") / name, BATCH[name] if batch_size is None else batch_size
    digits = mnist.load(data)
    model = ZOO[name](seed)
    x_train, x_test = (images(x, model.input_shape) for x in (digits.x_train, digits.x_test))
    y_train, y_test = (to_categorical(y, 10) for y in (digits.y_train, digits.y_test))
    callbacks, transform = compiled(model, recipe, max(1, epochs) * -(-len(x_train) // max(1, batch_size)))
    if transform is not None and len(model.input_shape) != 4:
        transform = flattened(transform)
    count = f"{len(x_train):,} + {len(x_test):,}"
    print(f"{name}: {model.count_params():,} parameters; {count} digits from {digits.source}", flush=True)
    checkpoint = out / "model.safetensors"
    history = model.fit(
        x_train, y_train, batch_size=batch_size, epochs=epochs, verbose=verbose, validation_data=(x_test, y_test),
        callbacks=[*callbacks, CSVLogger(out / "history.csv"), ModelCheckpoint(checkpoint)], transform=transform,
    )  # fmt: skip
    model.save(checkpoint)
    loss, accuracy = model.evaluate(x_test, y_test, batch_size=batch_size, verbose=0)
    result = {
        "model": name, "recipe": recipe, "seed": seed, "epochs": epochs, "batch_size": batch_size, "device": device,
        "accuracy": accuracy, "loss": loss, "seconds_per_epoch": [round(s, 3) for s in history.seconds],
        "parameters": model.count_params(), "data": digits.source, "versions": versions(),
    }  # fmt: skip
    atomic_write(out / "result.json", json.dumps(result, indent=2).encode() + b"\n")
    pictures(model, history, x_test, digits.x_test, digits.y_test, out)
    return result


def images(x: np.ndarray, input_shape: Sequence[int | None]) -> np.ndarray:
    """Pixels 0..255 (N,28,28) as floats 0..1 in the shape that the model takes."""
    return (x.astype(np.float32) / 255).reshape(len(x), *input_shape[1:])


def flattened(transform: Any) -> Any:
    """A transform of images for rows of pixels: (N,784) -> (N,28,28,1) -> (N,784)."""
    return lambda x, rng: transform(x.reshape(-1, 28, 28, 1), rng).reshape(x.shape)


def pictures(model: Sequential, history: Any, x: np.ndarray, pixels: np.ndarray, labels: np.ndarray, out: Path) -> None:
    """Curves, confusion matrix, filters and mistakes, as PNG files."""
    from models import pictures as draw

    probabilities = model.predict(x, batch_size=256)
    curves, matrix, filters, mistakes = (out / name for name in FILES if name.endswith(".png"))
    draw.training_curves(history.history, curves)
    draw.confusion_matrix(labels, probabilities.argmax(-1), matrix)
    draw.first_layer_filters(model.weights[0].numpy(), filters)
    draw.misclassified(pixels, labels, probabilities, mistakes)
