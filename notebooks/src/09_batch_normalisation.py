# %% [markdown]
# # 9 · Batch normalisation
#
# **The question.** Notebook 5 needed just the right width of the first weights. What if a network could correct a wrong
# one by itself, in every layer, at every step?
#
# **The idea.** Measure each channel over the batch, take its mean away, divide by its standard deviation. Then let the network choose
# a scale γ and a shift β anew. The measured numbers depend on the weights, so the chain rule has to go *through* them.

# %%
import numpy as np

import pictures
from engine import OPS, batch_norm, gradcheck, sum, tensor
from layers import Activation, BatchNormalization, Dense
from layers.initializers import RandomNormal
from material import digits
from models import Sequential
from optim import SGD

x, y, x_test, y_test = digits()
x, x_test = x.reshape(-1, 784), x_test.reshape(-1, 784)

# %% [markdown]
# ## The equation, and where it runs
#
# $$\hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad y = \gamma \hat x + \beta$$
#
# μ and σ² are a channel's mean and variance over the batch (this σ is a standard deviation, not the sigmoid of the other notebooks); ε is small, and
# keeps the root away from 0.

# %%
pictures.equations(OPS["batch_norm"].latex)
wild = tensor(np.random.default_rng(0).normal([100.0, -3.0], [20.0, 0.01], (64, 2)))  # (N,C): two very different channels
tame = batch_norm(wild, tensor(np.ones(2)), tensor(np.zeros(2)), eps=1e-9)
print("before: mean", wild.numpy().mean(0).round(2), " deviation", wild.numpy().std(0).round(3))
print("after:  mean", tame.numpy().mean(0).round(6) + 0.0, " deviation", tame.numpy().std(0).round(3))

# %% [markdown]
# ## Predict, then run
#
# The weights before a normalised layer are doubled. What happens to its output? And what to the gradient of these weights?

# %%
data, w = tensor(x[:256, ::8]), np.random.default_rng(1).standard_normal((98, 4)).astype("float32")
ybar = tensor(np.random.default_rng(2).standard_normal((256, 4)).astype("float32"))
for factor in (1, 2, 10):
    kernel = tensor(factor * w, requires_grad=True)
    out = batch_norm(data @ kernel, tensor(np.ones(4, "f")), tensor(np.zeros(4, "f")), eps=1e-9)
    sum(out * ybar).backward()
    print(f"weights times {factor:>2}: first outputs {out.detach().numpy()[0].round(3)}, size of the gradient {np.linalg.norm(kernel.grad.numpy()):.3f}")

# %% [markdown]
# The output does not change at all: the standard deviation doubles as well. And the gradient *halves*. Too large weights
# take smaller steps, too small ones larger steps: the layer finds its own scale.
#
# Every sample's output depends on every other sample in the batch, through μ and σ. The derivative knows that. With $m(\cdot)$ the mean over the batch and $\bar{\hat x} = \gamma \bar y$,
#
# $$\bar x = \frac{\bar{\hat x} - m(\bar{\hat x}) - \hat x \, m(\bar{\hat x} \hat x)}{\sqrt{\sigma^2 + \epsilon}}$$
#
# Two terms that a hurried derivation forgets. The check would not:

# %%
rng = np.random.default_rng(3)
print(gradcheck(lambda x, gamma, beta: batch_norm(x, gamma, beta, eps=1e-3), [rng.standard_normal(s) for s in ((6, 3), (3,), (3,))], name="batch_norm"))

# %% [markdown]
# ## Does it mend a bad start?
#
# Twelve layers on the digits, started with widths that vanish and explode as those of notebook 5 did, with batch normalisation and without.


# %%
def losses(normalised, stddev):
    layers = []
    for _ in range(12):
        layers += [Dense(64, kernel_initializer=RandomNormal(stddev=stddev)), BatchNormalization(), Activation("tanh")]
    if not normalised:
        layers = [layer for layer in layers if not isinstance(layer, BatchNormalization)]
    model = Sequential([*layers, Dense(10, activation="softmax")], seed=0)
    model.compile(SGD(0.1), "sparse_categorical_crossentropy")
    seen = []
    for step in range(100):
        rows = np.random.default_rng(step).integers(0, len(x), 100)
        seen.append(model.train_on_batch(x[rows], y[rows]))
    return seen


pictures.lines(None, {f"{'with' if n else '.without'}, width {s}": losses(n, s) for n in (True, False) for s in (0.02, 1.0)},
               title="Twelve layers from a bad start", x_label="step", y_label="loss")  # fmt: skip

# %% [markdown]
# Without it both stay at $\log 10 = 2.30$, knowing nothing; with it both learn, restlessly at this rate.
#
# ## Training and use are two different things
#
# In use there may be one sample only, and no batch to measure. So during training the layer keeps *running* means and variances, and
# uses those later. This is the most frequent mistake with batch normalisation: to forget to say which of the two is meant.

# %%
layer = BatchNormalization(momentum=0.9)
odd = tensor(np.random.default_rng(5).normal(5.0, 2.0, (200, 1)).astype("float32"))
for _ in range(50):
    layer(odd, training=True)
print("running mean, variance:", layer.moving_mean.numpy(), layer.moving_variance.numpy())
one = tensor([[5.0]])
print("one sample, in use:     ", layer(one, training=False).detach().numpy())
print("one sample, in training:", layer(one, training=True).detach().numpy(), " whatever it was: its own mean is taken away")

# %% [markdown]
# ## Exercises
#
# 1. Why is there no bias in a `Dense` layer that is followed by batch normalisation? (`use_bias=False`)
# 2. What is the gradient of the sum of all outputs with respect to $x$? Derive it without calculus.
# 3. Take batches of 2 samples. What does training look like, and which layer would you use instead?
#
# <details><summary>Answers</summary>
#
# 1. The mean takes any constant away again; β does its work.
# 2. Zero: the outputs of a channel always sum to N β.
# 3. μ and σ of two samples are mostly noise. `LayerNormalization` measures over the channels of one sample, and needs no batch.
# </details>
