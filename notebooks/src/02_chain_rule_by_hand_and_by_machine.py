# %% [markdown]
# # 2 · The chain rule, by hand and by machine
#
# **The question.** The documents that Chain Rule was built from explain back-propagation in a dozen equations. Are they
# right? How would you find out, if you were not sure of your calculus?
#
# **The idea.** Write each equation as one line of code, let the machine differentiate the same network, and compare.
# Where the two differ, measure the slope and let nature decide. Three of the printed equations will not survive.

# %%
import numpy as np

import pictures
from engine import OPS, gradcheck, log, matmul, mean, sigmoid, sigmoid_slope, square, sum, tensor
from engine.errors import GradientError
from engine.op import elementwise, op
from engine.view import explain, view

rng = np.random.default_rng(8)

# %% [markdown]
# ## Forward: E1 and E2
#
# Two layers, $m = 5$ samples. A sample is a column, as in the documents. **E1** is one layer, **E2** the cost, and for
# $L$ we take the squared error of **E19**, $L = \frac{1}{2} (y - y_0)^2$, summed over the outputs.
#
# $$z^{(l)} = W^{(l)} a^{(l-1)} + b^{(l)}, \quad a^{(l)} = \sigma(z^{(l)}) \qquad
# J = \frac{1}{m} \sum_{i=1}^m L(y^{(i)}, a^{(L)})$$

# %%
m = 5
x, y0 = tensor(rng.standard_normal((3, m))), tensor(rng.random((2, m)))  # (3,m), (2,m)
start = [rng.standard_normal(shape) for shape in [(2, 3), (2, 1), (2, 2), (2, 1)]]
W1, b1, W2, b2 = (tensor(values, requires_grad=True) for values in start)


def network(W1, b1, W2, b2):
    z1 = matmul(W1, x) + b1  # E1: (2,3) @ (3,m) + (2,1) -> (2,m)
    a1 = sigmoid(z1)
    z2 = matmul(W2, a1) + b2  # (2,2) @ (2,m) + (2,1) -> (2,m)
    return z1, a1, z2, sigmoid(z2)


def cost(*weights):
    *_, a2 = network(*weights)
    return mean(0.5 * sum(square(a2 - y0), axis=0))  # E2 with the L of E19: the mean over the samples


J = cost(W1, b1, W2, b2)
view(J, names={"W1": W1, "b1": b1, "W2": W2, "b2": b2})

# %% [markdown]
# ## Backward by machine
#
# One call. Every weight knows now how $J$ depends on it. Before we make it, we let the machine write down what it is going to do for
# $W^{(1)}$, in symbols and in numbers:

# %%
explain(J, wrt=W1, names={"W1": W1, "b1": b1, "W2": W2, "b2": b2})

# %%
J.backward()
W1.grad

# %% [markdown]
# ## Backward by hand: E17, and E18 as it should be
#
# The error of a layer is $\delta^{(l)} = \partial J / \partial z^{(l)}$. At the output (**E17**), with an activation that
# acts on each number alone,
#
# $$\delta^{(L)} = \frac{\partial J}{\partial a^{(L)}} \odot \sigma'(z^{(L)})$$
#
# and one layer further back (**E18**, mended) the error passes through the weights, the other way round:
#
# $$\delta^{(l)} = (W^{(l+1)\top} \delta^{(l+1)}) \odot \sigma'(z^{(l)}), \qquad
# \frac{\partial J}{\partial W^{(l)}} = \delta^{(l)} a^{(l-1)\top}, \qquad
# \frac{\partial J}{\partial b^{(l)}} = \sum_i \delta^{(l)}_i$$
#
# **Predict:** by how much will the two answers differ?

# %%
z1, a1, z2, a2 = (t.detach() for t in network(W1, b1, W2, b2))
delta2 = (a2 - y0) / m * sigmoid_slope(z2)  # E17
delta1 = matmul(W2.detach().mT, delta2) * sigmoid_slope(z1)  # E18: (2,2)ᵀ @ (2,m) -> (2,m)

by_hand = {"W1": matmul(delta1, x.mT), "b1": sum(delta1, axis=1, keepdims=True),
           "W2": matmul(delta2, a1.mT), "b2": sum(delta2, axis=1, keepdims=True)}  # fmt: skip
for name, p in zip(by_hand, (W1, b1, W2, b2), strict=True):
    print(name, "largest difference:", np.abs(by_hand[name].numpy() - p.grad.numpy()).max())

# %% [markdown]
# By a rounding at most, and here by nothing. Backward *is* these equations; it only never forgets a factor.
#
# ## A way to check any claim
#
# Somebody claims a gradient. Take the function $f$, a random direction $d$ in the weights, a small step $h$. The slope
# along $d$ can be measured without any calculus: $(f(w + h d) - f(w - h d)) / 2h$. If the claimed gradient $g$ is right,
# $\langle g, d \rangle$ is the same number. `gradcheck` does this. To hand it a *claim*, we make an op of the network
# whose vjp is what somebody says it is. (What the "Taylor slope" at the end of each line is, the picture below shows: 2 is right, 1 is wrong.)


