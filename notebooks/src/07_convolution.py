# %% [markdown]
# # 7 · Convolution, from a loop to a micro-kernel
#
# **The question.** A convolution is seven nested loops around one multiplication. Why do the seven loops, as written, take
# a hundred thousand times longer than what runs when you call `conv2d`?
#
# **The idea.** The loops lose most of their time to Python, which interprets each step
# anew. Between the others, what changes is how often a number has to be fetched: the fast kernel
# keeps a small tile of results in the processor's registers and uses each number it fetches many times. And at the end the arithmetic itself gets less.

# %%
import timeit

import numpy as np

import engine
import pictures
from engine import OPS, conv2d, tensor
from engine.index import parse
from material import digits

x, y, *_ = digits()

# %% [markdown]
# ## What it computes: E5
#
# $$h^{(l)} = \text{Conv}(x^{(l)}, W^{(l)}) + b^{(l)}, \qquad x^{(l+1)} = \sigma(h^{(l)})$$
#
# (The documents print the second $x$ with $l$; it is the *next* layer's input.) A small window slides over the image; at each
# place, window and image are multiplied and summed. The engine's definition says the same with indices:

# %%
print(OPS["conv2d"].note.definition)

# %% [markdown]
# **Predict:** here are three filters of 3 × 3 numbers. What will each of them see in a handwritten digit?

# %%
edges = np.zeros((3, 3, 1, 3), np.float32)  # (kh,kw,C,F)
edges[:, :, 0, 0] = [[1, 1, 1], [0, 0, 0], [-1, -1, -1]]
edges[:, :, 0, 1] = [[1, 0, -1], [1, 0, -1], [1, 0, -1]]
edges[:, :, 0, 2] = 1 / 9

digit = tensor(x[:1])
seen = conv2d(digit, tensor(edges))  # E5: (1,28,28,1), (3,3,1,3) -> (1,26,26,3)
shown = [x[0, 1:-1, 1:-1, 0], *np.moveaxis(seen.numpy()[0], -1, 0)]
pictures.images(shown, ["the digit", "horizontal edges", "vertical edges", "blur"], columns=4, size=1.7, signed=True)

# %% [markdown]
# Blue where the window's pattern is met, red where its opposite is. A convolutional network learns such windows by itself.
#
# ## Four versions of one sum
#
# The index notation above is not a comment: it can be executed. It is what the tests
# compare the fast kernel with.

# %%
small = x[:1, :12, :12]
letters = OPS["conv2d"].note.letters(tensor(small), tensor(edges), stride=1, padding="valid", dilation=1, groups=1)
by_loops = parse(OPS["conv2d"].note.definition)((1, 10, 10, 3), {"x": small, "w": edges}, letters)
np.abs(by_loops - conv2d(tensor(small), tensor(edges)).numpy()).max()

# %% [markdown]
# **1. Seven loops**, as the textbook has them. **2. The window's nine places, each at once** (NumPy shifts whole images). **3. All windows laid out as rows of a matrix**, then one
# matrix product (called *im2col*). **4. The kernel** of Chain Rule. All on a real layer: 32 images, 28 × 28, 1 → 32 → 32 channels.

# %%
rng = np.random.default_rng(0)
w1, w2 = (rng.standard_normal((3, 3, c, 32)).astype(np.float32) / 10 for c in (1, 32))
images = engine.relu(conv2d(tensor(x[:32]), tensor(w1))).numpy()  # (32,26,26,32)


def seven_loops(x, w):
    (N, H, W, C), F = x.shape, w.shape[3]
    y = np.zeros((N, H - 2, W - 2, F), np.float32)
    for n in range(N):
        for i in range(H - 2):
            for j in range(W - 2):
                for f in range(F):
                    for u in range(3):
                        for v in range(3):
                            for c in range(C):
                                y[n, i, j, f] += x[n, i + u, j + v, c] * w[u, v, c, f]
    return y


def shifted(x, w):
    H, W = x.shape[1] - 2, x.shape[2] - 2
    return sum(x[:, u : u + H, v : v + W] @ w[u, v] for u in range(3) for v in range(3))  # nine of (N,H',W',C) @ (C,F)


def im2col(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))  # (N,H',W',C,3,3)
    rows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 9 * x.shape[3])  # (N H' W', 9 C)
    return (rows @ w.reshape(-1, w.shape[3])).reshape(*windows.shape[:3], -1)


