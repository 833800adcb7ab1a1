# %% [markdown]
# # 11 · Dropout
#
# **The question.** Switch off half of a network's neurons, at random, in every step. Why would that help?
#
# **The idea.** A network with many weights and few data learns the data by heart: neurons agree on tricks that work for these samples
# only. If a neuron can't rely on its neighbours being there, it has to be useful by itself.

# %%
import numpy as np

import pictures
from engine import dropout, gradcheck, ones, tensor
from layers import Dense, Dropout
from material import digits
from models import Sequential

# %% [markdown]
# ## One line
#
# $$y_i = \begin{cases} x_i / (1 - r) & \text{with probability } 1 - r \\ 0 & \text{otherwise} \end{cases}$$
#
# **Predict:** why is what stays divided by $1 - r$? What is the mean of a million ones, after dropout of 0.3?

# %%
y = dropout(ones((1000, 1000)), rate=0.3, seed=7)
print("values", np.unique(y.numpy()), " mean", y.mean().item())

# %% [markdown]
# The mean stays 1, so the next layer sees numbers of the usual size, and *in use* nothing needs to be done at all: all neurons on, no factor.
#
# ## A mask that nobody stores
#
# The mask is a function of (seed, place): a counter goes in, random bits come out. Backward makes the same mask again instead of keeping it. So
# dropout, for a given seed, is a linear function with an exact derivative, and `gradcheck` applies like anywhere else. Below it five masks; black is kept:

# %%
print(gradcheck(lambda x: dropout(x, rate=0.5, seed=3), [np.random.default_rng(0).standard_normal((4, 5))], name="dropout"))
masks = np.stack([dropout(ones((28, 28)), rate=r, seed=1).numpy() for r in (0.1, 0.3, 0.5, 0.7, 0.9)])
pictures.images(masks > 0, [f"r = {r}" for r in (0.1, 0.3, 0.5, 0.7, 0.9)], columns=5, size=1.5)

# %% [markdown]
# ## Learning by heart, and how to prevent it
#
# Only 1,000 digits, a network with 670,000 weights, thirty epochs. Without dropout it will know all of them by heart. **Predict** for both networks the loss
# on these digits, and the loss on 1,000 others that it never saw.

# %%
x, y, x_test, y_test = digits()
few, labels, x_test = x[:1000].reshape(-1, 784), y[:1000], x_test.reshape(-1, 784)


def history(rate):
    model = Sequential([Dropout(0.4 * rate, input_shape=(784,)), Dense(512, activation="relu"), Dropout(rate),
                        Dense(512, activation="relu"), Dropout(rate), Dense(10, activation="softmax")], seed=1)  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, model.fit(few, labels, batch_size=50, epochs=30, validation_data=(x_test, y_test), verbose=0).history


with_it, without = history(0.5), history(0.0)
pictures.lines(None, {"with, unseen digits": with_it[1]["val_loss"], "without, unseen digits": without[1]["val_loss"],
                      ".with, known digits": with_it[1]["loss"], ".without, known digits": without[1]["loss"]},
               title="1,000 digits, 670,000 weights", x_label="epoch", y_label="loss", zoom=(0, 1.2))  # fmt: skip
for name, (_, h) in {"with": with_it, "without": without}.items():
    print(f"{name:<8} dropout: {100 * h['val_accuracy'][-1]:.1f} % of the unseen digits")

# %% [markdown]
# Without dropout the loss on unseen digits turns and rises, though the network makes hardly more mistakes: it becomes surer of those it makes.
#
# ## A network that knows when it doesn't know
#
# Leave dropout on in use and ask the same question fifty times: fifty slightly different networks vote. Where they disagree, be careful.

# %%
model = with_it[0]
votes = np.stack([model(tensor(x_test), training=True).detach().numpy() for _ in range(50)])  # (50,1000,10)
mean = votes.mean(0)
doubt = 1 - mean.max(1)
order = np.argsort(-doubt)
pictures.images(x_test[order[:16]].reshape(-1, 28, 28), [f"{mean[i].argmax()}? {100 * mean[i].max():.0f} %" for i in order[:16]],
                columns=8, size=1.1, title="The sixteen digits with most disagreement")  # fmt: skip
sure = doubt < np.median(doubt)
right = mean.argmax(1) == y_test
print(f"right among the surer half: {100 * right[sure].mean():.1f} %, among the other: {100 * right[~sure].mean():.1f} %")

# %% [markdown]
# ## Exercises
#
# 1. The input has dropout, too, 0.2 of the pixels. Try 0, and 0.8.
# 2. What does `Dropout(1.0)` do, and what is its gradient?
# 3. Two calls of `model.fit` with the same seed: are the masks the same?
#
# <details><summary>Answers</summary>
#
# 1. A fifth of the pixels is a blot or two: the digit can still be read, and no single pixel can be relied on. Of a fifth of the pixels nobody can read it.
# 2. All outputs and all gradients are 0. The factor 1 / (1 − r) is left out there, or it would be 0 · ∞.
# 3. Yes, bit for bit, on any number of threads: element i of step t uses word i of a stream that is named by (seed, layer, t).
# </details>
