# %% [markdown]
# # 1 · The tensor and its tape
#
# **The question.** A program computes a number from other numbers. How can the machine know how the result would
# change if an input changed a little, without anybody telling it a formula for that?
#
# **The idea.** While a program runs, Chain Rule writes down what it does: one line for each operation, with the values
# it saw. That list is the *tape*. Reading it backwards gives the derivative with respect to every input at once.

# %%
import engine
import pictures
from engine import linspace, sigmoid, stack, sum, tensor
from engine.view import explain, graph, view

# %% [markdown]
# ## One neuron
#
# The smallest thing that learns is a perceptron, the documents' equation **E10**:
#
# $$y = \sigma(W \cdot a + b)$$
#
# Three inputs `a`, three weights `w`, one bias `b`. `requires_grad=True` marks what we shall want derivatives for.

# %%
a = tensor([1.0, 2.0, -1.0])
w = tensor([0.5, -0.3, 0.8], requires_grad=True)
b = tensor(0.2, requires_grad=True)

y = sigmoid(sum(w * a) + b)  # E10; (3,) * (3,) -> (3,) -> ()
y

# %% [markdown]
# `from=sigmoid` says that `y` remembers where it came from. Here is the whole tape behind it, newest line first:
# each operation with its inputs, its shape and its own equation.

# %%
print(graph(y))

# %% [markdown]
# And the same as a drawing. Each box is an operation with its own equation and the number it gave; click on one to see what it hands back.

# %%
view(y, names={"w": w, "b": b, "a": a})

# %% [markdown]
# ## Predict, then run
#
# Before you run the next cell, decide: if we raise each weight by the same small amount, **which weight moves `y`
# most?** And which moves it *down*? (Look at `a`. The weights' own values don't matter. Why?)

# %%
y.backward()
print("dy/dw =", w.grad)
print("dy/db =", b.grad)

# %% [markdown]
# The second one: its input, 2, is the largest. The third one moves `y` down, because its input is negative.
#
# By hand: with $z = w \cdot a + b$ the chain rule says
# $\partial y / \partial w_i = \sigma'(z) \, a_i$ and $\partial y / \partial b = \sigma'(z)$. The tape did just that, from
# the last line to the first. Here is the derivation as the machine writes it down, symbols first and then numbers (what it starts from is
# always called $J$; here that is our $y$):

# %%
y = sigmoid(sum(w * a) + b)
explain(y, wrt=w, names={"w": w, "b": b, "a": a})

# %% [markdown]
# ## A derivative is a slope
#
# Let us turn one knob, the second weight, and look at all the values that `y` could have. The derivative should be
# the slope of the line that touches this curve where we are now.

# %%
knob = linspace(-2.0, 2.0, 81)
curve = stack([sigmoid(sum(tensor([0.5, float(k), 0.8]) * a) + b) for k in knob]).detach()
slope = w.grad[1]
touching = y.detach() + slope * (knob - w[1].detach())
pictures.lines(knob, {"y, for every value of the knob": curve, ".what the tape says": touching},
               title="The tape's derivative is the slope here", x_label="second weight", y_label="y", zoom=(0, 1.05))  # fmt: skip

# %% [markdown]
# ## The tape follows the program, not a formula
#
# A loop, an `if`, a function call: the tape sees none of them, only the operations that really happened. So anything
# you can write in Python can be differentiated. Here is a loop whose length depends on the data.

# %%
x = tensor(1.5, requires_grad=True)
y, rounds = x, 0
while y.item() < 100:
    y, rounds = y * y, rounds + 1
y.backward()
print(f"{rounds} squarings give y = {y.item():.2f}, dy/dx = {x.grad.item():.2f}")
print(f"a formula would be x^{2**rounds}: its derivative is {2**rounds} y / x = {2**rounds * y.item() / 1.5:.2f}")

# %% [markdown]
# ## Derivatives of derivatives
#
# The rules that read the tape are made of the same operations, so they can be taped, too. `create_graph=True` asks for
# that. The derivative of the slope of a sigmoid is its curvature; at 0 it must be 0, because the curve is an odd
# function around that point.

# %%
x = tensor([-2.0, 0.0, 2.0], requires_grad=True)
slope = engine.grad(sum(sigmoid(x)), x, create_graph=True)
curvature = engine.grad(sum(slope), x)
print("slope     ", slope.detach())
print("curvature ", curvature)

# %% [markdown]
# ## Exercises
#
# 1. Set `b` to 10 and run the neuron again. All derivatives nearly vanish. Why? (Notebook 5 is about what that does to a
#    deep network.)
# 2. Use `a` twice in one expression, `sum(a * a)`, with `requires_grad=True`. What is `a.grad`? Which rule of calculus is
#    that?
# 3. Call `y.backward()` twice on the same `y`. Read the error: what does it suggest?
#
# <details><summary>Answers</summary>
#
# 1. $z$ is 9.1 then. σ is flat far from 0: σ'(9.1) is about 1.1e-4, and every derivative carries that factor.
# 2. 2a. The input is reached by two ways, and the cotangents of all ways are added up: the product rule.
# 3. `backward` frees the tape when it is done, to give back the memory. `retain_graph=True` keeps it.
# </details>
