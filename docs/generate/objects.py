"""Pages of layers, losses, optimisers and schedules: docstring, call, an example that runs, a picture."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import engine
import layers
import optim
from engine.config import Configurable
from engine.tensor import Tensor
from engine.view import view
from layers import losses
from optim import schedules

from . import pictures
from .docstrings import markdown, summary

# Layers: what makes one, and an input, as Python. A layer with no entry fails tests/test_catalogue.py.
X = "engine.randn(2, 4)"
SEQUENCE, IMAGES = "engine.randn(2, 6, 4)", "engine.randn(2, 8, 8, 3)"
LAYERS = {
    "Dense": ("Dense(3)", X),
    "Embedding": ("Embedding(input_dim=100, output_dim=4)", "engine.tensor([[1, 5, 7], [2, 0, 0]])"),
    "MultiHeadAttention": ("MultiHeadAttention(num_heads=2, key_dim=3)", f"{SEQUENCE}, {SEQUENCE}"),
    "SimpleRNN": ("SimpleRNN(5)", SEQUENCE),
    "GRU": ("GRU(5, return_sequences=True)", SEQUENCE),
    "LSTM": ("LSTM(5, return_sequences=True)", SEQUENCE),
    "Masking": ("Masking(0.0)", SEQUENCE),
    "Bidirectional": ("Bidirectional(layers.LSTM(5))", SEQUENCE),
    "Conv2D": ("Conv2D(4, 3, padding='same', activation='relu')", IMAGES),
    "InputLayer": ("InputLayer((4,))", X),
    "Activation": ("Activation('tanh')", X),
    "ReLU": ("ReLU(max_value=6.0)", X),
    "LeakyReLU": ("LeakyReLU(0.1)", X),
    "Softmax": ("Softmax()", X),
    "Flatten": ("Flatten()", IMAGES),
    "Reshape": ("Reshape((8, -1))", IMAGES),
    "Permute": ("Permute((2, 1))", SEQUENCE),
    "Operation": ("Operation('square')", X),
    "Dropout": ("Dropout(0.5)", X),
    **{name: (f"{name}()", f"[{X}, {X}]") for name in ("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average")},
    "Concatenate": ("Concatenate()", f"[{X}, {X}]"),
    "BatchNormalization": ("BatchNormalization()", IMAGES),
    "LayerNormalization": ("LayerNormalization()", X),
    "RMSNormalization": ("RMSNormalization()", X),
    "MaxPooling2D": ("MaxPooling2D((2, 2))", IMAGES),
    "AveragePooling2D": ("AveragePooling2D((2, 2))", IMAGES),
    "GlobalAveragePooling2D": ("GlobalAveragePooling2D()", IMAGES),
    "GlobalMaxPooling2D": ("GlobalMaxPooling2D()", IMAGES),
    "SinePositionEncoding": ("SinePositionEncoding()", SEQUENCE),
    "PositionEmbedding": ("PositionEmbedding(sequence_length=10)", SEQUENCE),
    "RotaryEmbedding": ("RotaryEmbedding()", "engine.randn(2, 6, 2, 4)"),
    "FeedForward": ("FeedForward(16)", SEQUENCE),
    "SwiGLU": ("SwiGLU(16)", SEQUENCE),
    "TransformerEncoder": ("TransformerEncoder(intermediate_dim=16, num_heads=2)", SEQUENCE),
    "TransformerDecoder": ("TransformerDecoder(intermediate_dim=16, num_heads=2)", SEQUENCE),
}  # fmt: skip

# Losses: what is true and what is predicted, as Python; and what is drawn: truths, and a prediction made of one number.
LOSSES = {
    **dict.fromkeys(("MeanSquaredError", "MeanAbsoluteError", "Huber"), ("[[1.0], [0.0]]", "[[0.8], [0.4]]")),
    "Hinge": ("[[1.0], [-1.0]]", "[[0.3], [0.4]]"),
    "BinaryCrossentropy": ("[[1.0], [0.0]]", "[[0.8], [0.4]]"),
    "CategoricalCrossentropy": ("[[0.0, 1.0, 0.0]]", "[[0.2, 0.7, 0.1]]"),
    "SparseCategoricalCrossentropy": ("[1]", "[[0.2, 0.7, 0.1]]"),
    "KLDivergence": ("[[0.5, 0.5]]", "[[0.9, 0.1]]"),
}
SCHEDULES = {
    "Constant": "Constant(0.01)",
    "PiecewiseConstantDecay": "PiecewiseConstantDecay([300, 600], [0.01, 0.003, 0.001])",
    "StepDecay": "StepDecay(0.01, step_size=250, gamma=0.5)",
    "ExponentialDecay": "ExponentialDecay(0.01, decay_steps=250, decay_rate=0.5)",
    "InverseTimeDecay": "InverseTimeDecay(0.01, decay_steps=250, decay_rate=1.0)",
    "PolynomialDecay": "PolynomialDecay(0.01, decay_steps=800, power=2.0)",
    "CosineDecay": "CosineDecay(0.0, decay_steps=800, warmup_target=0.01, warmup_steps=100)",
    "CosineDecayRestarts": "CosineDecayRestarts(0.01, first_decay_steps=150)",
    "WarmUp": "WarmUp(schedules.CosineDecay(0.01, 900), warmup_steps=100)",
    "OneCycle": "OneCycle(0.01, total_steps=1000)",
}
RATES = {"SGD": "SGD([w], learning_rate=0.08, momentum=0.8)", "Adadelta": "Adadelta([w], learning_rate=30.0)",
         "Adagrad": "Adagrad([w], learning_rate=0.5)", "Lion": "Lion([w], learning_rate=0.1)"}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A family of classes that has pages."""

    folder: str
    title: str
    words: str
    base: Any
    home: Any  # the module that users import from

    @property
    def classes(self) -> list[Any]:
        """Ours, in the order in which they are defined."""
        home = self.home.__name__.split(".")[0]
        return [c for c in self.base.table.values() if c.__module__.split(".")[0] == home]


