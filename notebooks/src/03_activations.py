# %% [markdown]
# # 3 · Activations, and why their formulas are not what runs
#
# **The question.** $\sigma(x) = 1 / (1 + e^{-x})$ is one line in every textbook. Why is the line in Chain Rule another one?
#
# **The idea.** A formula that is right for real numbers can be wrong for floating-point numbers: somewhere on the way a
# number overflows, or all digits cancel. The remedy is a *stable form*: the same function, written so that neither
# happens. Each op keeps its definition, its stable form, and the reason, side by side.

# %%
import numpy as np

import pictures
from engine import OPS, elu, exp, gelu, grad, linspace, relu, sigmoid, sum, tanh, tensor

# %% [markdown]
# ## The three of the documents: E12, E13, E14
#
# $$\text{E12}\quad \sigma(x) = \frac{1}{1 + e^{-x}} \qquad
# \text{E13}\quad \tanh x = \frac{e^x - e^{-x}}{e^x + e^{-x}} \qquad
# \text{E14}\quad \operatorname{ReLU}(x) = \max(0, x)$$
#
# Without a bend between them, layers of sums are one single layer of sums: an activation is that bend. In **E1**,
# **E5**, **E8**, **E9** and **E10** of the documents it is the $\sigma$.

# %%
x = linspace(-4.0, 4.0, 201, requires_grad=True)
bends = {"sigmoid (E12)": sigmoid, "tanh (E13)": tanh, "ReLU (E14)": relu}
left, right = pictures.panels(2, width=4.2)
pictures.lines(x.detach(), {name: f(x).detach() for name, f in bends.items()}, title="The function", ax=left)
slopes = {name: grad(sum(f(x)), x) for name, f in bends.items()}
pictures.lines(x.detach(), slopes, title="Its derivative, by backward", ax=right)

# %% [markdown]
# Two of the derivatives fall to 0 on both sides. The sigmoid's is never above 1/4. Notebook 5 shows what thirty such
# factors in a row do.
#
# ## Predict, then run
#
# Here is E12, typed as it is printed, in float32, beside Chain Rule's. **What do you expect at −100?** $e^{100}$ is about
# $10^{43}$; float32 ends at $3.4 \cdot 10^{38}$.


# %%
def sigmoid_as_printed(x):
    return 1 / (1 + exp(-x))  # E12


far = tensor([-20.0, -80.0, -100.0], requires_grad=True)
for f in (sigmoid_as_printed, sigmoid):
    y = f(far)
    print(f"{f.__name__:<20} values {y.detach().numpy()}   derivatives {grad(sum(y), far).numpy()}")

# %% [markdown]
# The value at −100, $4 \cdot 10^{-44}$, is 0 both times: it lies below float32's smallest normal number, $1.2 \cdot 10^{-38}$. But look at the derivatives of the printed
# form. At −80 the square of $e^{80}$ has overflowed, and 0 is left. At −100 an infinite $e^{100}$ met a 0 on the way back, and $0 \cdot \infty$ is not a number. **One such sample, and all weights of the network are NaN.**
#
# Now the record of the op: definition, derivative, the form that runs, and why.

# %%
op = OPS["sigmoid"]
pictures.equations(op.latex, op.derivative_latex(), "y = " + op.stable.latex())
print(op.note.why)

# %% [markdown]
# ## The tail that tanh loses
#
# A popular remedy is $\sigma(x) = (1 + \tanh(x / 2)) / 2$: no overflow, one line. **Predict:** how many of its digits are
# right at $x = -20$, where $\sigma = 2 \cdot 10^{-9}$?
#
# float32 keeps about seven digits. The picture compares both with float64 as the reference.

# %%
x32 = linspace(-25.0, 0.0, 101)
exact = sigmoid(x32.astype("float64")).numpy()


def wrong_digits(y):
    return np.abs(y.numpy() - exact) / exact + 1e-9


pictures.lines(x32, {"(1 + tanh(x/2)) / 2": wrong_digits(0.5 + 0.5 * tanh(0.5 * x32)), "Chain Rule": wrong_digits(sigmoid(x32))},
               log="y", title="Relative error in float32: 1 means no digit is right", x_label="x")  # fmt: skip

# %% [markdown]
# tanh is so close to −1 there that $1 + \tanh$ cancels everything. From −18 on nothing is left. Does it matter? The
# logarithm of that tail is the cross-entropy loss of a confident wrong answer (notebook 4).
#
# ## Every activation has its reason
#
# A record with a stable form says why. Here are all of the activations' reasons, from the engine itself:

# %%
for name in ("softplus", "log_sigmoid", "silu", "gelu", "elu", "tanhshrink"):
    print(f"{name:<12} {OPS[name].note.why}")

# %% [markdown]
# And two of them at work. `elu` is $e^x - 1$ to the left of 0, `gelu` is $x\,\Phi(x)$. Both cancel where you would not
# expect it.

# %%
tiny, deep = tensor([-1e-6]), tensor([-6.0])
print(f"e^x - 1   at -1e-6: {(exp(tiny) - 1).item():.6e}   elu  {elu(tiny).item():.6e}")
print(f"naive gelu at   -6: {(0.5 * deep * (1 + OPS['erf'](deep * 0.5**0.5))).item():.6e}   gelu {gelu(deep).item():.6e}")

# %% [markdown]
# ## Exercises
#
# 1. `python -m engine.ops softplus` in a terminal prints a whole record. Which identity turns $\log(1 + e^x)$ into
#    something that never overflows?
# 2. ReLU has a kink at 0. What derivative does Chain Rule give there? Ask `relu` with `x = 0`.
# 3. Type E13 as printed and find an $x$ where its *value* is not a number.
#
# <details><summary>Answers</summary>
#
# 1. max(x, 0) + log(1 + e^(−|x|)): the exponent is never positive.
# 2. 0, as PyTorch does. Any number from 0 to 1 would be a fair choice (a subgradient); what matters is that it is written down
#    in the record (`OPS["relu"].note.kinks`) and tested.
# 3. x = 100: e^100 overflows, and ∞ / ∞ is NaN.
# </details>
