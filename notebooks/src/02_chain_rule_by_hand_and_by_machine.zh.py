# %% [markdown]
# # 2 · 链式法则：手算与机器
#
# **问题**　Chain Rule 所依据的几篇文档，用十来个公式讲解了反向传播。这些公式对吗？如果对自己的微积分没有十足的把握，怎样才能查清楚？
#
# **想法**　把每个公式写成一行代码，让机器对同一个网络求导，再互相比较。两者不一致时，就去量真正的斜率，由事实来裁决。印出来的公式里，有三个过不了这一关。

# %%
import numpy as np

import pictures
from engine import OPS, gradcheck, log, matmul, mean, sigmoid, sigmoid_slope, square, sum, tensor
from engine.errors import GradientError
from engine.op import elementwise, op
from engine.view import explain, view

rng = np.random.default_rng(8)

# %% [markdown]
# ## 前向：E1 与 E2
#
# 两层网络，$m = 5$ 个样本，和文档一样，一列是一个样本。**E1** 是一层的计算，**E2** 是代价函数；$L$ 取 **E19** 的平方误差 $L = \frac{1}{2} (y - y_0)^2$，对各个输出求和。
#
# $$z^{(l)} = W^{(l)} a^{(l-1)} + b^{(l)}, \quad a^{(l)} = \sigma(z^{(l)}) \qquad
# J = \frac{1}{m} \sum_{i=1}^m L(y^{(i)}, a^{(L)})$$

# %%
m = 5
x, y0 = tensor(rng.standard_normal((3, m))), tensor(rng.random((2, m)))  # (3,m), (2,m)
start = [rng.standard_normal(shape) for shape in [(2, 3), (2, 1), (2, 2), (2, 1)]]
W1, b1, W2, b2 = (tensor(values, requires_grad=True) for values in start)


def network(W1, b1, W2, b2):
    z1 = matmul(W1, x) + b1  # E1: (2,3) @ (3,m) + (2,1) -> (2,m)
    a1 = sigmoid(z1)
    z2 = matmul(W2, a1) + b2  # (2,2) @ (2,m) + (2,1) -> (2,m)
    return z1, a1, z2, sigmoid(z2)


def cost(*weights):
    *_, a2 = network(*weights)
    return mean(0.5 * sum(square(a2 - y0), axis=0))  # E2 with the L of E19: the mean over the samples


J = cost(W1, b1, W2, b2)
view(J, names={"W1": W1, "b1": b1, "W2": W2, "b2": b2})

# %% [markdown]
# ## 反向：交给机器
#
# 一次调用，每个权重就都知道 $J$ 怎样依赖于自己。调用之前，先让机器写出它对 $W^{(1)}$ 打算怎么做，先符号，后数值：

# %%
explain(J, wrt=W1, names={"W1": W1, "b1": b1, "W2": W2, "b2": b2})

# %%
J.backward()
W1.grad

# %% [markdown]
# ## 反向：用手算——E17，以及改正后的 E18
#
# 一层的误差是 $\delta^{(l)} = \partial J / \partial z^{(l)}$。在输出层（**E17**），只要激活函数是逐元素作用的，就有
#
# $$\delta^{(L)} = \frac{\partial J}{\partial a^{(L)}} \odot \sigma'(z^{(L)})$$
#
# 再往回一层（**E18**，已改正），误差要反着穿过权重：
#
# $$\delta^{(l)} = (W^{(l+1)\top} \delta^{(l+1)}) \odot \sigma'(z^{(l)}), \qquad
# \frac{\partial J}{\partial W^{(l)}} = \delta^{(l)} a^{(l-1)\top}, \qquad
# \frac{\partial J}{\partial b^{(l)}} = \sum_i \delta^{(l)}_i$$
#
# **先猜一猜：** 手算和机器的结果会差多少？

# %%
z1, a1, z2, a2 = (t.detach() for t in network(W1, b1, W2, b2))
delta2 = (a2 - y0) / m * sigmoid_slope(z2)  # E17
delta1 = matmul(W2.detach().mT, delta2) * sigmoid_slope(z1)  # E18: (2,2)ᵀ @ (2,m) -> (2,m)

by_hand = {"W1": matmul(delta1, x.mT), "b1": sum(delta1, axis=1, keepdims=True),
           "W2": matmul(delta2, a1.mT), "b2": sum(delta2, axis=1, keepdims=True)}  # fmt: skip
for name, p in zip(by_hand, (W1, b1, W2, b2), strict=True):
    print(name, "largest difference:", np.abs(by_hand[name].numpy() - p.grad.numpy()).max())

# %% [markdown]
# 最多差一点舍入误差，这里则一点不差。反向传播*就是*这几个公式，只不过它从不漏掉任何一个因子。
#
# ## 怎样检验别人的说法
#
# 有人声称某个式子是梯度。取函数 $f$，在权重空间里随机选一个方向 $d$，再取一个小步长 $h$。沿 $d$ 的斜率不用任何微积分就能量出来：$(f(w + h d) - f(w - h d)) / 2h$。如果所称的梯度 $g$ 是对的，$\langle g, d \rangle$ 就应当等于它。`gradcheck` 做的正是这件事。为了把一种*说法*交给它检验，我们把网络做成一个运算，它的反向就照着别人说的写。（每行末尾的 Taylor slope 是什么，看后面那张图：2 是对的，1 是错的。）