# %%
def claimed(name, gradient):
    """The cost as an op, with a gradient of which we know only what somebody says."""
    OPS.pop(name, None)  # so that this cell can be run again

    @op(name, shapes="W1:(H,D), b1:(H,I), W2:(K,H), b2:(K,I) -> J:()", definition=r"J = \frac{1}{m} \sum_i L_i")
    def f(W1, b1, W2, b2):
        return cost(tensor(W1), tensor(b1), tensor(W2), tensor(b2)).numpy()

    @f.vjp
    def _(g, J, aux, W1, b1, W2, b2, *, needs):
        return [g * part for part in gradient(W1, b1, W2, b2)]

    return f


def mended(W1, b1, W2, b2):
    z1, a1, z2, a2 = network(W1, b1, W2, b2)
    delta2 = (a2 - y0) / m * sigmoid_slope(z2)  # E17
    delta1 = matmul(W2.mT, delta2) * sigmoid_slope(z1)  # E18, mended
    return [matmul(delta1, x.mT), sum(delta1, axis=1, keepdims=True),
            matmul(delta2, a1.mT), sum(delta2, axis=1, keepdims=True)]  # fmt: skip


print(gradcheck(claimed("mended", mended), start, order=1, slope=True))

# %% [markdown]
# ## E3 as printed
#
# $$\frac{\partial J}{\partial W^{(l)}} = \frac{1}{m} \sum_i \frac{\partial L}{\partial a^{(L)}}
# \frac{\partial a^{(L)}}{\partial z^{(L)}} \cdot \frac{\partial z^{(L)}}{\partial W^{(l)}}
# \quad\text{and, read layer by layer, the last factor is } a^{(l-1)\top}$$
#
# Read it for the last layer, $l = L$: it is our $\delta^{(2)} a^{(1)\top}$. Now read it the same way for $l = 1$: the
# output's error, times the first layer's input. **Predict:** what will the check say of `W1`? Of `W2`?


# %%
def e3_as_printed(W1, b1, W2, b2):
    z1, a1, z2, a2 = network(W1, b1, W2, b2)
    error = (a2 - y0) * sigmoid_slope(z2) / m  # 1/m, ∂L/∂a ∂a/∂z of the last layer, whatever l is
    return [matmul(error, x.mT), sum(error, axis=1, keepdims=True),
            matmul(error, a1.mT), sum(error, axis=1, keepdims=True)]  # fmt: skip


print(gradcheck(claimed("e3_as_printed", e3_as_printed), start, order=1, slope=True))

# %% [markdown]
# Right for the last layer, wrong for every layer before it: the product has to run through **all** the layers between,
# and $\partial z^{(L)} / \partial W^{(l)}$ hides them. We were even lucky that the shapes fitted. With three hidden neurons
# instead of two the printed product doesn't even have the shape of the weights. Shapes are the first gradient check:

# %%
try:
    wide = [rng.standard_normal(shape) for shape in [(3, 3), (3, 1), (2, 3), (2, 1)]]
    gradcheck(claimed("e3_as_printed", e3_as_printed), wide, order=1)
except GradientError as problem:
    print(problem)

# %% [markdown]
# ## E18 as printed
#
# $$\delta_l = \frac{\partial z_l}{\partial W_l} a_{l-1}^\top + \frac{\partial z_l}{\partial b_l}$$
#
# Put in what the factors are: $\partial z_l / \partial W_l$ is $a_{l-1}$, and $\partial z_l / \partial b_l$ is 1. So the
# "error" of each hidden neuron would be $|a_{l-1}|^2 + 1$. Where is the truth $y_0$ in that? Nowhere: whatever the network was told,
# this "error" would be the same.


# %%
def e18_as_printed(W1, b1, W2, b2):
    z1, a1, z2, a2 = network(W1, b1, W2, b2)
    delta2 = (a2 - y0) / m * sigmoid_slope(z2)  # E17 is right
    delta1 = (sum(x * x, axis=0, keepdims=True) + 1) / m + z1 * 0  # the same for each neuron: (1,m) -> (2,m)
    return [matmul(delta1, x.mT), sum(delta1, axis=1, keepdims=True),
            matmul(delta2, a1.mT), sum(delta2, axis=1, keepdims=True)]  # fmt: skip


print(gradcheck(claimed("e18_as_printed", e18_as_printed), start, order=1, slope=True))

# %% [markdown]
# ## E20 as printed
#
# One neuron, $y = \sigma(Wx + b)$, with the cross-entropy error
#
# $$\text{Error} = -[y_0 \log y + (1 - y_0) \log(1 - y)], \qquad
# \frac{\partial\,\text{Error}}{\partial W} = (y - y_0) \frac{\partial y}{\partial z} x \quad\text{(as printed)}$$
#
# With the squared error of **E19** this would be right. Here the derivative of the logarithm brings a factor
# $1 / (y (1 - y))$, and $\partial y / \partial z = y (1 - y)$ cancels it. **Predict:** is the printed gradient too large or
# too small, and by what factor at least?


