"""Whole networks: fit, evaluate, save, and the zoo.

| look for | in |
| --- | --- |
| layers in a row | `models.Sequential` |
| any graph of layers, or a subclass | `models.Model` |
| fit, evaluate, predict | `models.training` |
| early stopping, checkpoints, averaged weights | `models.callbacks` |
| accuracy, precision, AUC ... | `models.metrics` |
| files | `models.saving` |
| ready-made networks | `models.zoo` |
| networks with trained weights | `models.bert`, `models.gpt`, `models.llama`; their folders: `models.pretrained` |
| writing texts | `models.generate` |
| the command `chainrule` | `models.cli` |
"""

from models import callbacks as callbacks, metrics as metrics
from models.callbacks import Callback as Callback
from models.model import Model as Model
from models.saving import load_model as load_model
from models.sequential import Sequential as Sequential
