# %% [markdown]
# # 14 · Attention maps on a sentence
#
# **The question.** A recurrent network hands a summary from word to word. Why not let every word look at every other one directly?
#
# **The idea.** Each word asks a question (its *query*), each word offers a label (its *key*) and a content (its *value*). The answer is a
# weighted mean of the contents; a softmax of question times label gives the weights. These weights can be drawn.

# %%
import numpy as np

import pictures
from engine import OPS, attention, attention_weights, tensor
from models import pretrained
from models.bert import BertModel

# %% [markdown]
# ## The equation
#
# $$\text{attention}(q, k, v) = \text{softmax}\!\left(\frac{q k^\top}{\sqrt d}\right) v$$

# %%
pictures.equations(OPS["attention_weights"].latex)
q = tensor([[[[4.0, 0.0]], [[0.0, 4.0]], [[0.0, 0.0]]]])  # (N,T,h,d): three words, one head
k = tensor([[[[4.0, 0.0]], [[0.0, 4.0]], [[0.0, 4.0]]]])
v = tensor([[[[1.0]], [[10.0]], [[20.0]]]])

# %% [markdown]
# **Predict** the three answers. The first word asks for direction 1, which only the first word offers. The second asks for direction 2, which two words
# offer. The third asks nothing in particular.

# %%
print("weights\n", attention_weights(q, k).numpy()[0, 0].round(3))
print("answers", attention(q, k, v).numpy().ravel().round(2))

# %% [markdown]
# No question means a plain mean. Note also what does *not* occur in the equation: the order of the words. A transformer adds it to the word vectors
# (position embeddings).
#
# ## A trained network
#
# MiniLM: six layers with twelve heads each, trained by others on a billion pairs of sentences. Chain Rule reads its weights from their
# original files. We walk through the layers and ask each for its weights.

# %%
NAME = "sentence-transformers/all-MiniLM-L6-v2"
model, tokenizer = BertModel.from_pretrained(NAME), pretrained.tokenizer(NAME)
model.eval()


def maps(sentence):
    """The words, and the weights of all heads (layers, heads, T, T)."""
    ids = tokenizer.encode(sentence)
    x, weights = model.embeddings(tensor([ids])), []
    for block in model.encoder:
        _, p = block.attention(x, return_attention_scores=True)  # (1,h,T,T)
        weights.append(p.numpy()[0])
        x = block(x)
    return [tokenizer.inner.id_to_token(i) for i in ids], np.array(weights)


spoken, p = maps("The cat did not chase the mouse because it was tired.")
print(p.shape, "every row sums to", p.sum(-1).min().round(5), "...", p.sum(-1).max().round(5))

# %% [markdown]
# ## What do the heads do?
#
# Nobody told them. Still, some have jobs with a name. For each of the 72 heads we measure how much it looks at the word before, the word after, the
# mark `[CLS]` at the beginning, and draw the purest one of each kind. **Predict** what their maps look like.

# %%
T = len(spoken)
jobs = {"the word before": np.eye(T, k=-1), "the word after": np.eye(T, k=1),
        "the first mark": np.tile(np.arange(T) == 0, (T, 1))}  # fmt: skip
axes = pictures.panels(3, width=3.6, height=3.6)
for (job, pattern), ax in zip(jobs.items(), axes, strict=True):
    purity = (p * pattern).sum((-1, -2)) / pattern.sum()
    layer, head = np.unravel_index(purity.argmax(), purity.shape)
    first = ax is axes[0]
    pictures.heat(p[layer, head], rows=spoken if first else None, columns=spoken, limits=(0, 1), bar=False, ax=ax,
                  title=f"{job}\nlayer {layer + 1}, head {head + 1}: {100 * purity.max():.0f} %")  # fmt: skip

# %% [markdown]
# ## Who is "it"?
#
# In our sentence *it* is the cat, because it was tired. Had it been *fast*, it would be the mouse. Here is where *it* looks, averaged over all heads of each layer.

# %%
place = spoken.index("it")
pictures.heat(p[:, :, place].mean(1)[:, 1:-1], rows=[f"layer {n}" for n in range(1, 7)], columns=spoken[1:-1], title='Where "it" looks')

# %% [markdown]
# The last layer looks at both animals, and at the mouse rather more: this network was trained to compare sentences, and need not know who was tired.
#
# Be careful with such pictures. Attention says where a head *looks*, not what it makes of it, and a mean over heads hides that they disagree. A
# large weight on a word is no proof that the word mattered: for that, change the word and see what happens (exercise 2).
#
# ## What it is good for
#
# The means of the last layer's vectors are a fingerprint of a sentence's meaning. Four sentences, two topics, hardly a word in common:

# %%
sentences = ["The cat was too tired to hunt.", "A sleepy kitten ignored the mouse.", "Interest rates will rise in spring.", "The central bank makes loans dearer."]
tokens = tokenizer(sentences)
states = model(tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state.numpy()
real = tokens["attention_mask"][..., None]
means = (states * real).sum(1) / real.sum(1)
means /= np.linalg.norm(means, axis=1, keepdims=True)
pictures.heat(means @ means.T, rows=sentences, columns=list("1234"), limits=(0, 1), title="Cosine of their fingerprints")

# %% [markdown]
# ## Exercises
#
# 1. Divide by $d$ instead of $\sqrt d$ (`scale=`). What happens to the weights when vectors are long?
# 2. Replace *tired* by *fast*. Does *it* look elsewhere? In which layers?
# 3. `attention(..., causal=True)` hides the future. Which entries of the map are 0 then, and which networks need that?
#
# <details><summary>Answers</summary>
#
# 1. A dot product of d random terms has size √d. Divided by d it is nearly 0, and all weights are nearly equal.
# 2. A little, in the later layers. The model was trained to compare whole sentences, not to resolve pronouns.
# 3. All above the diagonal. Those that write: when a word is predicted, it must not be seen (notebook 16).
# </details>
