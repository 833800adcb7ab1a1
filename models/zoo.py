"""Ready-made networks. Each call makes a new one; `seed` fixes its initial values and the order of its data."""

from __future__ import annotations

from collections.abc import Callable

from layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from models.sequential import Sequential


def mnist_cnn(seed: int | None = None) -> Sequential:
    """Listing L1 of the documents, 93,322 parameters: (N,28,28,1) -> 10 probabilities."""
    return Sequential(
        [
            Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)),  # (N,28,28,1) -> (N,26,26,32)
            MaxPooling2D((2, 2)),  # -> (N,13,13,32)
            Conv2D(64, (3, 3), activation="relu"),  # -> (N,11,11,64)
            MaxPooling2D((2, 2)),  # -> (N,5,5,64)
            Conv2D(64, (3, 3), activation="relu"),  # -> (N,3,3,64)
            Flatten(),  # -> (N,576)
            Dense(64, activation="relu"),
            Dense(10, activation="softmax"),
        ],
        name="mnist_cnn",
        seed=seed,
    )


def mnist_cnn_small(seed: int | None = None) -> Sequential:
    """Listing L2 of the documents, 693,962 parameters: (N,28,28,1) -> 10 probabilities."""
    return Sequential(
        [
            Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)),  # (N,28,28,1) -> (N,26,26,32)
            MaxPooling2D(pool_size=(2, 2)),  # -> (N,13,13,32)
            Flatten(),  # -> (N,5408)
            Dense(128, activation="relu"),
            Dense(10, activation="softmax"),
        ],
        name="mnist_cnn_small",
        seed=seed,
    )


def mnist_mlp(seed: int | None = None) -> Sequential:
    """Two hidden layers, 669,706 parameters: (N,784) -> 10 probabilities.

    Dropout 0.2 after each, as in Keras's mnist_mlp example: without it the network learns the training digits by heart.
    """
    return Sequential(
        [
            Dense(512, activation="relu", input_shape=(784,)),
            Dropout(0.2),
            Dense(512, activation="relu"),
            Dropout(0.2),
            Dense(10, activation="softmax"),
        ],
        name="mnist_mlp",
        seed=seed,
    )


ZOO: dict[str, Callable[[int | None], Sequential]] = {
    "mnist-cnn": mnist_cnn,
    "mnist-cnn-small": mnist_cnn_small,
    "mnist-mlp": mnist_mlp,
}
