# %% [markdown]
# # 5 · Initialisation, and gradients that vanish
#
# **The question.** The documents say: initialise with zeros, with a Gaussian, or with uniform numbers. Does it matter
# which, and how wide?
#
# **The idea.** A deep network multiplies. If each layer shrinks its signal to nine tenths, thirty layers leave four
# hundredths; and the gradient, which walks the same way back, is shrunk once more. The right width is the one at which a layer keeps the size of
# what passes through.

# %%
import numpy as np

import pictures
from engine import cross_entropy, tensor
from layers import Dense
from layers.initializers import GlorotUniform, HeNormal, RandomNormal, RandomUniform, Zeros
from material import digits
from models import Sequential
from optim import SGD

x, y, x_test, y_test = digits()
x, x_test = x.reshape(-1, 784), x_test.reshape(-1, 784)
DEPTH, WIDTH = 30, 64

# %% [markdown]
# ## Thirty layers of E1
#
# Each layer is **E1**, $a^{(l)} = \tanh(W^{(l)} a^{(l-1)} + b^{(l)})$, on real handwritten digits. Only the
# first values of $W$ differ.
#
# **Predict:** with Gaussian weights of standard deviation 0.05, how large are the numbers that come out at the top?
# And with standard deviation 1?


# %%
def deep(initializer, activation="tanh"):
    layers = [Dense(WIDTH, activation=activation, kernel_initializer=initializer) for _ in range(DEPTH)]
    model = Sequential([*layers, Dense(10, kernel_initializer=initializer)], seed=0)
    model.build((None, 784))
    return model


starts = {"zeros": Zeros(), "Gaussian, 0.05": RandomNormal(stddev=0.05), "Gaussian, 1": RandomNormal(stddev=1.0),
          "uniform, ±0.05": RandomUniform(), "Glorot": GlorotUniform()}  # fmt: skip


def sizes(model, images=256):
    """Root mean square of each layer's output, and of the gradient of each layer's kernel."""
    a, forward = tensor(x[:images]), []
    for layer in model.layers:
        a = layer(a)
        forward.append(float(np.sqrt(np.mean(np.square(a.numpy())))) + 1e-30)
    cross_entropy(tensor(y[:images]), a).backward()
    backward = [float(np.sqrt(np.mean(np.square(layer.kernel.grad.numpy())))) + 1e-30 for layer in model.layers]
    return forward[:-1], backward[:-1]


measured = {name: sizes(deep(start)) for name, start in starts.items()}
left, right = pictures.panels(2, width=4.6, height=3.4)
pictures.lines(None, {n: f for n, (f, _) in measured.items()}, log="y", zoom=(1e-22, 1e4), title="Signal, going up",
               x_label="layer", ax=left)  # fmt: skip
pictures.lines(None, {n: b for n, (_, b) in measured.items()}, log="y", zoom=(1e-26, 1e16), title="Gradient, coming back",
               x_label="layer", ax=right)  # fmt: skip

# %% [markdown]
# - **0.05**: the signal falls by a constant factor a layer, a straight line on this scale. The gradient of a layer's weights
#   (in Keras's word, of its *kernel*) is the signal below them times the error above them. The one is tiny at the top, the other at the bottom: the product is hopeless
#   everywhere. These are *vanishing gradients*. Uniform numbers of ±0.05 (Keras's default) are narrower still.
# - **1**: the signal is as large as tanh allows, but on its way back the error is multiplied by large weights, layer after layer:
#   *exploding gradients*.
# - **Zeros**: there is no signal at all, and its line is far below the picture.
# - **Glorot**: a uniform distribution whose variance is $2 / (n_{in} + n_{out})$. Signal and gradient keep their size.
#
# ## Where the width comes from
#
# A sum of $n$ independent terms of variance $v$ has variance $n v$. For a layer that is to keep the variance, each weight must have $v = 1 / n$.
# The initialisers compute it from the shape of the kernel:

# %%
kernels = {name: deep(start).layers[5].kernel for name, start in {**starts, "He": HeNormal()}.items() if name != "zeros"}
for name, kernel in kernels.items():
    print(f"{name:<15} standard deviation {kernel.numpy().std():.3f}    kept: {WIDTH * kernel.numpy().var():6.2f} of the variance")

# %% [markdown]
# He's is twice as wide in variance: a ReLU (**E14**) throws half of the signal away, and the 2 pays for it.
#
# ## Does it learn?
#
# Three epochs on 4,000 digits, plain gradient descent. **Predict** the order of the curves.

# %%
losses = {}
for name in ("zeros", "Gaussian, 0.05", "Gaussian, 1", "Glorot"):
    model = deep(starts[name])
    optimizer, losses[name] = SGD(model.parameters(), lr=0.05), []
    for step in range(120):
        rows = np.random.default_rng(step).integers(0, len(x), 100)
        loss = cross_entropy(tensor(y[rows]), model(tensor(x[rows])))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[name].append(loss.item())
pictures.lines(None, losses, title="Thirty layers, the same data and rate", x_label="step", y_label="loss", log="y")

# %% [markdown]
# A loss of 2.30 is $\log 10$: a network that knows nothing. Two of the networks never leave it (their lines lie upon each other), and the exploding one is
# worse than that: sure of itself, and wrong. Only Glorot's learns.
#
# ## Exercises
#
# 1. Replace `tanh` by `relu`. Which of `GlorotUniform` and `HeNormal` keeps the signal?
# 2. Why do zeros fail even in a network with one hidden layer and a sigmoid, where the signal is not 0?
# 3. Put a `BatchNormalization` after each layer (notebook 9) and start with 0.05 again.
#
# <details><summary>Answers</summary>
#
# 1. He's. Glorot's loses half of the variance in each layer: after 30 layers a factor of 30,000 in the root mean square.
# 2. All hidden neurons are alike, get the same gradient, and stay alike forever: it is a network of width one.
# 3. It learns: normalisation rescales in each layer what the initialisation got wrong.
# </details>
