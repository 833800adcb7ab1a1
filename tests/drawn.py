"""One small call of every layer and loss, for its drawing: name -> (layer, inputs)."""

from __future__ import annotations

import numpy as np

import engine
import layers as L
from layers import losses


def a(*shape):
    """Numbers that want a gradient."""
    return engine.tensor(np.random.default_rng(0).standard_normal(shape).astype("f4"), requires_grad=True)


IDS = np.array([[1, 2, 0], [3, 1, 2]])
IMAGE, ROW, SEQUENCE, HEADS = (2, 6, 6, 1), (2, 4), (2, 3, 4), (2, 3, 2, 4)

LAYERS = {
    "Activation": lambda: (L.Activation("tanh"), [a(*ROW)]),
    "ReLU": lambda: (L.ReLU(), [a(*ROW)]),
    "LeakyReLU": lambda: (L.LeakyReLU(), [a(*ROW)]),
    "Softmax": lambda: (L.Softmax(), [a(*ROW)]),
    "Flatten": lambda: (L.Flatten(), [a(*IMAGE)]),
    "Reshape": lambda: (L.Reshape((2, 2)), [a(*ROW)]),
    "Permute": lambda: (L.Permute((2, 1)), [a(*SEQUENCE)]),
    "Operation": lambda: (L.Operation("sigmoid"), [a(*ROW)]),
    "InputLayer": lambda: (L.InputLayer((4,)), [a(*ROW)]),
    "Dense": lambda: (L.Dense(3, "relu"), [a(*ROW)]),
    "Embedding": lambda: (L.Embedding(5, 4), [IDS]),
    "Conv2D": lambda: (L.Conv2D(2, 3, activation="relu"), [a(*IMAGE)]),
    "MaxPooling2D": lambda: (L.MaxPooling2D(), [a(*IMAGE)]),
    "AveragePooling2D": lambda: (L.AveragePooling2D(), [a(*IMAGE)]),
    "GlobalMaxPooling2D": lambda: (L.GlobalMaxPooling2D(), [a(*IMAGE)]),
    "GlobalAveragePooling2D": lambda: (L.GlobalAveragePooling2D(), [a(*IMAGE)]),
    "BatchNormalization": lambda: (L.BatchNormalization().train(), [a(*ROW)]),
    "LayerNormalization": lambda: (L.LayerNormalization(), [a(*ROW)]),
    "RMSNormalization": lambda: (L.RMSNormalization(), [a(*ROW)]),
    "Dropout": lambda: (L.Dropout(0.5).train(), [a(*ROW)]),
    **{
        name: lambda name=name: (getattr(L, name)(), [[a(*ROW), a(*ROW)]])
        for name in ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
    },
    "SimpleRNN": lambda: (L.SimpleRNN(3), [a(*SEQUENCE)]),
    "GRU": lambda: (L.GRU(3), [a(*SEQUENCE)]),
    "LSTM": lambda: (L.LSTM(3), [a(*SEQUENCE)]),
    "Bidirectional": lambda: (L.Bidirectional(L.LSTM(3)), [a(*SEQUENCE)]),
    "Masking": lambda: (L.Masking(), [a(*SEQUENCE)]),
    "MultiHeadAttention": lambda: (L.MultiHeadAttention(2, 2), [a(*SEQUENCE), a(*SEQUENCE)]),
    "PositionEmbedding": lambda: (L.PositionEmbedding(5), [a(*SEQUENCE)]),
    "SinePositionEncoding": lambda: (L.SinePositionEncoding(), [a(*SEQUENCE)]),
    "RotaryEmbedding": lambda: (L.RotaryEmbedding(), [a(*HEADS)]),
    "FeedForward": lambda: (L.FeedForward(6), [a(*SEQUENCE)]),
    "SwiGLU": lambda: (L.SwiGLU(6), [a(*SEQUENCE)]),
    "TransformerEncoder": lambda: (L.TransformerEncoder(6, 2), [a(*SEQUENCE)]),
    "TransformerDecoder": lambda: (L.TransformerDecoder(6, 2), [a(*SEQUENCE)]),
}  # fmt: skip

PROBABILITIES = engine.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], requires_grad=True)
ONE_OF_THREE = np.array([[0, 1, 0], [1, 0, 0]], "f4")

LOSSES = {
    "MeanSquaredError": lambda: (losses.MeanSquaredError(), [np.zeros(ROW, "f4"), a(*ROW)]),
    "MeanAbsoluteError": lambda: (losses.MeanAbsoluteError(), [np.zeros(ROW, "f4"), a(*ROW)]),
    "Huber": lambda: (losses.Huber(), [np.zeros(ROW, "f4"), a(*ROW)]),
    "Hinge": lambda: (losses.Hinge(), [np.ones(ROW, "f4"), a(*ROW)]),
    "BinaryCrossentropy": lambda: (losses.BinaryCrossentropy(), [ONE_OF_THREE, PROBABILITIES]),
    "CategoricalCrossentropy": lambda: (losses.CategoricalCrossentropy(), [ONE_OF_THREE, PROBABILITIES]),
    "SparseCategoricalCrossentropy": lambda: (losses.SparseCategoricalCrossentropy(), [[1, 0], PROBABILITIES]),
    "KLDivergence": lambda: (losses.KLDivergence(), [ONE_OF_THREE, PROBABILITIES]),
}


def classes(module, base):
    """The names of a module's public classes below `base`, under their own names."""
    own = {n: v for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, base) and v is not base}
    return {n for n, v in own.items() if n == v.__name__ and not n.startswith("_")}
