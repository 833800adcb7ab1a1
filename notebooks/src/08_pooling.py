# %% [markdown]
# # 8 · Pooling: keep the strongest, forget where
#
# **The question.** After a convolution, most of what it found is thrown away: of every four numbers only the largest is kept. Why
# does the network not get worse?
#
# **The idea.** Whether there is a stroke matters, its exact pixel doesn't. Pooling makes that a rule: small shifts
# of the input hardly change its output. And it shows a beautiful case of the chain rule: a gradient that goes only to the winner.

# %%
import numpy as np

import pictures
from engine import average_pool2d, conv2d, global_average_pool2d, global_max_pool2d, max_pool2d, relu, sum, tensor
from layers import Conv2D, Dense, Flatten, MaxPooling2D
from material import digits
from models import Sequential

x, y, x_test, y_test = digits()

# %% [markdown]
# ## E7: a window, one number
#
# $$\text{E7}\quad p = \text{Pool}(h), \text{ the largest or the mean of each window}$$

# %%
h = tensor([[1.0, 2.0, 5.0, 0.0], [3.0, 4.0, 0.0, 1.0], [0.0, 0.0, 2.0, 2.0], [8.0, 0.0, 2.0, 2.0]])
h = h.reshape((1, 4, 4, 1)).requires_grad_()
print("largest\n", max_pool2d(h, window=2).detach().numpy()[0, :, :, 0])  # (1,4,4,1) -> (1,2,2,1)
print("mean\n", average_pool2d(h, window=2).detach().numpy()[0, :, :, 0])

# %% [markdown]
# **Predict** the gradient of the sum of the maxima: which of the sixteen numbers get 1, which 0? Mind the window of four
# equal 2s.

# %%
sum(max_pool2d(h, window=2)).backward()
h.grad.numpy()[0, :, :, 0]

# %% [markdown]
# One winner per window. Among equals the first one wins, always the same one: that is a decision (PyTorch's), written down
# and tested. The mean would give 1/4 to everybody.
#
# ## E6: what the documents call "activation"
#
# $$\text{E6}\quad h = \max(h) \quad\text{or}\quad h = \frac1C \sum_c h_c$$
#
# The documents print this between convolution and pooling as the *activation function*. It is none: it makes one number
# of many. The activation after a convolution is the ReLU, **E14**. E6 is *global pooling*: all of a channel in one number (or a mean over the $C$ channels).

# %%
strokes = tensor(np.stack([[[1, 1, 1], [0, 0, 0], [-1, -1, -1]], [[1, 0, -1]] * 3], -1)[:, :, None].astype("float32"))
a = relu(conv2d(tensor(x[:4]), strokes))  # E5 and E14: (4,28,28,1), (3,3,1,2) -> (4,26,26,2)
print("labels", y[:4])
print("E6, the largest of each channel\n", global_max_pool2d(a).numpy().round(2).T)  # (4,26,26,2) -> (4,2)
print("E6, the mean of each channel\n", global_average_pool2d(a).numpy().round(2).T)
print("E6, the mean over the channels: shape", a.mean(axis=-1).shape)

# %% [markdown]
# ## What survives a shift
#
# Move a digit one pixel to the right. How much do its pixels change? And how much does what is left after one, two, three rounds of
# pooling? **Predict** whether the curve falls or rises, and which pooling keeps still better.


# %%
def change(pool):
    here, there = (tensor(np.roll(x[:200], k, axis=2)) for k in (0, 1))
    changes = []
    for _ in range(5):
        changes.append(float(np.linalg.norm((there - here).numpy()) / np.linalg.norm(here.numpy())))
        here, there = pool(here), pool(there)
    return changes


pictures.lines(["1", "2", "4", "8", "16"], {"largest": change(lambda a: max_pool2d(a, window=2, padding="same")),
               "mean": change(lambda a: average_pool2d(a, window=2, padding="same"))}, marker="o",
               title="How much a shift by one pixel changes", x_label="pixels under one number, along each side", y_label="relative change", zoom=(0, 1))  # fmt: skip

# %% [markdown]
# Both fall: the more pixels a number stands for, the less one pixel matters. The mean keeps a little stiller at first, as it weighs what enters
# a window against all that stays; the largest number jumps when the winner crosses an edge.
#
# ## On the digits
#
# Two networks, with pooling and without, equal otherwise. The test digits are shifted by up to three pixels; the networks never saw
# shifted ones. **Predict** which curve falls faster.


# %%
def trained(pooled):
    parts = [Conv2D(16, 3, activation="relu", input_shape=(28, 28, 1))] + [MaxPooling2D(2)] * pooled
    parts += [Conv2D(16, 3, activation="relu")] + [MaxPooling2D(2)] * pooled
    model = Sequential([*parts, Flatten(), Dense(10, activation="softmax")], seed=1)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=50, epochs=3, verbose=0)
    return model


models = {"with pooling": trained(True), "without": trained(False)}
falls = {name: [100 * m.evaluate(np.roll(x_test, s, axis=2), y_test, verbose=0)[1] for s in range(5)] for name, m in models.items()}
pictures.lines(range(5), falls, marker="o", title="Accuracy on shifted digits", x_label="shift in pixels", y_label="%")
for name, m in models.items():
    print(f"{name:<14} {m.count_params():>7,} parameters")

# %% [markdown]
# The network with pooling forgives a little more, two or three digits in a hundred, and it does so with a fifteenth of the weights. That is the
# whole bargain: nearly the same knowledge of *what*, less of *where*, far fewer numbers to learn.
#
# ## Exercises
#
# 1. `max_pool2d(h, window=3, stride=2)` has overlapping windows. Can a number now get more than 1 as its gradient?
# 2. When would you prefer the mean?
# 3. Replace pooling by a convolution with `strides=2`. What does it cost, what does it win?
#
# <details><summary>Answers</summary>
#
# 1. Yes: a number that wins in several windows collects the cotangents of all of them.
# 2. When evidence should add up over an area, not be decided by one place: at the end of a network, as E6.
# 3. It halves the sides too, with weights of its own, so it can learn what to keep; but it must learn it.
# </details>
