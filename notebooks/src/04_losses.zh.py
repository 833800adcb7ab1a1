# %% [markdown]
# # 4 · 损失函数，以及交叉熵为什么总与 softmax 同行
#
# **问题**　预测数值时，我们最小化平方误差。分类时为什么不这样做？为什么每个库里都有一个叫“softmax 交叉熵”的损失，好像两样东西本是一样？
#
# **想法**　评价一个损失要看它的*梯度*：答案错的时候，它拉得有多用力。交叉熵恰好抵消 sigmoid 和 softmax 两端的平坦，于是拉力就等于“你说的减去真实的”。

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
# ## 文档里的损失：E15、E16、E19、E20、E21、E22
#
# $$\text{E15}\;\; \frac1n \sum_i (y_i - \hat y_i)^2 \qquad
# \text{E16、E22}\;\; -\sum_i y_i \log \hat y_i \qquad
# \text{E20、E21}\;\; -[y \log \hat y + (1 - y) \log(1 - \hat y)]$$
#
# **E19** 是 E15 用在一个神经元上，再除以 2，好让求导后的 2 消失。每个损失都有对应的运算；真实值写在前面。

# %%
y, y_hat = tensor([0.0, 1.0, 0.0]), tensor([0.2, 0.5, 0.3])
print("E15       ", mse(y, y_hat).item(), "=", (0.2**2 + 0.5**2 + 0.3**2) / 3)
print("E16, E22  ", categorical_cross_entropy(y, y_hat).item(), "= -log 0.5 =", -np.log(0.5))
print("E20, E21  ", binary_cross_entropy(y[1:2], y_hat[1:2]).item(), "= -log 0.5 too: two classes are the case n = 2")
print("E19       ", (0.5 * sum(square(y_hat - y))).item())

# %% [markdown]
# ## 谁拉得更用力？
#
# 一个带 sigmoid 的神经元，真实值是 1。它的得分（进入 sigmoid 之前的值，叫 logit）在 −8 到 8 之间。
#
# **先猜一猜：** 在 −8 处，神经元错得最厉害。平方误差（E19）和交叉熵（E21），哪个在那里的梯度更大？先在心里画出两条曲线。

# %%
z = linspace(-8.0, 8.0, 161, requires_grad=True)
one = engine.ones((161,))
losses = {"squared error (E19)": 0.5 * sum(square(sigmoid(z) - one)),
          "cross-entropy (E21)": binary_cross_entropy_with_logits(one, z, reduction="sum")}  # fmt: skip
pulls = {name: engine.grad(loss, z) for name, loss in losses.items()}
pictures.lines(z.detach(), pulls, title="The pull on the logit when the truth is 1", x_label="logit z", y_label="d loss / d z")

# %% [markdown]
# 错得最厉害的时候，平方误差反而放弃了：它的梯度带着因子 $\sigma'(z)$（即 **E19** 里的 $\partial y / \partial z$），而它在两端都是 0。交叉熵的梯度是 $\sigma(z) - 1$，错多少就拉多少。这就是改正后的 **E20**：关键正在于约掉的那个因子。
#
# ## 多个类别也一样
#
# softmax 把得分变成概率，交叉熵（**E16**、**E22**）取正确类别的概率的对数。单看 softmax，它的雅可比矩阵是满的；两者合在一起，梯度却只是 $p - y$。验证一下：

# %%
scores = tensor([[2.0, -1.0, 0.5, 0.0]], requires_grad=True)
truth = tensor([2])  # the number of the class
loss = cross_entropy(truth, scores)  # takes scores: softmax and logarithm are inside
loss.backward()
p = softmax(scores).detach()
print("gradient  ", scores.grad.numpy().round(4))
print("p - y     ", (p - tensor([[0.0, 0.0, 1.0, 0.0]])).numpy().round(4))

# %% [markdown]
# ## 为什么它们是*一个*运算
#
# 假设网络很自信，却错了：得分是 0 和 200，而正确的是第一类。于是 $p_1 = e^{-200} \approx 10^{-87}$，float32 只能存成 0。**先猜一猜：** 分两步算和一步算，损失和梯度各是多少？

# %%
for name, one_step in (("two steps", False), ("one op", True)):
    scores = tensor([[0.0, 200.0]], requires_grad=True)
    loss = cross_entropy(tensor([0]), scores) if one_step else -log(softmax(scores)[0, 0])
    loss.backward()
    print(f"{name:<10} loss {loss.item():<8} gradient {scores.grad.numpy()}")

# %% [markdown]
# 分两步：损失是无穷大，梯度不是数。一步：$\log p_i = z_i - \log \sum_j e^{z_j}$ 始终没有离开对数，损失是 200，拉力是 −1 和 +1，正该如此。
#
# 每条记录都写明它避免了什么：

# %%
for name in ("log_softmax", "binary_cross_entropy_with_logits"):
    print(f"{name}: {engine.OPS[name].latex}\n    why: {engine.OPS[name].note.why}")

# %% [markdown]
# ## 一场比赛
#
# 一个神经元学错了：它的 logit 是 −6，而真实值是 1。两种损失，同样的学习率，看谁先改过来。

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
# 两百步之后，平方误差几乎还没有起步：错得最厉害的地方，它拉得最轻。
#
# ## 练习
#
# 1. 有 $K$ 个类别时，一个什么都不懂的网络（所有得分相等）损失是多少？第一轮训练的损失应当与它相比。
# 2. 把所有得分都加上 100，$p$ 会怎样？损失呢？试一试。
# 3. 同事把概率（而不是得分）交给了 `cross_entropy`。没有任何报错。问题出在哪里？
#
# <details><summary>答案</summary>
#
# 1. log K：十个数字就是 2.30。
# 2. 什么也不变：softmax 只看差值。正因为如此，内核可以先减去最大的得分，任何指数都不会溢出。
# 3. softmax 做了两次。第二次看到的都是 0 到 1 之间的数，所以任何类别的概率都不会超过 e/(e + K − 1)，连答对的样本也一直受到很大的拉力。它学得很慢，而且永远没有把握。
# </details>
