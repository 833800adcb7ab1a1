# %% [markdown]
# # 12 · Recurrent networks, and gradients that explode
#
# **The question.** A sentence has no fixed length. How can a network with a fixed number of weights read it, and why do such networks
# forget, or blow up?
#
# **The idea.** Use the same weights at every step, and carry a state along. Then the chain rule multiplies by the same matrix at every step,
# too; and a power of a matrix either dies out or explodes. There is hardly anything in between.

# %%
import numpy as np

import engine
import pictures
from engine import matmul, sigmoid, simple_rnn, sum, tanh, tensor
from layers import Dense, SimpleRNN
from layers.initializers import Orthogonal
from material import digits
from models import Sequential
from optim import SGD, clip_grad_norm_

rng = np.random.default_rng(0)

# %% [markdown]
# ## One step: E8 and E9
#
# $$\text{E8}\quad h_t = \sigma(W_h h_{t-1} + W_x x_t + b_h) \qquad \text{E9}\quad y_t = \sigma(W_o h_t + b_o)$$
#
# (The documents' line before E8, $h_t = [h_{t-1}, x_t]$, is not a second definition of $h_t$: it is what goes *in*, both put side by
# side. With one matrix $W = [W_h, W_x]$ for the pair, E8 is a single product.)
#
# The op `simple_rnn` runs all steps in one kernel; its σ is tanh, as in Keras. Here is E8 by hand beside it. (A sample is a row here, not a column as in
# the documents, so the matrices stand on the right, transposed.)

# %%
T, D, H = 5, 3, 4
x = tensor(rng.standard_normal((1, T, D)))  # (N,T,D)
W_x, W_h, b_h = (tensor(0.7 * rng.standard_normal(s)) for s in ((D, H), (H, H), (H,)))
W_o, b_o = tensor(rng.standard_normal((H, 1))), tensor(np.zeros(1))

h, states = tensor(np.zeros((1, H))), []
for t in range(T):
    h = tanh(matmul(h, W_h) + matmul(x[:, t], W_x) + b_h)  # E8: (1,H) @ (H,H) + (1,D) @ (D,H) + (H,) -> (1,H)
    states.append(h)
y = sigmoid(matmul(h, W_o) + b_o)  # E9: (1,H) @ (H,1) -> (1,1)

in_one = simple_rnn(x, W_x, W_h, b_h)  # (1,T,D) -> (1,T,H)
print("largest difference", np.abs(engine.stack(states, axis=1).numpy() - in_one.numpy()).max(), "  y_T =", y.item())

# %% [markdown]
# ## How far back does the gradient reach?
#
# Sixty steps. We ask: how much does the *last* state depend on the state $k$ steps before it? Each step back multiplies by
# $W_h^\top$ and by $\tanh' \le 1$. We take $W_h$ orthogonal (it keeps lengths) times a gain.
#
# **Predict** for gains of 0.8, 1.0 and 1.2 what is left after sixty steps. ($0.8^{60} \approx 10^{-6}$, $1.2^{60} \approx 6 \cdot 10^4$.)


# %%
def reach(gain, steps=60, H=32):
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((H, H)))[0]
    w_h, h = tensor(gain * turn), tensor(0.01 * rng.standard_normal((1, H)), requires_grad=True)
    chain = [h]
    for _ in range(steps):
        chain.append(tanh(matmul(chain[-1], w_h)))  # E8 without input
    ybar = tensor(rng.standard_normal((1, H)))
    gradients = engine.grad(sum(chain[-1] * ybar), chain)
    return [float(np.linalg.norm(g.numpy())) for g in gradients][::-1]


sizes = {f"gain {g}": reach(g) for g in (0.8, 0.95, 1.0, 1.05, 1.2)}
pictures.lines(range(61), sizes, log="y", title="How much the last state depends on an earlier one", x_label="steps back", y_label="gradient")

# %% [markdown]
# Straight lines: powers. At 1.2 the line bends only because tanh saturates (the state has grown as well). Long memory needs a gain very close
# to 1, and training moves it away.
#
# ## A digit, read row by row
#
# 28 steps of 28 pixels. All networks start with an orthogonal $W_h$ (gain 1). Two learn with a rate of 0.1 and 0.5. The others do the same with *clipping*:
# if the gradient is longer than 1, it is cut to length 1, its direction kept. **Predict** the four curves.

# %%
images, labels, images_test, labels_test = digits()
images, images_test = images[..., 0], images_test[..., 0]  # (N,28,28): 28 steps of 28 numbers


def train(rate, clip):
    model = Sequential([SimpleRNN(64, recurrent_initializer=Orthogonal()), Dense(10)], seed=1)
    model.build((None, 28, 28))
    optimizer, losses, lengths = SGD(model.parameters(), lr=rate), [], []
    for step in range(200):
        rows = np.random.default_rng(step).integers(0, len(images), 64)
        loss = engine.cross_entropy(tensor(labels[rows]), model(tensor(images[rows])))
        optimizer.zero_grad()
        loss.backward()
        lengths.append(float(clip_grad_norm_(model.parameters(), clip)))
        optimizer.step()
        losses.append(loss.item())
    said = model(tensor(images_test)).numpy().argmax(1)
    return losses, lengths, 100 * (said == labels_test).mean()


runs = {"0.1": train(0.1, 1e9), "0.5": train(0.5, 1e9), ".0.1, clipped": train(0.1, 1.0), ".0.5, clipped": train(0.5, 1.0)}
left, right = pictures.panels(2, width=4.4, height=3.2)
pictures.lines(None, {n: losses for n, (losses, _, _) in runs.items()}, title="Loss, by rate", x_label="step", zoom=(0, 10), ax=left)
pictures.lines(None, {n: lengths for n, (_, lengths, _) in runs.items()}, log="y", title="Length of the gradient", x_label="step", ax=right)
for name, (*_, accuracy) in runs.items():
    print(f"rate {name.lstrip('.'):<14} {accuracy:.1f} % of the test digits")

# %% [markdown]
# The gradient's length is usually 3 or so; now and then it is ten times that. Without clipping one such step undoes a hundred good ones (the peaks of the
# loss). Clipping does not make the gradient better, it only makes the accident harmless. The other remedy is to change the step
# itself so that the state can pass *unchanged*: that is the LSTM of the next notebook.
#
# ## Exercises
#
# 1. Start with the identity matrix and ReLU instead of tanh. What is the gain now?
# 2. Read the digit column by column (`images.transpose(0, 2, 1)`). Should it matter?
# 3. Check the derivative of all steps at once: `engine.check_op("simple_rnn")`.
#
# <details><summary>Answers</summary>
#
# 1. Exactly 1 for neurons that are on, 0 for the others: such networks remember well at the start of training [Le, Jaitly and Hinton 2015].
# 2. Little: each order has its own difficulties, but no step is further away than 28.
# 3. First and second order agree; for the second the engine replays the loop of ops.
# </details>
