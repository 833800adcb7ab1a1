"""Writes the frozen reference vectors, tests/vectors/*.json. Nothing in the project imports it (README.md: versions).

    python tests/vectors/make_vectors.py            # rewrites every file
    python tests/vectors/make_vectors.py norm loss  # these families only
"""

import sys
from pathlib import Path

import network_recipes as network
import structure_recipes as structure
import torch
from activation_recipes import ACTIVATION
from elementwise_recipes import ELEMENTWISE
from keras_recipes import keras_losses, keras_optim, keras_windows
from optim_recipes import optim
from recipe import write
from recurrent_recipes import recurrent
from scalar_records import family, unlike_the_others

torch.set_num_threads(1)
choose, gate = unlike_the_others()

FAMILIES = {
    "elementwise": lambda: family(ELEMENTWISE, signed_zeros=True) + choose,
    "activation": lambda: family(ACTIVATION, signed_zeros=False) + gate,
    "reduce": structure.reduce,
    "shape": structure.shape,
    "index": structure.index,
    "matmul": structure.matmul,
    "softmax": network.softmax,
    "conv": network.conv,
    "pool": network.pool,
    "norm": network.norm,
    "recurrent": recurrent,
    "loss": network.loss,
    "optim": lambda: optim() + keras_optim(),
    "keras": lambda: keras_losses() + keras_windows(),
}

if __name__ == "__main__":
    for name in sys.argv[1:] or FAMILIES:
        records = FAMILIES[name]()
        path = Path(__file__).with_name(f"{name}.json")
        write(path, records)
        ops = {r.get("op") or r["optimizer"] for r in records}
        print(f"{path.name:18} {len(records):4} records {len(ops):4} ops {path.stat().st_size / 1000:7.1f} kB")
