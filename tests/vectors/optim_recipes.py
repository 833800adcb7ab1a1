"""Ten steps of every optimiser on Rosenbrock's valley: PyTorch's own, and for Lion its published update.

A record holds the gradient of each step, so an optimiser is checked without a model: feed gradients[t], compare
parameters[t]. Hyper-parameters have Keras' names; `update` says whose formula it is (where epsilon stands, say).
"""

from collections.abc import Callable

import numpy as np
import torch
from recipe import TORCH, Record

START = np.array([-1.2, 1.0, 0.8, -0.5])
STEPS = 10


def gradient(x: np.ndarray) -> np.ndarray:
    """Of sum_i (x[i+1] - x[i]^2)^2 + (1 - x[i])^2 / 10, Rosenbrock's function with a gentler valley."""
    g = np.zeros_like(x)
    g[:-1] += -4 * x[:-1] * (x[1:] - x[:-1] ** 2) - 0.2 * (1 - x[:-1])
    g[1:] += 2 * (x[1:] - x[:-1] ** 2)
    return g


def record(optimizer: str, params: Record, update: str, source: str,
    step: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> Record:
    x, gradients, path = START.copy(), [], []
    for t in range(1, STEPS + 1):
        g = np.round(gradient(x), 6)                                  # short to write, exact as it stands
        x = step(x, g, t)
        gradients.append(g.tolist())
        path.append(x.tolist())
    return {"optimizer": optimizer, "params": params, "update": update, "initial": START.tolist(),
            "gradients": gradients, "parameters": path, "source": source}


def torch_step(cls: type, **options: object) -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
    p = torch.nn.Parameter(torch.tensor(START))
    optimizer = cls([p], **options)

    def step(_x: np.ndarray, g: np.ndarray, _t: int) -> np.ndarray:
        p.grad = torch.tensor(g)
        optimizer.step()
        return p.detach().numpy().copy()
    return step


def lion_step(learning_rate: float, beta_1: float, beta_2: float, weight_decay: float) -> Callable:
    """Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", Algorithm 2, line by line."""
    m = np.zeros_like(START)

    def step(x: np.ndarray, g: np.ndarray, _t: int) -> np.ndarray:
        nonlocal m
        c = beta_1 * m + (1 - beta_1) * g
        x = x - learning_rate * (np.sign(c) + weight_decay * x)
        m = beta_2 * m + (1 - beta_2) * g
        return x
    return step


SGD = "g += weight_decay w; v = momentum v + g; w -= learning_rate (nesterov ? g + momentum v : v)"
ADAM = ("g += weight_decay w; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; "
        "w -= lr m/(1-b1^t) / (sqrt(v/(1-b2^t)) + epsilon)")
ADAMW = "w -= lr weight_decay w first (decoupled), then Adam without weight decay"
RMSPROP = ("v = rho v + (1-rho) g^2; u = g / (sqrt(v) + epsilon), centered: v - mean(g)^2 under the root; "
           "b = momentum b + u; w -= lr b")
ADAGRAD = "a += g^2, a starts at initial_accumulator_value; w -= lr g / (sqrt(a) + epsilon)"
ADADELTA = "a = rho a + (1-rho) g^2; d = g sqrt(e + epsilon) / sqrt(a + epsilon); e = rho e + (1-rho) d^2; w -= lr d"


def optim() -> list[Record]:
    r = []
    for momentum, nesterov, decay in ((0.0, False, 0.0), (0.9, False, 0.0), (0.9, True, 0.0), (0.0, False, 0.1),
        (0.8, True, 0.05)):
        r.append(record("SGD", {"learning_rate": 0.02, "momentum": momentum, "nesterov": nesterov,
            "weight_decay": decay}, SGD, TORCH,
                        torch_step(torch.optim.SGD, lr=0.02, momentum=momentum, nesterov=nesterov,
                            weight_decay=decay)))
    for lr, b1, b2, eps, decay in ((0.05, 0.9, 0.999, 1e-8, 0.0), (0.1, 0.8, 0.95, 1e-3, 0.0),
        (0.05, 0.9, 0.999, 1e-7, 0.1)):
        named = {"learning_rate": lr, "beta_1": b1, "beta_2": b2, "epsilon": eps, "weight_decay": decay}
        r.append(record("Adam", named, ADAM, TORCH,
            torch_step(torch.optim.Adam, lr=lr, betas=(b1, b2), eps=eps, weight_decay=decay)))
    for lr, decay, eps in ((0.05, 0.01, 1e-8), (0.1, 0.2, 1e-3)):
        named = {"learning_rate": lr, "beta_1": 0.9, "beta_2": 0.999, "epsilon": eps, "weight_decay": decay}
        r.append(record("AdamW", named, ADAMW, TORCH,
            torch_step(torch.optim.AdamW, lr=lr, eps=eps, weight_decay=decay)))
    for rho, momentum, eps, centered in ((0.9, 0.0, 1e-7, False), (0.95, 0.9, 1e-3, False), (0.9, 0.5, 1e-3, True)):
        named = {"learning_rate": 0.02, "rho": rho, "momentum": momentum, "epsilon": eps, "centered": centered}
        r.append(record("RMSprop", named, RMSPROP, TORCH,
                        torch_step(torch.optim.RMSprop, lr=0.02, alpha=rho, momentum=momentum, eps=eps,
                            centered=centered)))
    for start, eps in ((0.1, 1e-7), (0.0, 1e-3)):
        named = {"learning_rate": 0.2, "initial_accumulator_value": start, "epsilon": eps}
        r.append(record("Adagrad", named, ADAGRAD, TORCH,
            torch_step(torch.optim.Adagrad, lr=0.2, initial_accumulator_value=start, eps=eps)))
    for lr, rho, eps in ((1.0, 0.95, 1e-7), (0.5, 0.9, 1e-3)):
        r.append(record("Adadelta", {"learning_rate": lr, "rho": rho, "epsilon": eps}, ADADELTA, TORCH,
                        torch_step(torch.optim.Adadelta, lr=lr, rho=rho, eps=eps)))
    for decay in (0.0, 0.1):
        named = {"learning_rate": 0.02, "beta_1": 0.9, "beta_2": 0.99, "weight_decay": decay}
        r.append(record("Lion", named, "Chen et al. 2023, Algorithm 2",
            "NumPy transcription of Chen et al. 2023, Algorithm 2", lion_step(**named)))
    return r
