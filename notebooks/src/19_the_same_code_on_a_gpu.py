# %% [markdown]
# # 19 · The same code on a GPU
#
# **The question.** A GPU has its own memory, its own arrays, its own language. How much of a program must change to use one?
#
# **The idea.** One word: `device`. An op's record says *what* is computed; each device has a backend that says *how*. From one formula come a line of
# NumPy, vector instructions for the CPU, and CUDA C for the GPU.
#
# **No GPU?** The notebook runs all the same: everything is computed on the CPU, and the cells say so.

# %%
import timeit

import numpy as np

import engine
import pictures
from engine import OPS, cross_entropy, matmul, randn, relu, tensor
from engine.errors import DeviceError
from engine.kernels.cuda import elementwise as cuda
from engine.random import Generator
from layers import Conv2D, Dense, Flatten, MaxPooling2D
from material import digits
from models import Sequential
from optim import Adam

# %% [markdown]
# ## Is there one?
#
# Asking costs nothing and breaks nothing. Where there is none, the answer is one line that ends in the remedy.

# %%
try:
    engine.get_backend("cuda")
    device = "cuda"
    print("computing on the GPU")
except DeviceError as problem:
    device = "cpu"
    print("computing on the CPU:", problem)

# %% [markdown]
# ## One formula, three languages
#
# Here is the sigmoid (**E12**) as its record has it: for people, and as it is handed to a GPU's compiler. Nobody wrote the CUDA text.

# %%
sigmoid = OPS["sigmoid"]
print(sigmoid.latex, "\n")
text = cuda.source(sigmoid.stable, cuda.Types(("float32",), "float32", ("float32",)))
print("\n".join(line for line in text.splitlines() if "exp" in line and "x_x" in line))

# %% [markdown]
# ## The same code
#
# **Predict:** which of these lines has to know where it runs?


# %%
def work(device):
    x = randn(64, 256, generator=Generator(1)).to(device)
    w = randn(256, 10, generator=Generator(2)).to(device).requires_grad_()
    loss = cross_entropy(tensor(np.arange(64) % 10, device=device), relu(matmul(x, w)))  # (64,256) @ (256,10) -> (64,10) -> ()
    loss.backward()
    return loss.item(), w.grad.to("cpu").numpy()


here, there = work("cpu"), work(device)
print("loss", here[0], there[0], "  largest difference of the gradients", np.abs(here[1] - there[1]).max())

# %% [markdown]
# Only those that *make* data. All else follows its inputs. Mixing devices is an error, never a silent copy: copies are what makes programs
# slow.
#
# Random bits are equal on both: element $i$ is a function of (seed, stream, $i$). So an experiment can be started on one
# machine and repeated on the other.

# %%
bits = [engine.get_backend(d).random_bits(7, 0, 0, 4) for d in ("cpu", device)]
print([engine.get_backend(d).to_numpy(b).tolist() for d, b in zip(("cpu", device), bits, strict=True)])

# %% [markdown]
# ## A network
#
# `model.to(device)` moves the weights, and `fit` moves each batch to where they are.

# %%
x, y, x_test, y_test = digits()
model = Sequential([Conv2D(16, 3, activation="relu", input_shape=(28, 28, 1)), MaxPooling2D(2), Flatten(), Dense(10, activation="softmax")], seed=1)
model.to(device)
model.compile(Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x, y, batch_size=64, epochs=4, validation_data=(x_test, y_test), verbose=0).history
pictures.lines(None, {"learnt from": history["accuracy"], "unseen": history["val_accuracy"]}, marker="o", title=f"Accuracy, trained on {device}", x_label="epoch")

# %% [markdown]
# ## When is a GPU worth it?
#
# It has thousands of slow arithmetic units and a far memory. Starting any work on it costs some ten microseconds. **Predict** where the curves of small
# and large matrices cross, if you have one. (Its answers come later than the call returns: a fair timing waits with `synchronize`.)

# %%
def milliseconds(n, where):
    a, b, backend = randn((n, n)).to(where), randn((n, n)).to(where), engine.get_backend(where)

    def once():
        matmul(a, b)
        backend.synchronize()

    once()
    return 1000 * min(timeit.repeat(once, number=1, repeat=5))


sizes = [32, 64, 128, 256, 512, 1024]
times = {where: [milliseconds(n, where) for n in sizes] for where in dict.fromkeys(("cpu", device))}
pictures.lines(sizes, times, log="xy", marker="o", title="Product of two n × n matrices", x_label="n", y_label="ms")

# %% [markdown]
# ## Exercises
#
# 1. On a GPU: move one tensor only and multiply. Read the error.
# 2. A kernel of your own (notebook 18) has a CUDA twin. Where does its file have to lie, and what calls it?
# 3. With a GPU, the gradients above differ in the last digits between the devices, though the random bits do not. Why?
#
# <details><summary>Answers</summary>
#
# 1. It names the op, both devices, and the `.to(...)` that mends it.
# 2. In `engine/kernels/cuda/`, under the name of the op's file; the backend finds it by that name (`backend.kernel(module, name)`).
# 3. Sums are added in another order, and floating-point addition is not associative. Integer arithmetic has no rounding.
# </details>