KINDS = [
    Kind("layers", "Layers", "What a network is made of.", layers.Layer, layers),
    Kind("losses", "Losses", "What training makes small.", losses.Loss, losses),
    Kind("optimisers", "Optimisers", "How weights follow their gradients.", optim.Optimizer, optim),
    Kind("schedules", "Schedules", "Learning rates that change from step to step.", optim.Schedule, schedules),
]


def object_page(kind: Kind, cls: type[Configurable]) -> str:
    name = cls.__name__
    code, drawing = {
        "layers": layer, "losses": loss, "optimisers": optimiser, "schedules": schedule,
    }[kind.folder](name)  # fmt: skip
    head = f"from {kind.home.__name__} import {name}"
    out = [f"# {name}", "", "```{.python .no-run}", head, "", _call(cls), "```", ""]
    out += [f"::: {cls.__module__}.{name}", "", "    options:", "      members: false"]
    out += ["      show_root_heading: false", "      show_root_toc_entry: false", ""]
    shared = [b for b in cls.__mro__[1:] if b.__name__.startswith("_") and issubclass(b, kind.base) and b.__doc__]
    if shared or kind.folder == "optimisers":
        docs = [b.__doc__ for b in shared] or [kind.base.__doc__]
        out += ["## Common options", "", *(f"{markdown(d)}\n" for d in docs)]
    out += ["## Example", "", "```python", *code, "```", ""]
    if drawing:
        out += ["## Picture", "", f'<div class="picture" data-search-exclude>{drawing}</div>', ""]
    return "\n".join(out)


