# %% [markdown]
# # 6 · 梯度检验，以及我们自己埋下的错误
#
# **问题**　梯度写错了，不会有任何报错。网络照样训练，只是差一些。怎样才能发现？又怎么知道你的检查方法管用？
#
# **想法**　沿一个*随机*方向、用*随机*的输出权重，把梯度与实际量出来的斜率相比。然后故意埋下一个错误，看检验能不能发现。从来没有失败过的检验，不算检验。

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
# ## 两边各是一个数
#
# 设 $y = f(x)$，输出的权重是 $\bar y$，沿方向 $d$ 走：
#
# $$\langle \bar y, \tfrac{f(x + h d) - f(x - h d)}{2 h} \rangle \approx \langle \bar x, d \rangle$$
#
# 左边只需要运行 $f$，右边是反向传播的说法。`check_op` 可以这样检验任何运算：输入按照该运算自己的记录来抽取，一阶梯度和梯度的梯度都查。

# %%
print(check_op("tanh"))

# %% [markdown]
# ## 埋一个错误
#
# 在下面的代码块里，`tanh` 交回的梯度大了千分之一。**先猜一猜：** 检验看得出来吗？从损失曲线上，你看得出来吗？

# %%
with sabotage("tanh", factor=1.001):
    print(check_op("tanh", order=1))

# %% [markdown]
# 再用真实的手写数字训练同一个网络：先用正确的 tanh'，再用错得越来越厉害的 tanh'。

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
# 大了一半，三轮之后反而还好一点（因为步子更大）；只剩十分之一，看上去也不过是慢一些。只有符号错了，才会有人注意到。**训练是很差的检验**，因为它什么都能容忍；梯度检验则不然。
#
# ## 输出的权重为什么必须随机
#
# 很多人检验时取 $\bar y = (1, 1, \dots, 1)$，也就是把所有输出加起来比较。softmax 正是一个陷阱：它的输出之和恒为 1，这个和没有斜率；于是正确梯度的*任意倍数*，结果也都是 0。

# %%
scores = tensor([1.0, -0.5, 2.0], dtype="float64")
p = softmax(scores)
for name, ybar in (("ones  ", np.ones(3)), ("random", np.array([0.3, -1.2, 0.7]))):
    right = softmax_gradient(tensor(ybar), p)
    print(name, "the gradient:", right.numpy().round(12) + 0.0, "  three times it:", (3 * right).numpy().round(12) + 0.0)

# %% [markdown]
# ## 余项的斜率
#
# 差商需要选步长，还需要容差。有一种检验两样都不要：用切线预测 $f$，看剩下多少。
#
# $$r(h) = |\varphi(x + h d) - \varphi(x) - h \langle \nabla\varphi, d \rangle|$$
#
# 梯度正确时，$r$ 随 $h^2$ 下降：步长缩小十倍，余项缩小一百倍。梯度只要有*一点点*错，就会剩下一个与 $h$ 成正比的项，它最终会占上风。**先猜一猜：** 错 1 % 的那条曲线会在哪里拐弯？

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
# 正确的那条一直保持斜率 2，直到 $10^{-15}$ 附近——float64 到此为止，剩下的只是舍入误差。错误的两条，在 $h$ 小到与相对误差相当时，都拐向斜率 1。
#
# ## 检验你自己的函数
#
# `gradcheck` 接受任何以张量为参数的函数；下面是一整层加上损失。二阶也一并检验。

# %%
rng = np.random.default_rng(0)
print(gradcheck(lambda x, w, b: sum(tanh(x @ w + b) ** 2, axis=1), [rng.standard_normal(s) for s in ((4, 3), (3, 2), (2,))],
                name="a layer and its loss", slope=True))  # fmt: skip

# %% [markdown]
# ## 练习
#
# 1. `engine.planted("tanh", order=2, factor=1.01)` 不动梯度，只破坏梯度的*导数*。`check_op("tanh")` 的哪一行会发现？
# 2. 正好在 `relu` 的折角处检验：`gradcheck(relu, [np.zeros(1)])`。反向传播与差商，谁对？
# 3. 训练都用 float32，为什么检验要用 float64？
#
# <details><summary>答案</summary>
#
# 1. 只有 “second order” 的那几行。
# 2. 都不算错：中心差商量得 1/2，反向传播说是 0，两者都是次梯度。检验会避开折角；折角处取什么值是一项决定，写在运算的记录里。
# 3. 两个 float32 相减，再除以很小的步长，只剩两三位正确数字。那样一来，任何容差都无法把千分之一的错误与舍入误差分开。
# </details>
