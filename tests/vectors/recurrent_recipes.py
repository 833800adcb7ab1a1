"""Recurrent layers as PyTorch's modules compute them, in our order of gates and inputs; masks as Keras has them."""

import numpy as np
import torch
from keras_recipes import KERAS, keras
from network_recipes import COMPOSED
from recipe import Draw, Record, make


def blocks(a, order):
    """The gates' columns in another order."""
    parts = torch.chunk(a, len(order), -1)
    return torch.cat([parts[k] for k in order], -1)


def module(kind, order, x, w, u, b, b_u, h0, c0=None):
    """A one-layer module of PyTorch: weights are (GH,D) there; LSTM has our order of gates, GRU r before z."""
    net = kind(x.shape[2], u.shape[0], batch_first=True, dtype=torch.float64)
    weights = {"weight_ih_l0": blocks(w, order).T, "weight_hh_l0": blocks(u, order).T,
               "bias_ih_l0": blocks(b, order), "bias_hh_l0": blocks(b_u, order)}
    state = h0[None] if c0 is None else (h0[None], c0[None])
    y, last = torch.func.functional_call(net, weights, (x, state))
    return y, None if c0 is None else last[1][0]


def lstm(x, w, u, b, h0, c0, cell=False):
    """Hidden states, with the last cell state behind them on request."""
    y, c = module(torch.nn.LSTM, (0, 1, 2, 3), x, w, u, b, torch.zeros_like(b), h0, c0)
    return torch.cat([y, c[:, None]], 1) if cell else y


def gru(x, w, u, b, h0):
    return module(torch.nn.GRU, (1, 0, 2), x, w, u, b[0], b[1], h0)[0]


def simple_rnn(x, w, u, b, h0):
    return module(torch.nn.RNN, (0,), x, w, u, b, torch.zeros_like(b), h0)[0]


def masked(step, kind):
    """PyTorch's module on one step after the other, the states staying where a step is masked; Keras' layer, which
    multiplies matrices in single precision, must agree to that.
    """
    def fn(x, w, u, b, *rest, sequence):
        *begin, mask = rest
        states, hidden = begin, []
        for t in range(x.shape[1]):
            new = step(x[:, t:t + 1], w, u, b, *states)
            states = [torch.where(mask[:, t:t + 1], n, s) for n, s in zip(new, states, strict=True)]
            hidden.append(states[0])
        y = torch.stack(hidden if sequence else hidden[-1:], 1)
        np.testing.assert_allclose(y.detach(), keras_layer(kind, x, w, u, b, begin, mask, sequence), atol=1e-5)
        return y
    return fn


def keras_layer(kind, x, w, u, b, begin, mask, sequence):
    """Every hidden state, or the last one as (N,1,H)."""
    made = kind(u.shape[0], return_sequences=sequence, dtype="float64")
    made.build(x.shape)
    seeds = [v.value for v in made.non_trainable_variables]
    begin = begin if len(begin) > 1 else begin[0]
    y, _ = made.stateless_call([w, u, b], seeds, x, mask=mask, initial_state=begin)
    return (y if sequence else y[:, None]).detach()


def inputs(name, gates, biases, states, N=3, T=4, D=2, H=3):
    d = Draw("recurrent", name)
    shapes = {"x": (N, T, D), "w": (D, gates * H), "u": (H, gates * H), "b": (*biases, gates * H), "h0": (N, H),
              "c0": (N, H)}
    drawn = {k: d.uniform(s, -1.5, 1.5) for k, s in shapes.items() if k != "c0" or states > 1}
    return drawn, np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 0]], bool)


def recurrent() -> list[Record]:
    r = []
    for op, ours, theirs, gates, biases, states in (
        ("simple_rnn", simple_rnn, keras.layers.SimpleRNN, 1, (), 1),
        ("gru", gru, keras.layers.GRU, 3, (2,), 1),
        ("lstm", lstm, keras.layers.LSTM, 4, (), 2),
    ):
        drawn, mask = inputs(op, gates, biases, states)
        r.append(make(op, ours, drawn, second=True))
        def step(*args, ours=ours, states=states):
            y = ours(*args, **{"cell": True} if states > 1 else {})
            return y.unbind(1)

        for sequence in (True, False):
            r.append(make(op, masked(step, theirs), drawn | {"mask": mask}, {"sequence": sequence}, source=COMPOSED,
                          note=KERAS + " agrees to single precision"))
        if states > 1:
            r.append(make(op, ours, drawn, {"cell": True}))
    return r
