# %% [markdown]
# # 15 · BERT, fine-tuned
#
# **The question.** You have a few hundred labelled sentences. That is far too few to learn English from. What can you do?
#
# **The idea.** Take a network that has read a lot already, put a new output layer on top, and train *everything* a little further, at a small rate: fine-tuning. The
# same network, started from random values, is the control.

# %%
import numpy as np

import pictures
from engine import no_grad
from material import phrases
from models import pretrained
from models.bert import BertForSequenceClassification
from optim import Adam

# %% [markdown]
# ## The data and the two networks
#
# The documents' fourth listing fine-tunes BERT with Adam and a rate of 2e-5. (As printed it can't run: it iterates over a file name, and its
# "accuracy" never looks at the labels.) We take MiniLM, a small BERT, and phrases from film reviews.
#
# The loss is the cross-entropy of **E22**, from the logits.

# %%
NAME = "sentence-transformers/all-MiniLM-L6-v2"
tokenizer = pretrained.tokenizer(NAME)
texts, y, texts_test, y_test = phrases()
rng = np.random.default_rng(0)
rows = [i for i in rng.permutation(len(texts)) if len(texts[i]) < 120][:480]
texts, y = [texts[i] for i in rows], y[rows]
texts_test, y_test = texts_test[:100], y_test[:100]

fine_tuned = BertForSequenceClassification.from_pretrained(NAME, num_labels=2, seed=1)
from_nothing = BertForSequenceClassification(fine_tuned.config, seed=1)
from_nothing.build()
print(f"{fine_tuned.count_params():,} weights;", f"{len(texts)} phrases, such as:")
for i in range(4):
    print("  ", "+" if y[i] else "-", texts[i])

# %% [markdown]
# ## Train both
#
# **Predict:** how many percent will each get right on 100 unseen sentences, after 40 steps of 12 phrases? Chance is 50.


# %%
def accuracy(model):
    model.eval()
    right = 0
    with no_grad():
        for start in range(0, len(texts_test), 50):
            tokens = tokenizer(texts_test[start : start + 50], max_length=40)
            right += (model(**tokens).logits.numpy().argmax(1) == y_test[start : start + 50]).sum()
    return 100 * right / len(texts_test)


def fine_tune(model, rate, steps=40, size=12):
    optimizer, losses, scores = Adam(model.parameters(), lr=rate), [], []
    for step in range(steps):
        if step % 20 == 0:
            scores.append(accuracy(model))
        some = np.arange(step * size, (step + 1) * size) % len(texts)
        tokens = tokenizer([texts[i] for i in some], max_length=64)
        model.train()
        loss = model(**tokens, labels=y[some]).loss  # E22
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [*scores, accuracy(model)]


tuned = fine_tune(fine_tuned, 1e-4)

# %%
fresh = fine_tune(from_nothing, 1e-4)
left, right = pictures.panels(2, width=4.2, height=3.0)
pictures.lines(None, {"fine-tuned": tuned[0], "from nothing": fresh[0]}, title="Loss", x_label="step", ax=left)
pictures.lines(range(0, 41, 20), {"fine-tuned": tuned[1], "from nothing": fresh[1]}, marker="o", title="Right, of unseen sentences", x_label="step",
               y_label="%", zoom=(40, 100), ax=right)  # fmt: skip

# %% [markdown]
# The control stays near chance, where the fine-tuned network is right on three sentences of four: what it learnt in 40 steps, it learnt *about* the English
# that it brought along.
#
# (With 40 steps we allow ourselves a rate of 1e-4. `chainrule train sst2-bert` is the whole run, at the documents' rate.)
#
# ## Ask it
#
# **Predict** each of these before you run the cell.

# %%
questions = ["a wonderful film", "not a wonderful film", "it could have been much worse", "i have seen paint dry with more suspense",
             "the plot makes no sense and i loved every minute"]  # fmt: skip
fine_tuned.eval()
logits = fine_tuned(**tokenizer(questions)).logits.detach().numpy()
p = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
pictures.bars(dict(zip(questions, p, strict=True)), title="Probability that it is praise")

# %% [markdown]
# *Not* counts for something now. A compliment that is made of bad words, and a sentence that turns around in its second half, are still beyond it.
#
# ## What changed?
#
# Fine-tuning moves every weight a little. Where most? For each layer, how far its weights moved, in percent of their size:

# %%
before = BertForSequenceClassification.from_pretrained(NAME, num_labels=2, seed=1).state_dict()
after = fine_tuned.state_dict()


def moved(prefix):
    keys = [k for k in after if k.startswith(prefix) and k.endswith(("kernel", "embeddings"))]
    far = np.sqrt(np.sum([np.square(after[k] - before[k]).sum() for k in keys]))
    return 100 * far / np.sqrt(np.sum([np.square(before[k]).sum() for k in keys]))


places = {"words": "embeddings.word", **{f"layer {n + 1}": f"encoder.{n}." for n in range(6)}, "output": "classifier"}
pictures.bars({name: moved(prefix) for name, prefix in places.items()}, unit=" %", title="How far the weights moved")

# %% [markdown]
# The new output layer moved most: it knew nothing.
#
# ## Exercises
#
# 1. Freeze the encoder (`for block in model.encoder: block.freeze()`) and train the output only. How much worse, how much faster?
# 2. Try the rate 1e-2. Why does fine-tuning need a small one?
# 3. The words moved far less than the layers. Give a reason.
#
# <details><summary>Answers</summary>
#
# 1. Noticeably worse with MiniLM: it was trained for topics, not for praise. Each step takes about a third of the time.
# 2. It forgets what it knew within a few steps, and ends like the network from nothing.
# 3. A batch contains only a hundred of the 30,000 words: only these get a gradient.
# </details>
