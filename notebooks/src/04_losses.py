# %% [markdown]
# # 4 · Losses, and why cross-entropy meets softmax
#
# **The question.** For numbers we minimise the squared error. Why not for classes, too? And why does every library have a
# loss called "softmax cross-entropy", as if two things were one?
#
# **The idea.** A loss is judged by its *gradient*: by how hard it pulls when the answer is wrong. Cross-entropy is the
# one that exactly undoes the flat tails of sigmoid and softmax, so the pull is simply "what you said minus what is true".

# %%
import numpy as np

import engine
import pictures
from engine import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    categorical_cross_entropy,
    cross_entropy,
    linspace,
    log,
    mse,
    sigmoid,
    softmax,
    square,
    sum,
    tensor,
)

# %% [markdown]
# ## The documents' losses: E15, E16, E19, E20, E21, E22
#
# $$\text{E15}\;\; \frac1n \sum_i (y_i - \hat y_i)^2 \qquad
# \text{E16, E22}\;\; -\sum_i y_i \log \hat y_i \qquad
# \text{E20, E21}\;\; -[y \log \hat y + (1 - y) \log(1 - \hat y)]$$
#
# and **E19** is E15 for one neuron, halved so that the 2 goes away. Each has its op; the truth comes first.

# %%
y, y_hat = tensor([0.0, 1.0, 0.0]), tensor([0.2, 0.5, 0.3])
print("E15       ", mse(y, y_hat).item(), "=", (0.2**2 + 0.5**2 + 0.3**2) / 3)
print("E16, E22  ", categorical_cross_entropy(y, y_hat).item(), "= -log 0.5 =", -np.log(0.5))
print("E20, E21  ", binary_cross_entropy(y[1:2], y_hat[1:2]).item(), "= -log 0.5 too: two classes are the case n = 2")
print("E19       ", (0.5 * sum(square(y_hat - y))).item())

# %% [markdown]
# ## Who pulls how hard?
#
# One neuron with a sigmoid; the truth is 1. Its score (before the sigmoid, the *logit*) is somewhere between −8 and 8.
#
# **Predict:** at −8 the neuron is as wrong as can be. Which loss has the larger gradient there, the squared error (E19) or the
# cross-entropy (E21)? Draw the two curves in your mind first.

# %%
z = linspace(-8.0, 8.0, 161, requires_grad=True)
one = engine.ones((161,))
losses = {"squared error (E19)": 0.5 * sum(square(sigmoid(z) - one)),
          "cross-entropy (E21)": binary_cross_entropy_with_logits(one, z, reduction="sum")}  # fmt: skip
pulls = {name: engine.grad(loss, z) for name, loss in losses.items()}
pictures.lines(z.detach(), pulls, title="The pull on the logit when the truth is 1", x_label="logit z", y_label="d loss / d z")

# %% [markdown]
# The squared error gives up on the worst mistakes: its gradient carries $\sigma'(z)$ (that is **E19**'s $\partial y / \partial
# z$), which is 0 in both tails. The cross-entropy's is $\sigma(z) - 1$: as large as the error itself. That is the mended
# **E20**, and the cancelling factor is the whole point.
#
# ## The same for many classes
#
# Softmax makes probabilities of scores, cross-entropy (**E16**, **E22**) takes the logarithm of the right one. Softmax alone has a full Jacobian;
# together their gradient is $p - y$. Check it:

# %%
scores = tensor([[2.0, -1.0, 0.5, 0.0]], requires_grad=True)
truth = tensor([2])  # the number of the class
loss = cross_entropy(truth, scores)  # takes scores: softmax and logarithm are inside
loss.backward()
p = softmax(scores).detach()
print("gradient  ", scores.grad.numpy().round(4))
print("p - y     ", (p - tensor([[0.0, 0.0, 1.0, 0.0]])).numpy().round(4))

# %% [markdown]
# ## Why they are *one* op
#
# Suppose the network is confident, and wrong: scores 0 and 200, and the first class is right. Then $p_1 = e^{-200} \approx 10^{-87}$,
# which float32 stores as 0. **Predict** the loss and its gradient, computed in two steps, and in one.

# %%
for name, one_step in (("two steps", False), ("one op", True)):
    scores = tensor([[0.0, 200.0]], requires_grad=True)
    loss = cross_entropy(tensor([0]), scores) if one_step else -log(softmax(scores)[0, 0])
    loss.backward()
    print(f"{name:<10} loss {loss.item():<8} gradient {scores.grad.numpy()}")

# %% [markdown]
# In two steps: infinity, and a gradient that is not a number. In one: $\log p_i = z_i - \log \sum_j e^{z_j}$ never leaves the logarithm, the loss
# is 200, and the pull is −1 and +1, as it should be.
#
# Each record says what it avoids:

# %%
for name in ("log_softmax", "binary_cross_entropy_with_logits"):
    print(f"{name}: {engine.OPS[name].latex}\n    why: {engine.OPS[name].note.why}")

# %% [markdown]
# ## A race
#
# A neuron has learnt something wrong: its logit stands at −6, the truth is 1. Both losses, the same learning rate.

# %%
def learn(pull, rate=1.0, rounds=200):
    w, said = tensor(-6.0), []
    for _ in range(rounds):
        said.append(sigmoid(w).item())
        w = w - rate * engine.grad(pull(w.requires_grad_()), w)
        w = w.detach()
    return said


pictures.lines(None, {"squared error": learn(lambda w: 0.5 * square(sigmoid(w) - 1)),
                      "cross-entropy": learn(lambda w: binary_cross_entropy_with_logits(tensor(1.0), w))},
               title="Unlearning a mistake", x_label="step", y_label="probability of the truth")  # fmt: skip

# %% [markdown]
# After two hundred steps the squared error has hardly begun: where the answer is most wrong, it pulls least.
#
# ## Exercises
#
# 1. With $K$ classes, what is the loss of a network that knows nothing (all scores equal)? It is the number to compare the
#    first epoch with.
# 2. What happens to $p$ when 100 is added to all scores? To the loss? Try it.
# 3. A colleague feeds `cross_entropy` with probabilities instead of scores. Nothing fails. What goes wrong?
#
# <details><summary>Answers</summary>
#
# 1. log K: 2.30 for ten digits.
# 2. Nothing: softmax sees only differences. The kernel subtracts the largest score for that reason, so no exponential overflows.
# 3. Softmax is applied twice; the second sees numbers between 0 and 1, so no class ever gets more than e/(e + K − 1), and the
#    pull stays large on answers that are right. It learns slowly and never becomes sure.
# </details>
