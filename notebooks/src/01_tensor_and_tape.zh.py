# %% [markdown]
# # 1 · 张量与它的磁带
#
# **问题**　程序从一些数算出另一个数。没有人告诉机器求导公式，它怎么知道：某个输入稍微变一点，结果会变多少？
#
# **想法**　程序运行时，Chain Rule 把做过的事逐条记下来：每一步运算一行，连同当时的数值。这份记录就叫“磁带”。把磁带倒着读一遍，对所有输入的导数就一次全部得到。

# %%
import engine
import pictures
from engine import linspace, sigmoid, stack, sum, tensor
from engine.view import explain, graph, view

# %% [markdown]
# ## 一个神经元
#
# 能够学习的最小单元是感知机，也就是文档中的公式 **E10**：
#
# $$y = \sigma(W \cdot a + b)$$
#
# 三个输入 `a`，三个权重 `w`，一个偏置 `b`。`requires_grad=True` 表示：以后要对它求导。

# %%
a = tensor([1.0, 2.0, -1.0])
w = tensor([0.5, -0.3, 0.8], requires_grad=True)
b = tensor(0.2, requires_grad=True)

y = sigmoid(sum(w * a) + b)  # E10；(3,) * (3,) -> (3,) -> ()
y

# %% [markdown]
# 输出里的 `from=sigmoid` 说明 `y` 记得自己从哪里来。下面是它背后的整盘磁带，最新的一行在最上面：每一步的运算、输入、形状和公式。

# %%
print(graph(y))

# %% [markdown]
# 同样的内容画成图。每个方框是一步运算，带着它的公式和算出的数值；点一下方框，就能看到它在反向时交回去的是什么。

# %%
view(y, names={"w": w, "b": b, "a": a})

# %% [markdown]
# ## 先猜，再运行
#
# 运行下一格之前请先想好：如果把每个权重都增加同样小的一点，**哪个权重对 `y` 的影响最大？** 哪个会让 `y` 变*小*？（请看 `a`。权重本身的大小并不重要。为什么？）

# %%
y.backward()
print("dy/dw =", w.grad)
print("dy/db =", b.grad)

# %% [markdown]
# 影响最大的是第二个，因为它的输入是 2，最大。第三个让 `y` 变小，因为它的输入是负的。
#
# 用手算一遍：记 $z = w \cdot a + b$，由链式法则，$\partial y / \partial w_i = \sigma'(z) \, a_i$，$\partial y / \partial b = \sigma'(z)$。磁带做的正是这件事，从最后一行走到第一行。下面是机器自己写出的推导，先是符号，后是数值（出发点一律记作 $J$，这里就是我们的 $y$）：

# %%
y = sigmoid(sum(w * a) + b)
explain(y, wrt=w, names={"w": w, "b": b, "a": a})

# %% [markdown]
# ## 导数就是斜率
#
# 转动一个旋钮——第二个权重——看看 `y` 可能取的所有值。导数应当是曲线在当前位置的切线的斜率。

# %%
knob = linspace(-2.0, 2.0, 81)
curve = stack([sigmoid(sum(tensor([0.5, float(k), 0.8]) * a) + b) for k in knob]).detach()
slope = w.grad[1]
touching = y.detach() + slope * (knob - w[1].detach())
pictures.lines(knob, {"y, for every value of the knob": curve, ".what the tape says": touching},
               title="The tape's derivative is the slope here", x_label="second weight", y_label="y", zoom=(0, 1.05))  # fmt: skip

# %% [markdown]
# 实线是 `y` 随旋钮的变化，虚线是磁带给出的切线。
#
# ## 磁带跟着程序走，而不是跟着公式走
#
# 循环、`if`、函数调用，磁带一概看不见；它只看见真正执行过的运算。所以，凡是能用 Python 写出来的，都能求导。下面这个循环要转几圈，取决于数据。

# %%
x = tensor(1.5, requires_grad=True)
y, rounds = x, 0
while y.item() < 100:
    y, rounds = y * y, rounds + 1
y.backward()
print(f"{rounds} squarings give y = {y.item():.2f}, dy/dx = {x.grad.item():.2f}")
print(f"a formula would be x^{2**rounds}: its derivative is {2**rounds} y / x = {2**rounds * y.item() / 1.5:.2f}")

# %% [markdown]
# 平方了四次，也就是 $x^{16}$；按公式求导是 $16 y / x$，与磁带的结果一致。
#
# ## 导数的导数
#
# 读磁带所用的规则，本身也由同样的运算组成，所以也可以录到磁带上：只要写 `create_graph=True`。sigmoid 斜率的导数就是它的弯曲程度；在 0 点必定为 0，因为曲线关于这一点对称。

# %%
x = tensor([-2.0, 0.0, 2.0], requires_grad=True)
slope = engine.grad(sum(sigmoid(x)), x, create_graph=True)
curvature = engine.grad(sum(slope), x)
print("slope     ", slope.detach())
print("curvature ", curvature)

# %% [markdown]
# ## 练习
#
# 1. 把 `b` 改成 10，再算一遍。所有导数都几乎消失了，为什么？（第 5 本笔记会讲它对深层网络意味着什么。）
# 2. 令 `a` 带上 `requires_grad=True`，在一个式子里用两次：`sum(a * a)`。`a.grad` 是什么？这是微积分里的哪条法则？
# 3. 对同一个 `y` 调用两次 `y.backward()`。读一读报错：它建议怎么做？
#
# <details><summary>答案</summary>
#
# 1. 这时 $z$ 是 9.1。σ 在远离 0 的地方是平的：σ'(9.1) 大约是 1.1e-4，而每个导数都带着这个因子。
# 2. 是 2a。有两条路通向这个输入，各条路传回来的量要相加：这就是乘积法则。
# 3. `backward` 用完磁带就把它释放，以归还内存；写 `retain_graph=True` 可以保留。
# </details>
