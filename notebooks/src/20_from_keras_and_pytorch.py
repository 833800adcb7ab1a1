# %% [markdown]
# # 20 · From Keras and PyTorch to Chain Rule
#
# **The question.** You have programs already. What must be changed?
#
# **The idea.** Names are a common good. Chain Rule has no words of its own where the field has agreed on some: array functions are the Python
# array API's, layers and training are Keras's, differentiation is PyTorch's.

# %%
import numpy as np

import engine
import pictures
from material import digits

images, labels, images_test, labels_test = digits()

# %% [markdown]
# ## A Keras listing
#
# The documents' second listing, a convolutional network for MNIST. **Predict** which lines have to be changed.
#
# ```python
# from keras.models import Sequential                                      # from models
# from keras.layers import Conv2D, MaxPooling2D, Flatten, Dense            # from layers
# from keras.optimizers import Adam                                        # from optim
# from keras.utils import to_categorical                                   # from data
# ```
#
# The imports, and nothing below them:

# %%
from data.utils import to_categorical
from layers import Conv2D, Dense, Flatten, MaxPooling2D
from models import Sequential
from optim import Adam

# the listing itself, word for word
model = Sequential()
model.add(Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Flatten())
model.add(Dense(128, activation="relu"))
model.add(Dense(10, activation="softmax"))

model.compile(optimizer=Adam(), loss="categorical_crossentropy", metrics=["accuracy"])

history = model.fit(images, to_categorical(labels, 10), batch_size=128, epochs=4, verbose=0,
                    validation_data=(images_test, to_categorical(labels_test, 10)))  # fmt: skip
score = model.evaluate(images_test, to_categorical(labels_test, 10), verbose=0)
print("Test loss:", score[0])
print("Test accuracy:", score[1])

# %% [markdown]
# (4,000 digits for learning, four epochs: the whole set is `chainrule train mnist-cnn-small`.) The model tells what it is made of:

# %%
model.summary()

# %% [markdown]
# ## A PyTorch loop
#
# The same objects, driven by hand. Here is the loop that every PyTorch program has. **Predict:** what is different?

# %%
from layers.losses import SparseCategoricalCrossentropy

model = Sequential([Conv2D(32, 3, activation="relu"), MaxPooling2D(2), Flatten(), Dense(128, activation="relu"), Dense(10)], seed=1)
model.build((None, 28, 28, 1))
criterion = SparseCategoricalCrossentropy(from_logits=True)
optimizer = Adam(model.parameters(), lr=1e-3)

by_hand = []
for epoch in range(4):
    model.train()
    order = np.random.default_rng(epoch).permutation(len(images))
    for rows in np.split(order, range(128, len(order), 128)):
        loss = criterion(labels[rows], model(engine.tensor(images[rows])))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with engine.no_grad():
        said = model(engine.tensor(images_test)).numpy().argmax(1)
    by_hand.append((said == labels_test).mean())

pictures.lines(None, {"fit (Keras's way)": history.history["val_accuracy"], "a loop (PyTorch's way)": by_hand}, marker="o",
               title="The same network, both ways", x_label="epoch", y_label="accuracy")  # fmt: skip

# %% [markdown]
# Three things: images are channels-last (N, H, W, C), as in Keras; a loss takes the truth first; a layer learns its input's size when it is built, so `Dense(10)` does
# not ask for it.
#
# ## Tensors
#
# | NumPy, array API | PyTorch | here |
# |---|---|---|
# | `np.sum(x, axis=0, keepdims=True)` | `x.sum(dim=0, keepdim=True)` | `x.sum(axis=0, keepdims=True)` |
# | `np.transpose(x, (0, 2, 1))` | `x.permute(0, 2, 1)` | `permute_dims(x, axes=(0, 2, 1))` |
# | `x.astype("float64")` | `x.double()` | `x.astype("float64")` |
# | | `x.requires_grad_()`, `x.grad`, `x.detach()` | the same |
# | | `torch.autograd.grad(y, x)` | `engine.grad(y, x)` |
# | | `torch.func.vjp`, `jvp`, `hessian` | `engine.vjp`, `jvp`, `hessian` |
# | `x += 1` changes `x` | `x += 1` changes `x` | `x += 1` makes a new `x` |
#
# The last row matters: nothing that a tape has seen is changed behind its back. Only `x[i] = v` changes a tensor, and that is recorded.

# %%
x = engine.tensor([1.0, 2.0, 3.0], requires_grad=True)
y = x * 1.0
y[1] = 10.0  # recorded: the gradient of what stood there is cut off
(y * y).sum().backward()
x.grad

# %% [markdown]
# ## Weights
#
# A model that somebody trained with Hugging Face's library is read from its folder. One table per model maps foreign names, and says what is transposed.

# %%
from models.bert import BertConfig, BertModel

small = BertModel(BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16))
for ours, theirs in list(small.places())[:6]:
    print(f"{ours:<28} {theirs}")

# %% [markdown]
# ## What you get besides
#
# Everything says what it is and whether it is right:

# %%
print(engine.OPS["gelu"].latex)
print(engine.check_op("gelu", order=1))
try:
    engine.matmul(engine.ones((3, 4)), engine.ones((5, 6)))
except engine.ShapeError as problem:
    print("ShapeError:", problem)

# %% [markdown]
# ## Exercises
#
# 1. The listing as the documents print it has two mistakes that no library forgives. Which? (It never imports two names.)
# 2. Give the loop a batch that is channels-first. What does the error say?
# 3. Save the model (`model.save("digits.safetensors")`), load it (`models.load_model`), compare the predictions.
#
# <details><summary>Answers</summary>
#
# 1. `mnist` and `keras` are used and never imported.
# 2. The first layer was built for one channel and names both numbers, and that images are channels-last.
# 3. They are equal to the last bit. The file holds numbers, and words that say what they are: loading it can't run anything.
# </details>