def _call(cls: Any) -> str:
    """The constructor, a line for each argument where one line is too long."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in inspect.signature(cls).parameters.values()]
    line = f"{cls.__name__}({', '.join(map(str, bare))})"
    return line if len(line) < 90 else "\n".join([f"{cls.__name__}(", *(f"    {p}," for p in bare), ")"])


def index(kind: Kind) -> str:
    rows = [f"| [{c.__name__}]({c.__name__}.md) | {summary(c.__doc__)} |" for c in kind.classes]
    return "\n".join([f"# {kind.title}", "", kind.words, "", "| name | what it does |", "|---|---|", *rows, ""])


# ------------------------------------------------------------------------------------------------ examples
def layer(name: str) -> tuple[list[str], str]:
    """A call and what it makes; the picture is the graph that it records."""
    made, given = LAYERS[name]
    drawn = eval(f"layers.{made}", {"layers": layers})(*eval(f"({given},)", {"engine": engine}))
    drawing = "" if drawn.node is None else view(drawn, gradient=drawn.numpy()).svg()
    return [
        "import engine", "import layers", "", f"layer = layers.{made}", f"y = layer({given})", "print(y.shape)",
        "for path, weight in layer.state_dict().items():", "    print(path, weight.shape)",
    ], drawing  # fmt: skip


def loss(name: str) -> tuple[list[str], str]:
    true, predicted = LOSSES[name]
    code = ["import engine", f"from layers.losses import {name}", "",
            f"y_pred = engine.tensor({predicted}, requires_grad=True)", f"loss = {name}()({true}, y_pred)",
            "loss.backward()", "print(loss)", "print(y_pred.grad)"]  # fmt: skip
    make = getattr(losses, name)
    inside = np.linspace(0.02, 0.98, 97)
    if name in ("BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy", "KLDivergence"):
        truths: dict[str, Any] = {"true: 1": 1.0, "true: 0": 0.0}
        if name == "KLDivergence":
            truths |= {"true: 0.7": 0.7}
        whole = partial(_truth, name)
        guess = (lambda p: p.reshape(1, 1)) if name.startswith("Binary") else _two
        return code, pictures.loss(make, {k: whole(v) for k, v in truths.items()}, inside, guess)
    across = np.linspace(-3, 3, 121)
    truths = {"true: 1": np.array([[1.0]]), ("true: -1" if name == "Hinge" else "true: 0"): np.array([[0.0]])}
    return code, pictures.loss(make, truths, across, lambda p: p.reshape(1, 1))


def _truth(name: str, p: float) -> Any:
    if name.startswith("Sparse"):
        return np.array([int(p)])
    return np.array([[p]]) if name.startswith("Binary") else np.array([[1 - p, p]])


def _two(p: Tensor) -> Tensor:
    """Probabilities of two classes, of which the second's is p."""
    return engine.stack([1 - p, p]).reshape(1, 2)


def optimiser(name: str) -> tuple[list[str], str]:
    made = RATES.get(name, f"{name}([w], learning_rate=0.2)")
    code = ["import engine", f"from optim import {name}", "", "w = engine.tensor([-4.0, 1.6], requires_grad=True)",
            f"optimizer = {made}", "for step in range(60):", "    optimizer.zero_grad()",
            "    loss = w[0] ** 2 / 2 + 5 * w[1] ** 2", "    loss.backward()", "    optimizer.step()",
            "print(loss.item(), w)"]  # fmt: skip
    return code, pictures.path(lambda params: eval(made, vars(optim) | {"w": params[0]}))


def schedule(name: str) -> tuple[list[str], str]:
    made = SCHEDULES[name]
    prefix = "from optim import Adam, schedules"
    code = [prefix, "", f"rate = schedules.{made}", "print([round(rate(step), 6) for step in (0, 100, 500, 999)])",
            "optimizer = Adam(learning_rate=rate)"]  # fmt: skip
    return code, pictures.schedule(lambda: eval(f"schedules.{made}", {"schedules": schedules}))


# ------------------------------------------------------------------------------------------------ reference
REFERENCE = {
    "tensor": ("Tensors", "engine.tensor.Tensor", "engine.creation"),
    "gradients": ("Gradients", "engine.autograd", "engine.gradcheck"),
    "fuse": ("Fused functions", "engine.fuse", "engine.ops.summed"),
    "errors": ("Errors", "engine.errors"),
    "initializers": ("Initialisers", "layers.initializers", "layers.regularizers"),
    "models": ("Models", "models.model.Model", "models.sequential.Sequential", "models.saving"),
    "training": ("Callbacks and metrics", "models.callbacks", "models.metrics"),
    "data": ("Data", "data.batches", "data.sequences", "data.tokenizer", "data.transforms"),
}


def reference(name: str) -> str:
    title, *modules = REFERENCE[name]
    return "\n".join([f"# {title}", "", *(f"::: {m}\n    options:\n      heading_level: 2\n" for m in modules)])
