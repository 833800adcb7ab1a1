"""Where our words and defaults are Keras 3's, Keras itself (on PyTorch, in float64) is the reference beside PyTorch."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from network_recipes import probabilities  # noqa: E402
from optim_recipes import START, record  # noqa: E402
from recipe import Draw, Record, make  # noqa: E402

keras.config.set_floatx("float64")
KERAS = "keras " + keras.__version__


def loss_of(function, **fixed):
    """A Keras loss as a function: one value a sample, or their mean.

    Only the losses that sum over the last axis: Keras' own mean, its loss classes and hinge round float64 to float32.
    """
    def fn(y_true, y_pred, reduction, normalise=True, **options):
        each = function(y_true, y_pred, **fixed, **options)
        return each if reduction == "none" else each.mean()
    return fn


def keras_losses() -> list[Record]:
    d, r, kl = Draw("keras losses"), [], keras.losses
    rows, onehot, ids = probabilities(d, 3, 4), np.eye(4)[[2, 0, 3]], np.array([2, 0, 3])
    p = np.round(probabilities(d, 3, 4) * 1.05, 3)                     # rows that do not sum to one: Keras divides
    logits = d.uniform((3, 4))
    own = {"constant": ("y_true",), "source": KERAS}
    for op, function, target, prediction, options in (
        ("categorical_crossentropy", kl.categorical_crossentropy, onehot, p, {"normalise": True}),
        ("categorical_crossentropy", kl.categorical_crossentropy, rows, p, {"normalise": True, "label_smoothing": 0.1}),
        ("kl_div", kl.kl_divergence, rows, probabilities(d, 3, 4), {}),
    ):
        for reduction in ("mean", "none"):
            r.append(make(op, loss_of(function), {"y_true": target, "y_pred": prediction},
                          {"reduction": reduction} | options, **own))
    for smoothing in (0.0, 0.1):
        r.append(make("cross_entropy", loss_of(kl.categorical_crossentropy, from_logits=True),
                      {"y_true": rows, "logits": logits}, {"reduction": "mean", "label_smoothing": smoothing}, **own))
    r.append(make("cross_entropy", loss_of(kl.sparse_categorical_crossentropy, from_logits=True),
                  {"y_true": ids, "logits": logits}, {"reduction": "mean"}, **own))
    return r


def keras_windows() -> list[Record]:
    """Convolution and pooling on Keras' own channels-last layouts: "same" is theirs, not our padding arithmetic."""
    d, r, ops = Draw("keras windows"), [], keras.ops

    def conv(x, w, stride, padding, dilation):
        return ops.conv(x, w, strides=stride, padding=padding, dilation_rate=dilation, data_format="channels_last")

    def pool(fn):
        return lambda x, window, stride, padding: fn(x, window, stride, padding, data_format="channels_last")

    for shape, kernel, stride, dilation in (((1, 5, 6, 2), 3, 2, 1), ((2, 4, 5, 1), 2, 1, 1), ((1, 6, 5, 1), 2, 1, 2)):
        inputs = {"x": d.uniform(shape), "w": d.uniform((kernel, kernel, shape[-1], 2), -1, 1)}
        params = {"stride": stride, "padding": "same", "dilation": dilation}
        r.append(make("conv2d", conv, inputs, params, source=KERAS))
    for op, fn in (("max_pool2d", ops.max_pool), ("avg_pool2d", ops.average_pool)):
        for shape, window, stride in (((1, 5, 4, 2), 2, 2), ((1, 5, 5, 1), 3, 2), ((1, 4, 6, 1), 2, 1)):
            params = {"window": window, "stride": stride, "padding": "same"}
            r.append(make(op, pool(fn), {"x": d.distinct(shape)}, params, source=KERAS))
    return r


def keras_step(optimizer):
    variable = keras.Variable(START, dtype="float64")
    optimizer.build([variable])

    def step(_x, g, _t):
        optimizer.apply([torch.tensor(g)], [variable])
        return keras.ops.convert_to_numpy(variable).copy()
    return step


UPDATES = {
    "SGD": "v = momentum v - lr g; w += nesterov ? momentum v - lr g : v",
    "Adam": "m += (1-b1)(g - m); v += (1-b2)(g^2 - v); w -= lr sqrt(1-b2^t)/(1-b1^t) m / (sqrt(v) + epsilon)",
    "AdamW": "w -= lr weight_decay w first, then Adam",
    "RMSprop": "v = rho v + (1-rho) g^2; u = lr g / sqrt(v + epsilon); b = momentum b + u; w -= b",
    "Adagrad": "a += g^2; w -= lr g / sqrt(a + epsilon)",
    "Adadelta": "a = rho a + (1-rho) g^2; "
                "d = g sqrt(e + epsilon) / sqrt(a + epsilon); e = rho e + (1-rho) d^2; w -= lr d",
    "Lion": "w -= lr (sign(b1 m + (1-b1) g)); m = b2 m + (1-b2) g; weight decay first, decoupled",
}


def keras_optim() -> list[Record]:
    rates = {"learning_rate": 0.02}
    betas = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-3}          # a large epsilon shows where it stands
    cases = (
        ("SGD", rates | {"momentum": 0.9, "nesterov": True}), ("SGD", rates | {"momentum": 0.9, "nesterov": False}),
        ("SGD", rates | {"momentum": 0.5, "nesterov": False, "weight_decay": 0.1}),
        ("Adam", {"learning_rate": 0.05} | betas), ("Adam", {"learning_rate": 0.05} | betas | {"weight_decay": 0.1}),
        ("AdamW", {"learning_rate": 0.05} | betas | {"weight_decay": 0.1}),
        ("RMSprop", rates | {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-3, "centered": False}),
        ("RMSprop", rates | {"rho": 0.9, "momentum": 0.5, "epsilon": 1e-3, "centered": True}),
        ("Adagrad", {"learning_rate": 0.2, "initial_accumulator_value": 0.1, "epsilon": 1e-3}),
        ("Adadelta", {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-3}),
        ("Lion", rates | {"beta_1": 0.9, "beta_2": 0.99}),
        ("Lion", rates | {"beta_1": 0.9, "beta_2": 0.99, "weight_decay": 0.1}),
    )
    return [record(name, params, UPDATES[name] + ("; w -= lr weight_decay w first" if name in ("SGD", "Adam") and
            "weight_decay" in params else ""), KERAS, keras_step(getattr(keras.optimizers, name)(**params)))
            for name, params in cases]
