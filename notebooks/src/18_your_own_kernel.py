# %% [markdown]
# # 18 · Writing your own kernel
#
# **The question.** Some computations are slow however cleverly one arranges NumPy's functions, because each function goes through the memory once more. What then?
#
# **The idea.** Write the loops yourself, in Python, and let a compiler turn them into machine code. A *kernel* in Chain Rule is one plain function that does *part number
# `part`* of the work; the engine shares the parts out among the cores.

# %%
import timeit

import numpy as np

import engine
import pictures
from engine import OPS, check_op, sum, tensor
from engine.index import parse
from engine.kernels.cpu.buffers import empty
from engine.kernels.cpu.jit import array_at, kernel, number_at
from engine.kernels.cpu.threads import launch
from engine.op import op
from material import digits

# %% [markdown]
# ## The contract
#
# Which of 4,000 known digits is nearest to a new one? For that we need all distances (the sum of absolute differences):
#
# $$d_{n,m} = \sum_k |a_{n,k} - b_{m,k}|$$
#
# In index notation this is the op's definition. It can be executed (slowly), so it is what the kernel will be tested with.

# %%
definition = "d[n,m] = Sum(k, abs(a[n,k] - b[m,k]))"
print(parse(definition).latex())
rng = np.random.default_rng(0)
a, b = rng.standard_normal((3, 4)), rng.standard_normal((2, 4))
parse(definition)((3, 2), {"a": a, "b": b})

# %% [markdown]
# ## NumPy's way
#
# One line, and a surprise. **Predict:** how much memory does it need for 1,000 against 4,000 digits of 784 pixels?


# %%
def with_numpy(a, b):
    return np.abs(a[:, None] - b[None]).sum(-1)  # (N,1,K) - (1,M,K) -> (N,M,K) -> (N,M)


print(f"{1000 * 4000 * 784 * 4 / 1e9:.1f} GB, to be written and read twice, for a result of {1000 * 4000 * 4 / 1e6:.0f} MB")

# %% [markdown]
# ## The kernel
#
# The loop nest, as pseudo-code:
#
#     for m in rows of b:
#         for n in the part's rows of a:      eight of them: one part of the work
#             d[n,m] = sum over k of |a[n,k] - b[m,k]|
#
# A row of `b` is fetched once and meets eight rows of `a` that lie in the cache. A kernel takes the address of its arguments (`block`: an array fills two slots, its
# address and its size, a number one) and the number of its part. It allocates
# nothing, it writes only what is its own: so the result does not depend on the number of cores, not even in the last bit.

# %%
ROWS = 8


@kernel
def distances(block, part):
    a, b, d = array_at(block, 0, np.float32), array_at(block, 2, np.float32), array_at(block, 4, np.float32)
    N, M, K = number_at(block, 6), number_at(block, 7), number_at(block, 8)
    for m in range(M):
        for n in range(part * ROWS, min(N, (part + 1) * ROWS)):
            s0 = s1 = s2 = s3 = np.float32(0)  # four sums at once: an addition need not wait for the one before it
            for k in range(0, K - 3, 4):
                s0 += abs(a[n * K + k] - b[m * K + k])
                s1 += abs(a[n * K + k + 1] - b[m * K + k + 1])
                s2 += abs(a[n * K + k + 2] - b[m * K + k + 2])
                s3 += abs(a[n * K + k + 3] - b[m * K + k + 3])
            for k in range(K - K % 4, K):
                s0 += abs(a[n * K + k] - b[m * K + k])
            d[n * M + m] = (s0 + s1) + (s2 + s3)


def with_kernel(a, b):
    (N, K), M = a.shape, len(b)
    d = empty((N, M), np.float32)
    launch(distances, -(-N // ROWS), np.ascontiguousarray(a), np.ascontiguousarray(b), d, N, M, K)
    return d


small = with_kernel(a.astype("f"), b.astype("f"))
print("against the definition:", np.abs(small - parse(definition)((3, 2), {"a": a, "b": b})).max())

# %% [markdown]
# ## How fast?

# %%
x, y, x_test, y_test = (part.reshape(len(part), -1) if part.ndim > 1 else part for part in digits())
some, known = x_test[:100], x[:1000]


def best(f):
    f(some, known)
    return 1000 * min(timeit.repeat(lambda: f(some, known), number=1, repeat=5))


pictures.bars({"NumPy": best(with_numpy), "kernel": best(with_kernel)}, unit=" ms", title="100 digits against 1,000")

# %% [markdown]
# ## Make it an op
#
# With its vjp it can be differentiated like all others. From $d_{n,m} = \sum_k |a_{n,k} - b_{m,k}|$ follows $\bar a_{n,k} = \sum_m \bar d_{n,m} \operatorname{sign}(a_{n,k} - b_{m,k})$.

# %%
OPS.pop("manhattan", None)


def spread(draw):
    """Draws that stay away from the kink: no two coordinates are equal."""
    numbers = draw.distinct((5, 3))
    return [numbers[:2], numbers[2:]], {}


@op("manhattan", shapes="a:(N,K), b:(M,K) -> d:(N,M)", definition=definition, samples=spread)
def manhattan(a, b):
    return with_kernel(a, b) if a.dtype == np.float32 else with_numpy(a, b)


@manhattan.vjp
def _(g, d, aux, a, b, *, needs):
    signs = engine.sign(a[:, None] - b[None]) * g[:, :, None]  # (N,M,K)
    return sum(signs, axis=1), -sum(signs, axis=0)


print(check_op("manhattan", order=1))

# %% [markdown]
# ## And use it
#
# The nearest of 4,000 known digits names the new one. No training at all. **Predict** how many percent it gets right.

# %%
d = manhattan(tensor(x_test), tensor(x)).numpy()  # (1000,784), (4000,784) -> (1000,4000)
nearest = d.argmin(1)
print(f"{100 * (y[nearest] == y_test).mean():.1f} % of the test digits")
wrong = np.flatnonzero(y[nearest] != y_test)[:8]
pairs = np.concatenate([x_test[wrong], x[nearest[wrong]]]).reshape(-1, 28, 28)
pictures.images(pairs, [f"is a {y_test[i]}" for i in wrong] + [f"nearest: {y[nearest[i]]}" for i in wrong], columns=8, title="Mistakes, and what misled them")

# %% [markdown]
# ## Exercises
#
# 1. Call `engine.set_num_threads(1)` and compare the results bit by bit, and the times.
# 2. The squared distance is $|a|^2 - 2 a \cdot b + |b|^2$: one matrix product. Write it with `matmul`. Is it faster than the kernel? When is it wrong?
# 3. Add ten to the upper end of the inner `range`. What happens, and what does not happen?
#
# <details><summary>Answers</summary>
#
# 1. The bits are equal, since the work is cut by shape. The time is that of one core.
# 2. Much faster: the product reuses each number many times (notebook 7). For two nearly equal vectors all digits cancel, and it may even be negative.
# 3. It reads (or writes) whatever lies behind the array, without an error, perhaps a crash. A kernel is trusted with the memory: that is why each has a definition to be tested with.
# </details>