# %%
def error_of_neuron(w, b, x, y0):
    y = sigmoid(w * x + b)
    return -(y0 * log(y) + (1 - y0) * log(1 - y))


def neuron(name, factor):
    """E20 as an op; factor(z) is what stands between (y - y0) and x."""
    OPS.pop(name, None)
    return elementwise(name, definition=error_of_neuron, vjp=[
        lambda g, w, b, x, y0, y: g * (sigmoid(w * x + b) - y0) * factor(w * x + b) * x,
        lambda g, w, b, x, y0, y: g * (sigmoid(w * x + b) - y0) * factor(w * x + b),
        None, None])  # fmt: skip


printed, right = neuron("e20_as_printed", sigmoid_slope), neuron("e20_mended", lambda z: 1.0)
at = [np.array([0.7]), np.array([-0.4])]
for candidate in (printed, right):
    f = lambda w, b, candidate=candidate: candidate(w, b, tensor([1.5], dtype="float64"), tensor([1.0], dtype="float64"))  # noqa: E731
    print(gradcheck(f, at, order=1, slope=True, name=candidate.name))

# %% [markdown]
# ## The picture: slope 1 or slope 2
#
# Walk a step $h$ along $d$ and compare the cost with its straight-line forecast, $r(h) = |J(w + hd) - J(w) - h \langle g, d
# \rangle|$. If $g$ is the gradient, only the curvature is left, and $r$ falls like $h^2$. If $g$ is wrong by anything at all, $r$
# falls like $h$. On a log-log picture nobody needs a tolerance.

# %%
direction = [rng.standard_normal(np.shape(values)) for values in start]
steps = 10.0 ** np.arange(-0.5, -4.6, -0.5)


def forecast_error(gradient):
    tensors = [tensor(values) for values in start]
    g = gradient(*tensors)
    promised = float(np.sum([sum(part * d).item() for part, d in zip(g, direction, strict=True)]))
    here = cost(*tensors).item()
    there = [cost(*(t + h * d for t, d in zip(tensors, direction, strict=True))).item() for h in steps]
    return [abs(value - here - h * promised) for value, h in zip(there, steps, strict=True)]


pictures.remainder(steps, {"E18 as printed": forecast_error(e18_as_printed), "E3 as printed": forecast_error(e3_as_printed),
                           "mended": forecast_error(mended)}, title="A right gradient leaves a remainder of slope 2")  # fmt: skip

# %% [markdown]
# ## And then: E4 and E11
#
# All this work is for one line, gradient descent. **E4**: $W \leftarrow W - \alpha\, \partial J / \partial W$, and **E11** calls the
# change $\Delta W = -\alpha\, \partial L / \partial W$. Follow the mended gradient, E3's and E18's.


# %%
def descend(gradient, rate=2.0, rounds=500):
    weights, costs = [tensor(values) for values in start], []
    for _ in range(rounds):
        costs.append(cost(*weights).item())
        weights = [w - rate * g for w, g in zip(weights, gradient(*weights), strict=True)]  # E4, E11
    return costs


pictures.lines(None, {"mended": descend(mended), "E3 as printed": descend(e3_as_printed), "E18 as printed": descend(e18_as_printed)},
               title="Gradient descent, with three gradients", x_label="step", y_label="cost J", log="y")  # fmt: skip

# %% [markdown]
# E18's goes up for a few steps, but then all three fall, and for a while E3's is the lowest: in each of them the last layer's half
# is right. Then the wrong ones stop, far above where the right one goes. A falling loss is no proof of a right gradient. That is why
# Chain Rule checks each op.
#
# ## Exercises
#
# 1. Document 002 also prints $\partial \text{Error} / \partial W^{(l-1)} = \partial \text{Error} / \partial z^{(l)} \cdot
#    \partial z^{(l)} / \partial a^{(l-1)}$. Which two factors are missing? Write it as a function and check it.
# 2. In `e20_as_printed`, at which output $y$ is the printed gradient least wrong?
# 3. Would the check find an error of one part in a thousand? Multiply the mended `delta1` by 1.001.
#
# <details><summary>Answers</summary>
#
# 1. The error stops at $a^{(l-1)}$: it still has to pass $\partial a^{(l-1)} / \partial z^{(l-1)} = \sigma'$ and
#    $\partial z^{(l-1)} / \partial W^{(l-1)} = a^{(l-2)\top}$.
# 2. At y = 1/2, where σ'(z) = 1/4 is as large as it gets: even there it is four times too small. A confident wrong
#    answer, y near 0 or 1, is hardly corrected at all.
# 3. Yes. The tolerance of the check is one part in 100,000, and the slope falls to 1 for small enough h.
# </details>
