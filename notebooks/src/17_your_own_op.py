# %% [markdown]
# # 17 · Writing your own op
#
# **The question.** You have read a paper with a new activation function. How much work is it to have it here: with its derivative, on every
# device, tested, documented, and fast?
#
# **The idea.** One entry. You write the formula as the paper has it. Its kernel, its derivative's kernel, its LaTeX, its tests, its error messages and
# its page all follow from that one record.

# %%
import numpy as np

import engine
import pictures
from engine import OPS, check_op, linspace, sin, square, tensor
from engine.op import elementwise, op
from engine.samples import interval
from layers import Activation, Dense
from layers.initializers import RandomNormal
from models import Sequential
from optim import Adam

# %% [markdown]
# ## The formula
#
# The *snake* of Ziyin, Hartwig and Ueda (2020), for data that repeat:
#
# $$y = x + \frac{\sin^2(\alpha x)}{\alpha}$$

# %%
OPS.pop("snake", None)  # so that this cell can be run twice
snake = elementwise(
    "snake",
    definition=lambda x, *, alpha: x + square(sin(alpha * x)) / alpha,
    params={"alpha": 1.0},
    domain=interval(-5.0, 5.0),
    special={0.0: 0.0, np.pi: np.pi},
    source="Ziyin, Hartwig and Ueda, Neural Networks Fail to Learn Periodic Functions and How to Fix It, 2020, equation 3",
)
pictures.equations(snake.latex, snake.derivative_latex())

# %% [markdown]
# The second line is the machine's own: nobody gave a derivative, so the definition was differentiated, symbol by symbol. **Predict:** what else works already?
# Gradients of second order? Broadcasting? float64? The check?

# %%
x = linspace(-6.0, 6.0, 241, requires_grad=True)
y = snake(x, alpha=1.0)
slope = engine.grad(engine.sum(y), x, create_graph=True)
bend = engine.grad(engine.sum(slope), x)
pictures.lines(x.detach(), {"snake": y.detach(), "derivative": slope.detach(), ".second derivative": bend}, zoom=(-6, 6), title="Snake")
print(check_op("snake"))

# %% [markdown]
# ## It is fast, too
#
# The formula was compiled to vector instructions the first time it ran: one pass over the memory, where the same thing written with tensors makes three.

# %%
import timeit

big = engine.randn((1 << 20,))


def composed(x):
    return x + square(sin(x))


seconds = {}
for name, f in {"three ops": composed, "one op": snake}.items():
    f(big)
    seconds[name] = 1000 * min(timeit.repeat(lambda f=f: f(big), number=1, repeat=15))
pictures.bars(seconds, unit=" ms", title="A million numbers")

# %% [markdown]
# (For a formula that you need only here and now, `@engine.fuse` does the same without an entry.)
#
# ## It does what the paper says
#
# Learn $\sin$ from points between −6 and 6, then look beyond. **Predict** what a network of ReLUs draws outside, and what one of snakes.

# %%
points = np.linspace(-6, 6, 200, dtype=np.float32)[:, None]
beyond = np.linspace(-14, 14, 281, dtype=np.float32)[:, None]


def learnt(activation):
    model = Sequential([Dense(32, kernel_initializer=RandomNormal(stddev=0.5)), Activation(activation), Dense(1)], seed=1)
    model.compile(Adam(1e-2), "mse")
    model.fit(points, np.sin(points), batch_size=50, epochs=600, verbose=0)
    return model.predict(beyond).ravel()


pictures.lines(beyond.ravel(), {"ReLU": learnt("relu"), "snake": learnt(snake), ".sin": np.sin(beyond.ravel())}, zoom=(-3, 3),
               title="Learnt between -6 and 6")  # fmt: skip

# %% [markdown]
# A ReLU bends the line at one place. All bends start at 0, where the biases are, and in 600 epochs they get no further than the first crest; beyond them the line is
# straight for ever. The snakes fit the points, and go on waving: not the
# exact sine, but the right idea.
#
# ## When the definition is not what should run
#
# A formula may overflow or cancel (notebook 3). Then give `forward=` the stable form, and `why=` the reason. The tests compare it with the
# definition at 50 digits. And where you know a better derivative than the symbolic one, give `vjp=`; but then it must be right:

# %%
OPS.pop("hurried", None)
elementwise("hurried", definition=lambda x: x / (1 + square(x)), vjp=[lambda g, x, y: g / (1 + square(x))])  # the product rule forgotten
print(check_op("hurried", order=1))

# %% [markdown]
# ## An op of whole arrays
#
# Not everything is elementwise. Here is a *moving mean* over pairs: the definition in index notation is at once the equation, the reference and the contract; the function computes it; the vjp is beside it,
# made of differentiable ops.

# %%
OPS.pop("pair_mean", None)


@op("pair_mean", shapes="x:(N,T) -> y:(N,R)", definition="y[n,t] = (x[n,t] + x[n,t+1]) / 2",
    samples=lambda draw: ([draw.array((draw.integer(1, 3), draw.integer(2, 5)))], {}))  # fmt: skip
def pair_mean(x):
    return (x[:, :-1] + x[:, 1:]) / 2  # (N,T) -> (N,T-1)


@pair_mean.vjp
def _(g, y, aux, x, *, needs):
    return (engine.pad(g, ((0, 0), (0, 1))) + engine.pad(g, ((0, 0), (1, 0)))) / 2  # each number was in two pairs


pictures.equations(pair_mean.latex)
print(check_op("pair_mean"))

# %% [markdown]
# And a wrong call is answered in the op's own words, from the one shape string:

# %%
try:
    pair_mean(tensor([1.0, 2.0, 3.0]))
except engine.ShapeError as problem:
    print(problem)

# %% [markdown]
# ## Exercises
#
# 1. Mend `hurried`. (Or leave `vjp=` out.)
# 2. Write *softsign with a slope*, $y = \alpha x / (1 + |\alpha x|)$. Where is its kink, and of which derivative?
# 3. Use an `if x > 0` in a definition. Read the error.
#
# <details><summary>Answers</summary>
#
# 1. g (1 − x²) / (1 + x²)².
# 2. At 0. The first derivative, α / (1 + |αx|)², is continuous there; the second one jumps.
# 3. A definition runs on symbols, which have no truth value: it says to write `where(cond, a, b)`.
# </details>
