# %% [markdown]
# # 10 · Optimisers racing on a surface
#
# **The question.** The gradient says which way is down, *here*. Why do half a dozen optimisers exist, if all of them follow it?
#
# **The idea.** A gradient is right at one point, and a step is long. In a narrow, bent valley the steepest way down points at the other
# wall, not along the valley. Every optimiser is a different answer to one question: what do past gradients tell about this step?

# %%
import numpy as np

import pictures
from engine import square, tensor
from engine.parameter import Parameter
from layers import Dense
from material import digits
from models import Sequential
from optim import SGD, Adagrad, Adam, Lion, RMSprop

# %% [markdown]
# ## E4 and E11: gradient descent
#
# $$\text{E4}\quad W \leftarrow W - \alpha \frac{\partial J}{\partial W}, \quad b \leftarrow b - \alpha \frac{\partial J}{\partial b}
# \qquad \text{E11}\quad \Delta W_n = -\alpha \frac{\partial L}{\partial W_n}, \quad \Delta b_n = -\alpha \frac{\partial L}{\partial b_n}$$
#
# `SGD` is this line. Check it on one number:

# %%
W = Parameter(tensor([3.0]))
optimizer = SGD([W], lr=0.1)
(square(W) * 0.5).sum().backward()  # the gradient is W itself
optimizer.step()  # E4: 3 - 0.1 * 3
print(W.numpy())

# %% [markdown]
# ## The race
#
# Rosenbrock's valley, $f(u, v) = (1 - u)^2 + 20\,(v - u^2)^2$: easy to get into, hard to follow to its end at $(1, 1)$. All start at
# $(-1.2, -0.6)$ and get 150 steps. **Predict** who crosses the valley back and forth, and who is first at the star.


# %%
def surface(u, v):
    return square(1 - tensor(u)) + 20 * square(tensor(v) - square(tensor(u)))


def walk(make, steps=150):
    place, track = Parameter(tensor([-1.2, -0.6])), []
    optimizer = make([place])
    for _ in range(steps):
        track.append(place.numpy().copy())
        u, v = place[0], place[1]
        loss = square(1 - u) + 20 * square(v - square(u))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return np.array(track)


racers = {
    "gradient descent": lambda p: SGD(p, lr=0.004),
    "momentum": lambda p: SGD(p, lr=0.001, momentum=0.9),
    "RMSprop": lambda p: RMSprop(p, lr=0.02),
    "Adam": lambda p: Adam(p, lr=0.1),
}
walks = {name: walk(make) for name, make in racers.items()}
pictures.paths(surface, walks, limits=(-2, 2, -1, 3), goal=(1, 1), title="150 steps in Rosenbrock's valley")

# %%
heights = {name: [surface(*place).item() for place in track] for name, track in walks.items()}
pictures.lines(None, heights, log="y", title="How far above the star", x_label="step", y_label="f")

# %% [markdown]
# Nobody arrives in 150 steps. The lowest is momentum, though it ran past the star.
#
# - **Gradient descent** falls into the valley and then creeps: along the valley the gradient is tiny.
# - **Momentum** remembers: steps that agree add up, steps that contradict each other cancel. It overshoots, too.
# - **RMSprop** divides each coordinate by the size of its own gradients: steep and flat directions get steps of like length.
# - **Adam** does both.
#
# Each optimiser's docstring is its update in LaTeX, with the names that the code uses:

# %%
print(Adam.__doc__)

# %% [markdown]
# ## A fair race needs each one's own best rate
#
# On the digits, a small network, two epochs, five rates each. **Predict:** who is least sensitive to the rate?

# %%
x, y, x_test, y_test = digits()
rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
families = {"gradient descent": SGD, "momentum": lambda rate: SGD(rate, momentum=0.9), "Adagrad": Adagrad, "Adam": Adam, "Lion": Lion}


def accuracy(optimizer):
    model = Sequential([Dense(64, activation="relu", input_shape=(784,)), Dense(10, activation="softmax")], seed=1)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x.reshape(-1, 784), y, batch_size=64, epochs=2, verbose=0)
    return 100 * model.evaluate(x_test.reshape(-1, 784), y_test, verbose=0)[1]


pictures.lines(rates, {name: [accuracy(make(rate)) for rate in rates] for name, make in families.items()}, log="x", marker="o",
               title="Accuracy after 2 epochs, by learning rate", x_label="learning rate", y_label="%")  # fmt: skip

# %% [markdown]
# No curve is above all others everywhere. Adam is within ten points of its best at three of the five rates, the others at two; the best rate of
# Lion is a hundredth of gradient descent's. An optimiser is chosen together with its rate.
#
# ## Exercises
#
# 1. Give gradient descent the rate 0.01 in the valley. What happens, and what curvature is to blame?
# 2. Adam's first step has nearly the length of its rate, however large the gradient is. Why? (Look at the two corrections by powers of β.)
# 3. Start `Lion` in the valley, with the rate 0.05. Why does it zigzag around the star and never rest?
#
# <details><summary>Answers</summary>
#
# 1. It explodes: at the start the second derivative along $u$ is above 300, and a step is stable only below 2 / curvature.
# 2. At the first step both averages, corrected, are g and g²; their quotient is g / |g|.
# 3. Its step is a sign times the rate: the length never shrinks. It needs a rate that falls (`optim.schedules`).
# </details>
