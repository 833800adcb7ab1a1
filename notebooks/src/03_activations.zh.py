# %% [markdown]
# # 3 · 激活函数：为什么真正运行的不是书上的公式
#
# **问题**　$\sigma(x) = 1 / (1 + e^{-x})$，每本教科书上都是这一行。为什么 Chain Rule 里写的是另一行？
#
# **想法**　对实数成立的公式，对浮点数可能不成立：中间某一步溢出了，或者有效数字全部抵消了。补救的办法是“稳定形式”：同一个函数，换一种写法，使这两种情况都不发生。每个运算都把定义、稳定形式和理由放在一起。

# %%
import numpy as np

import pictures
from engine import OPS, elu, exp, gelu, grad, linspace, relu, sigmoid, sum, tanh, tensor

# %% [markdown]
# ## 文档里的三个函数：E12、E13、E14
#
# $$\text{E12}\quad \sigma(x) = \frac{1}{1 + e^{-x}} \qquad
# \text{E13}\quad \tanh x = \frac{e^x - e^{-x}}{e^x + e^{-x}} \qquad
# \text{E14}\quad \operatorname{ReLU}(x) = \max(0, x)$$
#
# 如果层与层之间没有弯曲，多层求和叠在一起仍然只是一层求和；激活函数就是这个弯曲。文档的 **E1**、**E5**、**E8**、**E9**、**E10** 里的 $\sigma$ 都是它。

# %%
x = linspace(-4.0, 4.0, 201, requires_grad=True)
bends = {"sigmoid (E12)": sigmoid, "tanh (E13)": tanh, "ReLU (E14)": relu}
left, right = pictures.panels(2, width=4.2)
pictures.lines(x.detach(), {name: f(x).detach() for name, f in bends.items()}, title="The function", ax=left)
slopes = {name: grad(sum(f(x)), x) for name, f in bends.items()}
pictures.lines(x.detach(), slopes, title="Its derivative, by backward", ax=right)

# %% [markdown]
# 前两个函数的导数在两侧都趋于 0，而 sigmoid 的导数从来不超过 1/4。三十个这样的因子连乘会怎样，第 5 本笔记会讲。
#
# ## 先猜，再运行
#
# 下面照着书上的样子输入 E12，用 float32 计算，和 Chain Rule 的放在一起。**在 −100 处会得到什么？** $e^{100}$ 约为 $10^{43}$，而 float32 的上限是 $3.4 \cdot 10^{38}$。

# %%
def sigmoid_as_printed(x):
    return 1 / (1 + exp(-x))  # E12


far = tensor([-20.0, -80.0, -100.0], requires_grad=True)
for f in (sigmoid_as_printed, sigmoid):
    y = f(far)
    print(f"{f.__name__:<20} values {y.detach().numpy()}   derivatives {grad(sum(y), far).numpy()}")

# %% [markdown]
# −100 处的值是 $4 \cdot 10^{-44}$，比 float32 最小的规格化数 $1.2 \cdot 10^{-38}$ 还小，所以两者都得到 0。但请看原样公式的导数：在 −80 处，$e^{80}$ 的平方溢出了，只剩下 0；在 −100 处，无穷大的 $e^{100}$ 在返回途中遇上了 0，$0 \cdot \infty$ 不是一个数。**只要有一个这样的样本，整个网络的权重就全部变成 NaN。**
#
# 下面是这个运算的记录：定义、导数、真正运行的形式，以及理由。

# %%
op = OPS["sigmoid"]
pictures.equations(op.latex, op.derivative_latex(), "y = " + op.stable.latex())
print(op.note.why)

# %% [markdown]
# ## tanh 丢掉的尾巴
#
# 常见的补救办法是 $\sigma(x) = (1 + \tanh(x / 2)) / 2$：不会溢出，也只有一行。**先猜一猜：** 在 $x = -20$ 处（$\sigma = 2 \cdot 10^{-9}$），它有几位数字是对的？
#
# float32 大约有七位有效数字。下图以 float64 为标准，比较两种写法的相对误差。

# %%
x32 = linspace(-25.0, 0.0, 101)
exact = sigmoid(x32.astype("float64")).numpy()


def wrong_digits(y):
    return np.abs(y.numpy() - exact) / exact + 1e-9


pictures.lines(x32, {"(1 + tanh(x/2)) / 2": wrong_digits(0.5 + 0.5 * tanh(0.5 * x32)), "Chain Rule": wrong_digits(sigmoid(x32))},
               log="y", title="Relative error in float32: 1 means no digit is right", x_label="x")  # fmt: skip

# %% [markdown]
# 在那里 tanh 离 −1 太近，$1 + \tanh$ 把有效数字全部抵消了；从 −18 往左，什么也不剩。这要紧吗？一个自信的错误答案，它的交叉熵损失正是这条尾巴的对数（见第 4 本笔记）。
#
# ## 每个激活函数都有自己的理由
#
# 凡是有稳定形式的记录，都写明了理由。下面这些话直接取自引擎：

# %%
for name in ("softplus", "log_sigmoid", "silu", "gelu", "elu", "tanhshrink"):
    print(f"{name:<12} {OPS[name].note.why}")

# %% [markdown]
# 再看其中两个的实际效果。`elu` 在 0 的左边是 $e^x - 1$，`gelu` 是 $x\,\Phi(x)$。两者都会在意想不到的地方抵消。

# %%
tiny, deep = tensor([-1e-6]), tensor([-6.0])
print(f"e^x - 1   at -1e-6: {(exp(tiny) - 1).item():.6e}   elu  {elu(tiny).item():.6e}")
print(f"naive gelu at   -6: {(0.5 * deep * (1 + OPS['erf'](deep * 0.5**0.5))).item():.6e}   gelu {gelu(deep).item():.6e}")

# %% [markdown]
# ## 练习
#
# 1. 在终端里运行 `python -m engine.ops softplus`，会印出完整的记录。哪个恒等式把 $\log(1 + e^x)$ 变成了永不溢出的形式？
# 2. ReLU 在 0 处有一个折角。Chain Rule 在那里给出的导数是多少？用 `x = 0` 问问 `relu`。
# 3. 照书上的样子输入 E13，找一个使它的*值*不是数的 $x$。
#
# <details><summary>答案</summary>
#
# 1. max(x, 0) + log(1 + e^(−|x|))：指数永远不是正数。
# 2. 是 0，与 PyTorch 相同。从 0 到 1 的任何数都说得过去（次梯度）；要紧的是，它写在记录里（`OPS["relu"].note.kinks`），并且有测试。
# 3. x = 100：e^100 溢出，∞ / ∞ 是 NaN。
# </details>
