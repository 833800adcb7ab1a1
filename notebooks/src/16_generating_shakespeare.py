# %% [markdown]
# # 16 · Generating Shakespeare
#
# **The question.** How does a network write?
#
# **The idea.** It doesn't. It is asked, again and again, one question: *given these characters, which one is next?* Its answer is a list of probabilities. One
# character is drawn, appended, and the question is asked anew. Everything else is how good the probabilities are.

# %%
import numpy as np

import pictures
from data.text import Characters
from engine import no_grad, softmax
from engine.random import Generator
from layers.losses import SparseCategoricalCrossentropy
from material import play
from models.gpt import GPT2Config, GPT2LMHeadModel
from optim import AdamW

# %% [markdown]
# ## The text and the network
#
# Characters as numbers; a GPT-2 with two layers that sees 48 characters at a time. In each layer a causal attention (notebook 14) looks back, never forward.

# %%
text = play()
letters = Characters.of(text)
numbers = letters.encode(text)
learn, held_back = np.split(numbers, [int(0.9 * len(numbers))])

CONTEXT = 48
config = GPT2Config(vocab_size=len(letters), n_positions=CONTEXT, n_embd=96, n_layer=2, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
model = GPT2LMHeadModel(config, seed=1)
model.build()
print(f"{model.count_params():,} weights, {len(letters)} different characters")

# %% [markdown]
# ## Before it has learnt anything
#
# **Predict** the loss of the first step. All characters are about equally likely; the loss is the cross-entropy (**E22**), $-\log p$ of
# the right one.

# %%
loss_of = SparseCategoricalCrossentropy(from_logits=True)


def windows(source, size, seed):
    """Some windows, and the same one character on: (N,CONTEXT) twice."""
    starts = np.random.default_rng(seed).integers(0, len(source) - CONTEXT, size)[:, None] + np.arange(CONTEXT + 1)
    return source[starts][:, :-1], source[starts][:, 1:]


def write(prompt, count=220, temperature=0.8, seed=3):
    ids = letters.encode(prompt)[None]
    out = model.generate(ids, count, do_sample=True, temperature=temperature, generator=Generator(seed))
    return letters.decode(out[0])


x, y = windows(learn, 32, 0)
print("loss", loss_of(y, model(x).logits).item(), " log of the number of characters", np.log(len(letters)))
print(write("ROMEO:", 80))

# %% [markdown]
# ## Three hundred steps
#
# **Predict** what it learns first: words? spaces? line breaks? who speaks?

# %%
samples, losses, unseen = {}, [], []
optimizer = AdamW(model.parameters(), lr=2e-3, weight_decay=0.01, global_clipnorm=1.0)
for step in range(301):
    if step in (30, 100, 300):
        samples[step] = write("ROMEO:", 120)
    x, y = windows(learn, 32, step)
    loss = loss_of(y, model(x).logits)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    if step % 20 == 0:
        with no_grad():
            x, y = windows(held_back, 64, 10**6)
            unseen.append(loss_of(y, model(x).logits).item())
left, right = pictures.panels(2, width=4.2, height=3.0)
pictures.lines(None, {"loss": losses}, title="Text it learns from", x_label="step", y_label="nats a character", zoom=(1, 4.5), ax=left)
pictures.lines(range(0, 301, 20), {"loss": unseen}, marker="o", title="Text it never saw", x_label="step", zoom=(1, 4.5), ax=right)

# %%
for step, sample in samples.items():
    print(f"--- after {step} steps\n{sample}\n")

# %% [markdown]
# Spaces and the length of words come first, then frequent pairs of letters, then short words and the shape of a page. Nothing *means* anything yet; a whole run
# (`chainrule train shakespeare-gpt`) takes three minutes and reads better.
#
# ## The probabilities behind the dice
#
# After "O Rom" and "what is th": what does it think is next? **Predict** which of the two it is surer of.

# %%
axes = pictures.panels(2, width=4.0, height=2.6)
for prompt, ax in zip(("O Rom", "what is th"), axes, strict=True):
    with no_grad():
        p = softmax(model(letters.encode(prompt)[None], logits_to_keep=1).logits).numpy()[0, -1]
    likely = np.argsort(-p)[:6]
    pictures.bars({repr(letters.decode([i])): p[i] for i in likely}, title=f"after {prompt!r}", ax=ax)

# %% [markdown]
# About equally of both, and of *e* both times. It knows *the*; that *Rom* is the beginning of a name, and which, it can hardly know yet.
#
# ## Temperature
#
# Divide the scores by a number before the softmax. Below 1 the likely becomes likelier, above 1 all becomes possible.

# %%
for temperature in (0.2, 0.8, 1.5):
    print(f"--- temperature {temperature}\n{write('KING', 150, temperature)}\n")

# %% [markdown]
# ## Exercises
#
# 1. What does a temperature near 0 do, and why is the result so dull?
# 2. `model.generate(..., use_cache=False)` gives the same text. What was cached, and why is it slower without?
# 3. The loss is 2.0 nats. To how many equally likely characters does that correspond?
#
# <details><summary>Answers</summary>
#
# 1. It takes the likeliest character each time, and runs in circles: "the the the".
# 2. The keys and values of earlier characters. Without them the whole window is computed again for each new character.
# 3. e² ≈ 7.4: as if it had to guess among seven.
# </details>