# %%
def claimed(name, gradient):
    """The cost as an op, with a gradient of which we know only what somebody says."""
    OPS.pop(name, None)  # so that this cell can be run again

    @op(name, shapes="W1:(H,D), b1:(H,I), W2:(K,H), b2:(K,I) -> J:()", definition=r"J = \frac{1}{m} \sum_i L_i")
    def f(W1, b1, W2, b2):
        return cost(tensor(W1), tensor(b1), tensor(W2), tensor(b2)).numpy()

    @f.vjp
    def _(g, J, aux, W1, b1, W2, b2, *, needs):
        return [g * part for part in gradient(W1, b1, W2, b2)]

    return f


def mended(W1, b1, W2, b2):
    z1, a1, z2, a2 = network(W1, b1, W2, b2)
    delta2 = (a2 - y0) / m * sigmoid_slope(z2)  # E17
    delta1 = matmul(W2.mT, delta2) * sigmoid_slope(z1)  # E18, mended
    return [matmul(delta1, x.mT), sum(delta1, axis=1, keepdims=True),
            matmul(delta2, a1.mT), sum(delta2, axis=1, keepdims=True)]  # fmt: skip


print(gradcheck(claimed("mended", mended), start, order=1, slope=True))

# %% [markdown]
# ## 照原样印的 E3
#
# $$\frac{\partial J}{\partial W^{(l)}} = \frac{1}{m} \sum_i \frac{\partial L}{\partial a^{(L)}}
# \frac{\partial a^{(L)}}{\partial z^{(L)}} \cdot \frac{\partial z^{(L)}}{\partial W^{(l)}}
# \quad\text{，逐层来读，最后一个因子就是 } a^{(l-1)\top}$$
#
# 对最后一层（$l = L$），它就是我们的 $\delta^{(2)} a^{(1)\top}$。现在用同样的读法看 $l = 1$：输出层的误差，乘以第一层的输入。**先猜一猜：** 检验会怎么评价 `W1`？又会怎么评价 `W2`？

# %%
def e3_as_printed(W1, b1, W2, b2):
    z1, a1, z2, a2 = network(W1, b1, W2, b2)
    error = (a2 - y0) * sigmoid_slope(z2) / m  # 1/m, ∂L/∂a ∂a/∂z of the last layer, whatever l is
    return [matmul(error, x.mT), sum(error, axis=1, keepdims=True),
            matmul(error, a1.mT), sum(error, axis=1, keepdims=True)]  # fmt: skip


print(gradcheck(claimed("e3_as_printed", e3_as_printed), start, order=1, slope=True))

# %% [markdown]
# 最后一层是对的，前面的层全错：乘积必须穿过中间的**每一层**，而 $\partial z^{(L)} / \partial W^{(l)}$ 这个记号把它们都藏起来了。何况我们运气好，形状碰巧对得上。如果隐藏层有三个神经元而不是两个，印出来的乘积连权重的形状都凑不出来。核对形状，是最起码的梯度检验：

# %%
try:
    wide = [rng.standard_normal(shape) for shape in [(3, 3), (3, 1), (2, 3), (2, 1)]]
    gradcheck(claimed("e3_as_printed", e3_as_printed), wide, order=1)
except GradientError as problem:
    print(problem)

# %% [markdown]
# ## 照原样印的 E18
#
# $$\delta_l = \frac{\partial z_l}{\partial W_l} a_{l-1}^\top + \frac{\partial z_l}{\partial b_l}$$
#
# 把各个因子代进去：$\partial z_l / \partial W_l$ 是 $a_{l-1}$，$\partial z_l / \partial b_l$ 是 1。于是每个隐藏神经元的“误差”都成了 $|a_{l-1}|^2 + 1$。真实值 $y_0$ 在哪里？根本没有出现。不管告诉网络什么答案，这个“误差”都一样。

# %%
def e18_as_printed(W1, b1, W2, b2):
    z1, a1, z2, a2 = network(W1, b1, W2, b2)
    delta2 = (a2 - y0) / m * sigmoid_slope(z2)  # E17 is right
    delta1 = (sum(x * x, axis=0, keepdims=True) + 1) / m + z1 * 0  # the same for each neuron: (1,m) -> (2,m)
    return [matmul(delta1, x.mT), sum(delta1, axis=1, keepdims=True),
            matmul(delta2, a1.mT), sum(delta2, axis=1, keepdims=True)]  # fmt: skip


print(gradcheck(claimed("e18_as_printed", e18_as_printed), start, order=1, slope=True))

# %% [markdown]
# ## 照原样印的 E20
#
# 一个神经元 $y = \sigma(Wx + b)$，误差取交叉熵：
#
# $$\text{Error} = -[y_0 \log y + (1 - y_0) \log(1 - y)], \qquad
# \frac{\partial\,\text{Error}}{\partial W} = (y - y_0) \frac{\partial y}{\partial z} x \quad\text{（原样）}$$
#
# 如果误差是 **E19** 的平方误差，这个式子是对的。但这里对数的导数会带来因子 $1 / (y (1 - y))$，正好与 $\partial y / \partial z = y (1 - y)$ 约掉。**先猜一猜：** 印出来的梯度是太大还是太小？至少差多少倍？

