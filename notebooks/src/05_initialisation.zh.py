# %% [markdown]
# # 5 · 初始化，与消失的梯度
#
# **问题**　文档说：初始化可以用零、高斯分布或均匀分布。选哪一种、取多宽，有关系吗？
#
# **想法**　深层网络做的是连乘。如果每一层把信号缩小到十分之九，三十层之后只剩百分之四；而梯度沿原路返回，又被缩小一遍。合适的宽度，是让每一层都不改变信号的大小。

# %%
import numpy as np

import pictures
from engine import cross_entropy, tensor
from layers import Dense
from layers.initializers import GlorotUniform, HeNormal, RandomNormal, RandomUniform, Zeros
from material import digits
from models import Sequential
from optim import SGD

x, y, x_test, y_test = digits()
x, x_test = x.reshape(-1, 784), x_test.reshape(-1, 784)
DEPTH, WIDTH = 30, 64

# %% [markdown]
# ## 三十层 E1
#
# 每一层都是 **E1**，$a^{(l)} = \tanh(W^{(l)} a^{(l-1)} + b^{(l)})$，输入是真实的手写数字。不同的只有 $W$ 的初值。
#
# **先猜一猜：** 权重服从标准差 0.05 的高斯分布时，最上面一层输出的数有多大？标准差是 1 时呢？

# %%
def deep(initializer, activation="tanh"):
    layers = [Dense(WIDTH, activation=activation, kernel_initializer=initializer) for _ in range(DEPTH)]
    model = Sequential([*layers, Dense(10, kernel_initializer=initializer)], seed=0)
    model.build((None, 784))
    return model


starts = {"zeros": Zeros(), "Gaussian, 0.05": RandomNormal(stddev=0.05), "Gaussian, 1": RandomNormal(stddev=1.0),
          "uniform, ±0.05": RandomUniform(), "Glorot": GlorotUniform()}  # fmt: skip


def sizes(model, images=256):
    """Root mean square of each layer's output, and of the gradient of each layer's kernel."""
    a, forward = tensor(x[:images]), []
    for layer in model.layers:
        a = layer(a)
        forward.append(float(np.sqrt(np.mean(np.square(a.numpy())))) + 1e-30)
    cross_entropy(tensor(y[:images]), a).backward()
    backward = [float(np.sqrt(np.mean(np.square(layer.kernel.grad.numpy())))) + 1e-30 for layer in model.layers]
    return forward[:-1], backward[:-1]


measured = {name: sizes(deep(start)) for name, start in starts.items()}
left, right = pictures.panels(2, width=4.6, height=3.4)
pictures.lines(None, {n: f for n, (f, _) in measured.items()}, log="y", zoom=(1e-22, 1e4), title="Signal, going up",
               x_label="layer", ax=left)  # fmt: skip
pictures.lines(None, {n: b for n, (_, b) in measured.items()}, log="y", zoom=(1e-26, 1e16), title="Gradient, coming back",
               x_label="layer", ax=right)  # fmt: skip

# %% [markdown]
# - **0.05**：信号每层缩小一个固定的倍数，在对数坐标上是一条直线。一个权重矩阵的梯度，等于它下面的信号乘以它上面的误差；信号在顶层极小，误差在底层极小，所以乘积处处都小得没有希望。这就是*梯度消失*。±0.05 的均匀分布（Keras 的默认值）还要更窄。
# - **1**：信号达到 tanh 的上限；但误差在返回途中，一层又一层地乘以很大的权重：*梯度爆炸*。
# - **零**：根本没有信号，它的线远在图的下方。
# - **Glorot**：方差为 $2 / (n_{in} + n_{out})$ 的均匀分布。信号和梯度都保持大小。
#
# ## 合适的宽度从哪里来
#
# $n$ 个独立的、方差为 $v$ 的项相加，方差是 $n v$。要让一层不改变方差，每个权重的方差就应当是 $v = 1 / n$。初始化器根据权重矩阵的形状来计算它：

# %%
kernels = {name: deep(start).layers[5].kernel for name, start in {**starts, "He": HeNormal()}.items() if name != "zeros"}
for name, kernel in kernels.items():
    print(f"{name:<15} standard deviation {kernel.numpy().std():.3f}    kept: {WIDTH * kernel.numpy().var():6.2f} of the variance")

# %% [markdown]
# He 的方差是两倍：ReLU（**E14**）会丢掉一半信号，这个 2 正是补偿。
#
# ## 学得动吗？
#
# 4,000 个数字，最朴素的梯度下降。**先猜一猜** 各条曲线的次序。

# %%
losses = {}
for name in ("zeros", "Gaussian, 0.05", "Gaussian, 1", "Glorot"):
    model = deep(starts[name])
    optimizer, losses[name] = SGD(model.parameters(), lr=0.05), []
    for step in range(120):
        rows = np.random.default_rng(step).integers(0, len(x), 100)
        loss = cross_entropy(tensor(y[rows]), model(tensor(x[rows])))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[name].append(loss.item())
pictures.lines(None, losses, title="Thirty layers, the same data and rate", x_label="step", y_label="loss", log="y")

# %% [markdown]
# 损失 2.30 就是 $\log 10$，说明网络什么也不懂。有两个网络始终停在那里（两条线重合）；爆炸的那个更糟：很有把握，却是错的。只有 Glorot 的在学。
#
# ## 练习
#
# 1. 把 `tanh` 换成 `relu`。`GlorotUniform` 和 `HeNormal`，哪个能保持信号的大小？
# 2. 只有一个隐藏层、用 sigmoid 的网络，信号并不是 0，为什么全零初始化仍然不行？
# 3. 在每层之后加上 `BatchNormalization`（第 9 本笔记），再从 0.05 开始。
#
# <details><summary>答案</summary>
#
# 1. He 的。Glorot 每层丢掉一半方差，30 层之后均方根缩小到三万分之一。
# 2. 所有隐藏神经元完全相同，得到的梯度也相同，于是永远相同：等于一个宽度为 1 的网络。
# 3. 学得动了：初始化在每层犯的错，归一化随即纠正。
# </details>
