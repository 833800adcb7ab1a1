# %% [markdown]
# # 13 · The gates of an LSTM at work on a review
#
# **The question.** A simple recurrent network overwrites its state at every step. How can a network *decide* what to keep?
#
# **The idea.** Give it a second state, the cell, which passes from step to step unchanged unless a gate says otherwise. The gates are small
# neurons with a sigmoid: 0 is shut, 1 is open. Afterwards we can look at them, word by word.

# %%
import numpy as np

import pictures
from data import TextVectorization, pad_sequences
from engine import matmul, sigmoid, split, tanh, tensor
from layers import LSTM, Dense, Embedding
from material import phrases
from models import Sequential

# %% [markdown]
# ## One step
#
# With $(i, f, g, o) = x_t W + h_{t-1} U + b$, cut into four equal parts,
#
# $$c_t = \sigma(f) \odot c_{t-1} + \sigma(i) \odot \tanh(g), \qquad h_t = \sigma(o) \odot \tanh(c_t)$$
#
# Forget a little, write a little, reveal a little. Compare with **E8**: there the new state is a function of the whole old one; here, with $\sigma(f) = 1$
# and $\sigma(i) = 0$, the cell is copied, and its gradient is exactly 1, for any number of steps.
#
# ## Train one
#
# The documents' third listing: word vectors, LSTM, one neuron with a sigmoid, binary cross-entropy (**E21**). Smaller here, on short phrases from film reviews, so that it takes half a minute.

# %%
texts, y, texts_test, y_test = phrases()
texts, y = texts[:12_000], y[:12_000]  # enough for half a minute
words = TextVectorization(max_tokens=5_000)
words.adapt(texts)
x, x_test = (pad_sequences([row[row != 0] for row in words(part)], maxlen=24) for part in (texts, texts_test))

model = Sequential([Embedding(5_000, 32, mask_zero=True), LSTM(32), Dense(1, activation="sigmoid")], seed=1)
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
history = model.fit(x, y, batch_size=64, epochs=3, verbose=0).history
print("accuracy on what it learnt from", [f"{a:.3f}" for a in history["accuracy"]])
print("on unseen sentences             ", f"{model.evaluate(x_test, y_test, verbose=0)[1]:.3f}")

# %% [markdown]
# ## Look inside
#
# We run the trained layer step by step, with the equations above, and keep the gates. `split` cuts into the four parts. The last line checks that this is
# what the layer computes.


# %%
def read(sentence):
    """Gates and states for each word of a sentence, and what the network would say after each."""
    ids = [n for n in words([sentence])[0] if n]
    embedding, lstm, dense = model.layers
    h = c = tensor(np.zeros((1, 32), np.float32))
    seen = {"forget": [], "input": [], "output": [], "cell": [], "says": []}
    for vector in embedding(tensor([ids]))[0].detach():
        z = matmul(vector[None], lstm.kernel) + matmul(h, lstm.recurrent_kernel) + lstm.bias  # (1,D) @ (D,4H) + (1,H) @ (H,4H)
        i, f, g, o = split(z.detach(), 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        for name, value in zip(seen, (sigmoid(f), sigmoid(i), sigmoid(o), c, dense(h).detach()), strict=True):
            seen[name].append(value.numpy()[0])
    told = model(tensor(np.array([ids]))).item()
    assert abs(told - seen["says"][-1][0]) < 1e-4
    return [words.get_vocabulary()[n] for n in ids], {name: np.array(values) for name, values in seen.items()}


# %% [markdown]
# **Predict:** in the sentence below, at which word will the network change its mind? At which words will the gates open?

# %%
sentence = "the first half is dull but the ending is a brilliant and moving surprise"
spoken, seen = read(sentence)
pictures.lines(spoken, {"probability that it is praise": seen["says"][:, 0]}, marker="o", title="What the network says after each word", zoom=(0, 1), slanted=True)

# %%
order = np.argsort(-np.abs(seen["cell"][-1]))  # the cells that have the most to say at the end come first
left, right = pictures.panels(2, width=4.9, height=4.2)
pictures.heat(seen["cell"][:, order].T, columns=spoken, signed=True, title="The cells", y_label="cell", ax=left)
pictures.heat(seen["forget"][:, order].T, columns=spoken, limits=(0, 1), title="The forget gates (dark: keep)", y_label="cell", ax=right)

# %% [markdown]
# Follow a row from left to right: many cells wait at nearly 0 until "dull" moves them, and then *hold* their colour, even deepen it, over five words that say nothing,
# until "brilliant" begins to wipe it out. That is the memory that the simple network lacked. And the gates? Averaged over all cells:

# %%
pictures.lines(spoken, {name: seen[name].mean(1) for name in ("forget", "input", "output")}, marker="o",
               title="Mean opening of the gates", zoom=(0, 1), slanted=True)  # fmt: skip

# %% [markdown]
# The means move little. The forget gates stay near σ(1) = 0.73, where Keras starts them; they close a little at "dull" and open at "brilliant" and "moving".
# At 0.75, five words would leave a quarter of what was written. That the colours above do not fade means that each step writes more of the same:
# what a step writes depends on the state $h$, which holds the opinion so far.
#
# ## It can be fooled
#
# **Predict** what the network says of these, then look. What does it *not* understand?

# %%
for s in ("a good film", "not a good film", "not bad at all", "i expected a masterpiece and got a film", "brilliant , brilliant , if you are asleep"):
    print(f"{read(s)[1]['says'][-1][0]:.2f}  {s}")

# %% [markdown]
# It weighs words. *Not* takes a little away from *good*, but *not bad* is two bad words, and nothing that turns a sentence around reaches it.
#
# ## Exercises
#
# 1. Keras starts the bias of the forget gate with 1 (`unit_forget_bias`). Why is that a good idea?
# 2. How many weights has an LSTM of 32 cells on vectors of 32 numbers? How many times as many as the simple network of E8?
# 3. Put `Bidirectional` around the LSTM. What does the first word's output know now?
#
# <details><summary>Answers</summary>
#
# 1. σ(1) is 0.73: at first the cell forgets slowly, so gradients reach far back before the network has learnt anything.
# 2. 4 (32 · 32 + 32 · 32 + 32) = 8,320: four times as many.
# 3. The whole sentence: the second LSTM has read it from the end.
# </details>