def chain_rule(x, w):
    return conv2d(x, w).numpy()


for f in (seven_loops, shifted, im2col):
    few = images[:1, :6, :6] if f is seven_loops else images
    print(f"{f.__name__:<10} differs by at most {np.abs(f(few, w2) - chain_rule(few, w2)).max():.1e}")

# %% [markdown]
# **Predict** the order before you look, and the factor between the loops and the kernel. (The loops are timed on a
# few places and scaled up, or we should wait for minutes. The others run in turns, and the best of 40 rounds
# counts: what else the machine does disturbs them all alike.)

# %%
work = 2 * 32 * 24 * 24 * 32 * 9 * 32  # multiplications and additions
part = images[:1, :4, :4]  # 4 of the 18,432 places
seconds = {"seven_loops": 18432 / 4 * min(timeit.repeat(lambda: seven_loops(part, w2), number=1, repeat=2))}
contenders = shifted, im2col, chain_rule
rounds = [[timeit.timeit(lambda f=f: f(images, w2), number=1) for f in contenders] for _ in range(40)]  # in turns
seconds |= {f.__name__: best for f, best in zip(contenders, np.min(rounds, axis=0), strict=True)}
pictures.bars({name: 1000 * s for name, s in seconds.items()}, unit=" ms", log=True, title="32 images, 32 channels to 32")
for name, s in seconds.items():
    print(f"{name:<20} {work / s / 1e9:9.4f} GFLOP/s")

# %% [markdown]
# The figures kept here were taken on two cores that had other work, too, which disturbs the longer runs more than the short ones: run it on yours.
#
# *im2col* writes every pixel nine times before it multiplies anything; its product is fast, its copies are not. The kernel reads the image where it lies.
#
# ## How it is fast
#
# Picture the registers of one core: sixteen of them, eight float32 numbers each. The innermost part, the *micro-kernel*, holds a tile of results, say 6 places by
# 16 filters, in twelve registers. For each number of the window it fetches 6 pixels and 16 weights, and does $6 \times 16 = 96$ multiply-adds with them:
# 22 fetches for 96 sums, where the loop has 2 for 1. The tile is written to memory once, when it is finished; so adding the bias, the ReLU
# (**E14**) and even the pooling (notebook 8) can happen *before* that, for free. `Conv2D(activation="relu")` followed by pooling runs as one op:

# %%
print(OPS["conv2d_bias_relu_max_pool"].note.why)

# %% [markdown]
# ## Fewer products
#
# For windows of 3 × 3, and channels and filters in sixteens, there is one trick more. Two neighbouring sums of three products share so much that four products
# do instead of six (Winograd, 1980); down and across, 16 instead of 36 for a square of four results. What is saved are products, at the price of some sums.
#
# 40 channels are no whole number of sixteens, so they go without. **Predict:** they are a quarter more work than 32. How much longer do they take?

# %%
for channels in (32, 40):
    a, w = (tensor(rng.standard_normal(s).astype(np.float32)) for s in ((32, 26, 26, channels), (3, 3, channels, 32)))
    took = min(timeit.repeat(lambda a=a, w=w: conv2d(a, w), number=1, repeat=60))
    print(f"{channels} channels: {1000 * took:.2f} ms, {2 * 18432 * 32 * 9 * channels / took / 1e9:.0f} GFLOP/s, counted by the definition")

# %% [markdown]
# So the rate above, which counts the definition's sums, is partly that of work which is never done. The last digits differ a little; float64 goes without the trick.
#
# ## And backward
#
# Both derivatives of a convolution are convolutions again, so the same kernel serves them, and the derivatives of those, too.

# %%
print(engine.check_op("conv2d"))

# %% [markdown]
# ## Exercises
#
# 1. How many multiply-adds has the layer above? How many of them per pixel that it reads?
# 2. Try a filter of 1 × 1 with 32 channels. What has the convolution become?
# 3. Make the number of channels 3 instead of 32. What happens to GFLOP/s, and why?
#
# <details><summary>Answers</summary>
#
# 1. 32 · 24 · 24 · 32 · 9 · 32 = 170 million; each of the 692,224 numbers is used 245 times, on average. A kernel that used each
#    once would only wait for memory.
# 2. A dense layer (E1), applied to each pixel on its own.
# 3. Fewer sums for each number that is fetched and for each tile that is written, and no Winograd: the rate falls.
# </details>
