"""Ready-made networks. Each call makes a new one; `seed` fixes its initial values and the order of its data."""

from __future__ import annotations

from collections.abc import Callable

from engine import ops
from engine.tensor import Tensor, asarray
from layers import (
    LSTM,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    MaxPooling2D,
    PositionEmbedding,
    SimpleRNN,
    TransformerEncoder,
)
from models.model import Model
from models.sequential import Sequential

# --- digits -----------------------------------------------------------------------------------------------------------


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


# --- film reviews: word numbers (N,T), 0 is padding, -> the probability that it is positive (N,1) ---------------------


def imdb_lstm(seed: int | None = None) -> Sequential:
    """Listing L3 of the documents, 1,543,297 parameters."""
    return Sequential(
        [
            Embedding(10_000, 128),  # (N,T) -> (N,T,128)
            LSTM(128, return_sequences=True),
            Dropout(0.5),
            LSTM(128),  # (N,T,128) -> (N,128)
            Dropout(0.5),
            Dense(1, activation="sigmoid"),
        ],
        name="imdb_lstm",
        seed=seed,
    )


def imdb_rnn(seed: int | None = None) -> Sequential:
    """One simple recurrent layer, 326,273 parameters: what the LSTM's gates are measured against."""
    return Sequential(
        [
            Embedding(10_000, 32),  # (N,T) -> (N,T,32)
            SimpleRNN(64),  # (N,T,32) -> (N,64)
            Dropout(0.5),
            Dense(1, activation="sigmoid"),
        ],
        name="imdb_rnn",
        seed=seed,
    )


class TextTransformer(Model):
    r"""One transformer block over word vectors, its mean over the words, one hidden layer: (N,T) -> (N,1).

    .. math:: h = \operatorname{block}(E_{x_t} + P_t), \quad \bar h = \operatorname{mean}_{t:\, x_t \ne 0} h_t, \quad
        y = \sigma(w \cdot \operatorname{relu}(W \bar h + b) + c)

    words: the size of the vocabulary; length: of the longest text; width: of a word's vector. Padding (0) is neither
    attended to nor averaged. The network is that of Keras's "text classification with transformer".
    """

    def __init__(
        self,
        words: int = 20_000,
        length: int = 400,
        width: int = 64,
        heads: int = 2,
        hidden: int = 64,
        dropout: float = 0.3,
        name: str | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(name=name, seed=seed)
        self.words, self.length, self.width = words, length, width
        self.heads, self.hidden, self.dropout = heads, hidden, dropout
        self.embedding, self.positions = Embedding(words, width), PositionEmbedding(length)
        self.block = TransformerEncoder(hidden, heads, dropout=0.1)
        self.drops = [Dropout(dropout) for _ in range(3)]
        self.dense, self.out = Dense(20, activation="relu"), Dense(1, activation="sigmoid")

    def call(self, x: Tensor) -> Tensor:
        x = asarray(x)
        real = x != 0  # (N,T)
        h = self.embedding(x)  # (N,T) -> (N,T,D)
        h = self.drops[0](h + self.positions(h))
        h = self.block(h, padding_mask=real)
        weight = real.astype(h.dtype)[..., None]  # (N,T,1)
        mean = ops.sum(h * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), 1.0)  # (N,T,D) -> (N,D)
        return self.out(self.drops[2](self.dense(self.drops[1](mean))))


def imdb_transformer(seed: int | None = None) -> TextTransformer:
    return TextTransformer(name="imdb_transformer", seed=seed)


ZOO: dict[str, Callable[[int | None], Model]] = {
    "mnist-cnn": mnist_cnn,
    "mnist-cnn-small": mnist_cnn_small,
    "mnist-mlp": mnist_mlp,
    "imdb-lstm": imdb_lstm,
    "imdb-rnn": imdb_rnn,
    "imdb-transformer": imdb_transformer,
}


# --- plays: character numbers (N,T) -> logits of the next (N,T,V) -----------------------------------------------------


def shakespeare_gpt(seed: int | None, characters: int, context: int) -> Model:
    """GPT-2 with nanoGPT's sizes for a CPU: 4 layers, 4 heads, 128 wide, no dropout."""
    from models.gpt import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": characters, "n_positions": context, "n_embd": 128, "n_layer": 4, "n_head": 4}
    model = GPT2LMHeadModel(GPT2Config(**sizes, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0), seed=seed)
    model.build()
    return model
