"""PyTorch on the CPU: eager as people write it, and its best form (channels_last, fused Adam)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..cases import CHAIN, digits, features, reviews
from ..kernels import KernelCase
from . import Call
from .torch_ops import EQUIVALENTS, cotangent_of, in_torch_layout


def kernel(case: KernelCase) -> Call | None:
    op, params = EQUIVALENTS.get(case.op), case.params
    if op is None:
        return None
    xs = in_torch_layout(case.op, case.arrays())
    if case.direction == "forward":
        return Call(lambda: op(*xs, **params), lambda: [first(op(*xs, **params)).numpy()], torch.no_grad)
    leaves = [xs[i].requires_grad_() for i in case.leaves]
    g = cotangent_of(case.op, first(op(*xs, **params)))

    def run() -> Any:
        for t in leaves:
            t.grad = None
        y = first(op(*xs, **params))
        y.backward(g)
        return y

    return Call(run, lambda: [run().detach().numpy(), *(t.grad.numpy() for t in leaves if t.grad is not None)])


def first(y: Any) -> Any:
    return y[0] if isinstance(y, (tuple, list)) else y


# ------------------------------------------------------------------------------------------------ whole steps
Step = Callable[[], float]


def trained(model: Any, x: Any, y: Any, loss: Callable[..., Any], best: bool = False, compiled: bool = False) -> Step:
    """A step with Adam at its defaults. best: channels_last and the fused Adam, PyTorch's own advice for speed."""
    if best:
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last) if x.ndim == 4 else x
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=best or None)
    forward = compile_alone(model) if compiled else model

    def step() -> float:
        optimizer.zero_grad()
        value = loss(forward(x), y)
        value.backward()
        optimizer.step()
        return float(value.item())

    return step


def compile_alone(model: Any) -> Any:
    """torch.compile without its pool of compiler processes, which would run beside the other contenders."""
    import torch._inductor.config as config

    config.compile_threads = 1
    return torch.compile(model)


def conv(channels: int, filters: int) -> list[Any]:
    return [nn.Conv2d(channels, filters, 3), nn.ReLU()]


def dense(*widths: int) -> list[Any]:
    """Fully connected layers, ReLU between them."""
    pairs = zip(widths, widths[1:], strict=False)
    return [m for n, k in pairs for m in (nn.ReLU(), nn.Linear(n, k))][1:]


def images(batch: int) -> tuple[Any, Any]:
    x, labels = digits(batch)
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)


def mnist_cnn(batch: int, **form: bool) -> Step:
    pool = nn.MaxPool2d(2)
    model = nn.Sequential(*conv(1, 32), pool, *conv(32, 64), pool, *conv(64, 64), nn.Flatten(), *dense(576, 64, 10))
    return trained(model, *images(batch), F.cross_entropy, **form)


def mnist_cnn_small(batch: int, **form: bool) -> Step:
    model = nn.Sequential(*conv(1, 32), nn.MaxPool2d(2), nn.Flatten(), *dense(5408, 128, 10))
    return trained(model, *images(batch), F.cross_entropy, **form)


def mlp(batch: int, **form: bool) -> Step:
    x, labels = images(batch)
    return trained(nn.Sequential(*dense(784, 512, 512, 10)), x.reshape(batch, 784), labels, F.cross_entropy, **form)


class Sentiment(nn.Module):
    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(words, width), nn.Linear(width, 1)
        self.lstm1, self.lstm2 = (nn.LSTM(width, width, batch_first=True) for _ in range(2))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        h, _ = self.lstm1(self.embedding(x))  # (N,T) -> (N,T,H)
        h, _ = self.lstm2(self.drop(h))
        return self.head(self.drop(h[:, -1]))  # (N,H) -> (N,1)


def sentiment_lstm(batch: int, length: int, words: int, width: int, **form: bool) -> Step:
    x, y = map(torch.from_numpy, reviews(batch, length, words))
    return trained(Sentiment(words, width), x, y, F.binary_cross_entropy_with_logits, **form)


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x: Any) -> Any:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


def resnet_block(batch: int, side: int, channels: int, **form: bool) -> Step:
    x = torch.from_numpy(features(batch, side, channels)).permute(0, 3, 1, 2).contiguous()
    zeros = torch.zeros_like(x, memory_format=torch.channels_last if form.get("best") else torch.contiguous_format)
    return trained(Block(channels), x, zeros, F.mse_loss, **form)


class Bert(nn.Module):
    """BERT: embeddings, layers with the norm after the sum, and two classes from the first word."""

    def __init__(self, length: int, words: int, width: int, inner: int, heads: int, layers: int) -> None:
        super().__init__()
        self.word, self.place, self.kind = (nn.Embedding(n, width) for n in (words, length, 2))
        self.norm, self.drop = nn.LayerNorm(width, eps=1e-12), nn.Dropout(0.1)
        layer = nn.TransformerEncoderLayer(width, heads, inner, 0.1, F.gelu, 1e-12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.pooler, self.head = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, ids: Any) -> Any:
        h = self.word(ids) + (self.place.weight + self.kind.weight[0])  # (N,T) -> (N,T,D)
        h = self.encoder(self.drop(self.norm(h)))
        return self.head(self.drop(torch.tanh(self.pooler(h[:, 0]))))  # (N,D) -> (N,2)


def bert_training(
    batch: int, length: int, words: int, best: bool = False, compiled: bool = False, **sizes: int
) -> Step:
    x, y = map(torch.from_numpy, reviews(batch, length, words))
    model = Bert(length, words, **sizes)
    return trained(model, x, y.long().reshape(-1), F.cross_entropy, best, compiled)


def bert_inference(batch: int, length: int, words: int, compiled: bool = False, **sizes: Any) -> Step:
    x, _ = map(torch.from_numpy, reviews(batch, length, words))
    sizes.pop("best", None)
    model = Bert(length, words, **sizes).eval()
    forward = compile_alone(model) if compiled else model

    def step() -> float:
        with torch.inference_mode():
            return float(forward(x)[0, 0])

    return step


def small_tensors(ops: int, elements: int) -> Step:
    x = torch.linspace(-0.9, 0.9, elements, requires_grad=True)
    c, g = torch.full((elements,), 0.9), torch.linspace(0.5, 1.5, elements)
    calls = [(getattr(torch, name), name in ("tanh", "sigmoid")) for name in (CHAIN * ops)[:ops]]

    def step() -> float:
        x.grad = None
        y = x
        for op, unary in calls:
            y = op(y) if unary else op(y, c)
        y.backward(g)
        return 0.0

    return step
