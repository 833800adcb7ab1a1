# %% [markdown]
# # 6 · Gradient checking, and errors that we plant ourselves
#
# **The question.** A wrong gradient gives no error message. The network trains, only worse. How do you find it?
# And how do you know that your way of finding it works?
#
# **The idea.** Compare the gradient with a slope that was measured, along a *random* direction with a *random* weighting of
# the outputs. Then plant an error on purpose and see whether the check finds it. A check that has never failed is not a check.

# %%
import numpy as np

import pictures
from engine import check_op, gradcheck, softmax, softmax_gradient, sum, tanh, tensor, vjp
from engine.view import sabotage
from layers import Dense
from material import digits
from models import Sequential
from optim import SGD

# %% [markdown]
# ## One number on each side
#
# For $y = f(x)$ and a weighting $\bar y$ of its outputs, walk along a direction $d$:
#
# $$\langle \bar y, \tfrac{f(x + h d) - f(x - h d)}{2 h} \rangle \approx \langle \bar x, d \rangle$$
#
# The left side only runs $f$. The right side is what backward claims. `check_op` does it for any op, on inputs that the
# op's own record describes, for the gradient and for the gradient of the gradient:

# %%
print(check_op("tanh"))

# %% [markdown]
# ## Plant an error
#
# Inside the block, `tanh` hands back a gradient that is 0.1 % too large. **Predict:** will the check see it? Would you
# see it in a loss curve?

# %%
with sabotage("tanh", factor=1.001):
    print(check_op("tanh", order=1))

# %% [markdown]
# Now the same network on real digits, with the right tanh' and with ever worse ones.


# %%
x, y, x_test, y_test = digits()


def accuracy(factor):
    model = Sequential([Dense(64, activation="tanh", input_shape=(784,)), Dense(64, activation="tanh"), Dense(10, "softmax")], seed=1)
    model.compile(SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    with sabotage("tanh", factor=factor):
        model.fit(x.reshape(-1, 784), y, batch_size=100, epochs=3, verbose=0)
    return model.evaluate(x_test.reshape(-1, 784), y_test, verbose=0)[1]


found = {f"tanh' times {factor:g}": accuracy(factor) for factor in (1.0, 1.001, 1.5, 0.1, -1.0)}
pictures.bars({name: 100 * a for name, a in found.items()}, unit=" %", title="Accuracy on 1,000 digits, after 3 epochs")

# %% [markdown]
# Half as much again, and the network learns even a little better in three epochs (its steps are longer). A tenth of it, and it seems merely slow.
# Only when the sign is wrong does anybody notice. **Training is a bad test**: it forgives. The check does not.
#
# ## Why the weighting must be random
#
# Many people check with $\bar y = (1, 1, \dots, 1)$: sum up all outputs, and compare. Softmax is the trap: its outputs always sum to 1, so the sum has
# no slope, and *any multiple* of the right gradient gives 0 as well.

# %%
scores = tensor([1.0, -0.5, 2.0], dtype="float64")
p = softmax(scores)
for name, ybar in (("ones  ", np.ones(3)), ("random", np.array([0.3, -1.2, 0.7]))):
    right = softmax_gradient(tensor(ybar), p)
    print(name, "the gradient:", right.numpy().round(12) + 0.0, "  three times it:", (3 * right).numpy().round(12) + 0.0)

# %% [markdown]
# ## The slope of the remainder
#
# A difference quotient needs a step and a tolerance. There is a check that needs neither. Forecast $f$ by its tangent and
# look at what is left over:
#
# $$r(h) = |\varphi(x + h d) - \varphi(x) - h \langle \nabla\varphi, d \rangle|$$
#
# If the gradient is right, $r$ falls like $h^2$: ten times smaller steps, a hundred times smaller remainder. If it is wrong
# by *anything*, a term in $h$ survives, and wins in the end. **Predict** where the curve with the error of 1 % bends.

# %%
at, d, ybar = (np.random.default_rng(k).standard_normal(8) for k in (1, 2, 3))
steps = 10.0 ** np.arange(0, -7.1, -0.5)


def remainders():
    value, pull = vjp(tanh, tensor(at))
    phi, promised = float(ybar @ value.numpy()), float(pull(tensor(ybar))[0].numpy() @ d)
    return [abs(float(ybar @ tanh(tensor(at + h * d)).numpy()) - phi - h * promised) + 1e-18 for h in steps]


curves = {"right": remainders()}
for percent in (1, 10):
    with sabotage("tanh", factor=1 + percent / 100):
        curves[f"{percent} % too large"] = remainders()
pictures.remainder(steps, curves, title="Taylor remainder of tanh")

# %% [markdown]
# The right one keeps slope 2 down to $10^{-15}$ or so, where float64 ends and only rounding is left. Each wrong one bends to slope 1 where $h$
# becomes smaller than the relative error.
#
# ## Your own functions
#
# `gradcheck` takes any function of tensors, here a whole layer with a loss. Second order is checked too.

# %%
rng = np.random.default_rng(0)
print(gradcheck(lambda x, w, b: sum(tanh(x @ w + b) ** 2, axis=1), [rng.standard_normal(s) for s in ((4, 3), (3, 2), (2,))],
                name="a layer and its loss", slope=True))  # fmt: skip

# %% [markdown]
# ## Exercises
#
# 1. `engine.planted("tanh", order=2, factor=1.01)` leaves the gradient right and spoils *its* derivative. Which line of
#    `check_op("tanh")` notices?
# 2. Check `relu` exactly at its kink: `gradcheck(relu, [np.zeros(1)])`. Who is right, backward or the differences?
# 3. Why is the check done in float64, though everything is trained in float32?
#
# <details><summary>Answers</summary>
#
# 1. Only the "second order" lines.
# 2. Neither. The central difference measures 1/2, backward says 0, and both are subgradients. Checks keep away from kinks; the value at the kink is a
#    decision, written in the op's record.
# 3. A difference of two float32 numbers, divided by a small step, has two or three right digits. No tolerance could
#    then tell an error of 0.1 % from rounding.
# </details>
