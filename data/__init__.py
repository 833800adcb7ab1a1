"""Data: sets with checked downloads, batches in a seeded order, transforms of images, texts as numbers.

| look for | in |
| --- | --- |
| MNIST | `data.mnist` |
| film reviews | `data.imdb`, `data.sst2`, `data.mr` |
| plays, character by character | `data.tinyshakespeare` |
| points in the plane, no download | `data.synthetic` |
| shuffled, prefetched, resumable batches | `data.Batches` |
| batches of like length, padding | `data.BucketedBatches`, `data.pad_sequences` |
| words, characters, subwords as numbers | `data.text`, `data.Tokenizer` |
| flips, shifts, rotations, crops | `data.transforms` |
| one-hot labels, NaN check | `data.utils` |
| where files come from | `data.files`, `data.idx`, `data.sources`, `data.archives` |
"""

from data import archives, files, idx, imdb, mnist, mr, sst2, synthetic, tinyshakespeare, transforms, utils
from data.batches import Batches
from data.sequences import BucketedBatches, pad_sequences
from data.text import TextVectorization
from data.tokenizer import Tokenizer
from data.utils import check_finite, normalize, to_categorical

__all__ = [
    "Batches",
    "BucketedBatches",
    "TextVectorization",
    "Tokenizer",
    "archives",
    "check_finite",
    "files",
    "idx",
    "imdb",
    "mnist",
    "mr",
    "normalize",
    "pad_sequences",
    "sst2",
    "synthetic",
    "tinyshakespeare",
    "to_categorical",
    "transforms",
    "utils",
]