# %%
def error_of_neuron(w, b, x, y0):
    y = sigmoid(w * x + b)
    return -(y0 * log(y) + (1 - y0) * log(1 - y))


def neuron(name, factor):
    """E20 as an op; factor(z) is what stands between (y - y0) and x."""
    OPS.pop(name, None)
    return elementwise(name, definition=error_of_neuron, vjp=[
        lambda g, w, b, x, y0, y: g * (sigmoid(w * x + b) - y0) * factor(w * x + b) * x,
        lambda g, w, b, x, y0, y: g * (sigmoid(w * x + b) - y0) * factor(w * x + b),
        None, None])  # fmt: skip


printed, right = neuron("e20_as_printed", sigmoid_slope), neuron("e20_mended", lambda z: 1.0)
at = [np.array([0.7]), np.array([-0.4])]
for candidate in (printed, right):
    f = lambda w, b, candidate=candidate: candidate(w, b, tensor([1.5], dtype="float64"), tensor([1.0], dtype="float64"))  # noqa: E731
    print(gradcheck(f, at, order=1, slope=True, name=candidate.name))

# %% [markdown]
# ## 一张图：斜率 1 还是斜率 2
#
# 沿着 $d$ 走一步 $h$，把代价与它的直线预测相比：$r(h) = |J(w + hd) - J(w) - h \langle g, d \rangle|$。如果 $g$ 真是梯度，剩下的只有弯曲，$r$ 随 $h^2$ 下降；只要 $g$ 有一点点错，$r$ 就只随 $h$ 下降。画成双对数图，连容差都不需要。

# %%
direction = [rng.standard_normal(np.shape(values)) for values in start]
steps = 10.0 ** np.arange(-0.5, -4.6, -0.5)


def forecast_error(gradient):
    tensors = [tensor(values) for values in start]
    g = gradient(*tensors)
    promised = float(np.sum([sum(part * d).item() for part, d in zip(g, direction, strict=True)]))
    here = cost(*tensors).item()
    there = [cost(*(t + h * d for t, d in zip(tensors, direction, strict=True))).item() for h in steps]
    return [abs(value - here - h * promised) for value, h in zip(there, steps, strict=True)]


pictures.remainder(steps, {"E18 as printed": forecast_error(e18_as_printed), "E3 as printed": forecast_error(e3_as_printed),
                           "mended": forecast_error(mended)}, title="A right gradient leaves a remainder of slope 2")  # fmt: skip

# %% [markdown]
# ## 最后：E4 与 E11
#
# 费这么多力气，都是为了一行：梯度下降。**E4**：$W \leftarrow W - \alpha\, \partial J / \partial W$；**E11** 把这个改变量记为 $\Delta W = -\alpha\, \partial L / \partial W$。下面分别跟着改正后的梯度、E3 和 E18 往下走。

# %%
def descend(gradient, rate=2.0, rounds=500):
    weights, costs = [tensor(values) for values in start], []
    for _ in range(rounds):
        costs.append(cost(*weights).item())
        weights = [w - rate * g for w, g in zip(weights, gradient(*weights), strict=True)]  # E4, E11
    return costs


pictures.lines(None, {"mended": descend(mended), "E3 as printed": descend(e3_as_printed), "E18 as printed": descend(e18_as_printed)},
               title="Gradient descent, with three gradients", x_label="step", y_label="cost J", log="y")  # fmt: skip

# %% [markdown]
# E18 先上升几步，随后三条线都在下降，有一段时间 E3 甚至最低：因为它们在最后一层的那一半都是对的。之后错的两条停住了，远远高于对的那条。损失在下降，并不能证明梯度是对的。所以 Chain Rule 要对每个运算做梯度检验。
#
# ## 练习
#
# 1. 文档 002 还印了 $\partial \text{Error} / \partial W^{(l-1)} = \partial \text{Error} / \partial z^{(l)} \cdot \partial z^{(l)} / \partial a^{(l-1)}$。少了哪两个因子？写成函数，检验一下。
# 2. 在 `e20_as_printed` 中，输出 $y$ 等于多少时，印出来的梯度错得最轻？
# 3. 千分之一的错误能查出来吗？把改正后的 `delta1` 乘以 1.001 试试。
#
# <details><summary>答案</summary>
#
# 1. 误差停在了 $a^{(l-1)}$，还应当穿过 $\partial a^{(l-1)} / \partial z^{(l-1)} = \sigma'$ 和 $\partial z^{(l-1)} / \partial W^{(l-1)} = a^{(l-2)\top}$。
# 2. y = 1/2 时，σ'(z) = 1/4 达到最大；即使在那里，也小了四倍。而一个自信的错误答案（y 接近 0 或 1），几乎得不到纠正。
# 3. 能。检验的容差是十万分之一；而且 h 足够小时，斜率会变成 1。
# </details>
