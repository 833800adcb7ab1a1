"""Data: sets with checked downloads, batches in a seeded order, transforms of images.

| look for | in |
| --- | --- |
| MNIST | `data.mnist` |
| points in the plane, no download | `data.synthetic` |
| shuffled, prefetched, resumable batches | `data.Batches` |
| flips, shifts, rotations, crops | `data.transforms` |
| one-hot labels, NaN check | `data.utils` |
| where files come from | `data.files`, `data.idx` |
"""

from data import files, idx, mnist, synthetic, transforms, utils
from data.batches import Batches
from data.utils import check_finite, normalize, to_categorical

__all__ = [
    "Batches",
    "check_finite",
    "files",
    "idx",
    "mnist",
    "normalize",
    "synthetic",
    "to_categorical",
    "transforms",
    "utils",
]
