"""How the text programs are trained, and what a run leaves behind.

| program | data | network | a step is |
| --- | --- | --- | --- |
| imdb-lstm | reviews, their last 400 words | listing L3: two LSTMs | `fit`'s |
| imdb-rnn | their last 200 words | one SimpleRNN | `fit`'s |
| imdb-transformer | reviews, their first 400 words | one transformer block | `fit`'s |
| sst2-bert, mr-bert | phrases in subwords | MiniLM, pretrained; listing L4 | `fit`'s |
| shakespeare-gpt | 64 characters of plays | GPT-2, small, from nothing | written out below |

Batches hold texts of like length, so little is computed on padding.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data import BucketedBatches, imdb, mr, sst2, tinyshakespeare
from engine import get_backend, no_grad
from engine.errors import ArgumentError, CheckpointError
from engine.io.atomic import atomic_write
from layers.losses import SparseCategoricalCrossentropy
from models import zoo
from models.callbacks import Callback, CSVLogger, ModelCheckpoint
from models.saving import load_model, versions
from optim import Adam, AdamW
from optim.schedules import CosineDecay, PolynomialDecay

FILES = "model.safetensors", "history.csv", "settings.json", "result.json", "training-curves.png"
CHECKPOINTS = "model.safetensors", "checkpoint.safetensors", "reviews.safetensors"
PRETRAINED = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True)
class Run:
    """What the command line asks for."""

    name: str
    seed: int
    epochs: int
    batch_size: int
    data: str | None
    out: Path
    resume: bool
    verbose: int | str
    callbacks: Sequence[Callback]
    recipe: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"recipe": self.recipe, "seed": self.seed, "epochs": self.epochs, "batch_size": self.batch_size}


def train(
    name: str,
    *,
    epochs: int | None = None,
    device: str = "cpu",
    seed: int = 1,
    data: str | None = None,
    out: Path | None = None,
    batch_size: int | None = None,
    resume: bool = False,
    recipe: str = "listing",
    verbose: int | str = "auto",
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Train one of PROGRAMS, and write FILES to the folder `out` (runs/<name>).

    resume: go on from the model that lies there, bit for bit as if the run had not been cut off. recipe: "listing", or
    "best" where there is one. Returns what result.json holds. Raises ArgumentError for other settings than the run was
    begun with.
    """
    get_backend(device)
    if name not in PROGRAMS:
        raise ArgumentError(f"train: '{name}' is none of {', '.join(PROGRAMS)}")
    if recipe not in PROGRAMS[name]:
        raise ArgumentError(f"train: {name} has no recipe '{recipe}'; choose {', '.join(PROGRAMS[name])}")
    program = PROGRAMS[name][recipe]
    out = out or Path("runs") / name
    asked = Run(
        name, seed, epochs or program.epochs, batch_size or program.batch_size, data, out, resume, verbose, callbacks,
        recipe,
    )  # fmt: skip
    result = {"model": name, **asked.settings, "device": device, **program.run(asked), "versions": versions()}
    atomic_write(out / "result.json", json.dumps(result, indent=2).encode() + b"\n")
    return result


def begin(asked: Run) -> None:
    """Write down what a run is begun with, its data being there; one that goes on must be asked for the same.

    A model that an earlier run left in the folder is renamed: the new one, cut off before it has saved its own, would
    be resumed from that.
    """
    path, settings = asked.out / "settings.json", asked.settings
    if not asked.resume:
        for old in (asked.out / name for name in CHECKPOINTS):
            if old.is_file():
                old.replace(old.with_name(f"previous-{old.name}"))
        atomic_write(path, json.dumps(settings).encode() + b"\n")
    elif path.is_file() and (begun := json.loads(path.read_bytes())) != settings:
        was, now = (", ".join(f"{name} {value}" for name, value in found.items()) for found in (begun, settings))
        raise ArgumentError(f"train: the run in {asked.out} was begun with {was}, not {now}: resume it with the same")


# --- reviews: words in, one probability out ---------------------------------------------------------------------------


def reviews(asked: Run, words: int, length: int, padding: str) -> dict[str, Any]:
    """Train a network on IMDB's 25,000 reviews, cut to `length` of the `words` most frequent words; test on the others.

    padding "pre" keeps the end of a review and fills before it, "post" its beginning. Adam's rate falls from 1e-3 to 0
    in a straight line: at a constant rate the second epoch learns the training reviews by heart. The test reviews are
    looked at once, at the end: what a recipe tries out, it tries on training reviews that it sets aside.
    """
    (x, y), (x_test, y_test) = imdb.load_data(num_words=words, data=asked.data)
    cut = {"maxlen": length, "padding": padding, "truncating": padding}
    batches = BucketedBatches(x, y, asked.batch_size, seed=asked.seed, **cut)
    test = BucketedBatches(x_test, y_test, 250, shuffle=False, **cut)

    def make() -> Any:
        model = zoo.ZOO[asked.name](asked.seed)
        model.build((None, None))  # reviews of any length
        rate = PolynomialDecay(1e-3, asked.epochs * len(batches), end_learning_rate=0.0)
        model.compile(Adam(rate), "binary_crossentropy", metrics=["accuracy"])
        return model

    return fitted(asked, make, batches, test, f"{len(x):,} + {len(x_test):,} reviews")


def fitted(
    asked: Run,
    make: Callable[[], Any],
    batches: Any,
    test: Any,
    what: str,
    watched: Any = None,
    begun: Path | None = None,
) -> dict[str, Any]:
    """Fit a model, saved after each epoch, and test it once, at the end.

    watched: what `fit` validates on. begun: a file that `make` goes on from in a run that was cut off before its first
    epoch was saved.
    """
    begin(asked)
    checkpoint = asked.out / "model.safetensors"
    anew = not asked.resume or (begun is not None and begun.is_file() and not checkpoint.is_file())
    model = make() if anew else load_model(there(checkpoint))
    print(f"{asked.name}: {model.count_params():,} parameters; {what}", flush=True)
    log = CSVLogger(asked.out / "history.csv", append=asked.resume)
    history = model.fit(
        batches, epochs=asked.epochs, initial_epoch=model.epoch, verbose=asked.verbose, validation_data=watched,
        callbacks=[*asked.callbacks, log, ModelCheckpoint(checkpoint)],
    )  # fmt: skip
    model.save(checkpoint)
    loss, accuracy = model.evaluate(test, verbose=0)
    draw(history.history, asked.out)
    return {
        "accuracy": accuracy, "loss": loss, "seconds_per_epoch": [round(s, 3) for s in history.seconds],
        "parameters": model.count_params(), "data": what,
    }  # fmt: skip


def there(checkpoint: Path) -> Path:
    if not checkpoint.is_file():
        raise CheckpointError(f"train: {checkpoint} is not there, so there is nothing to resume: leave --resume out")
    return checkpoint


def draw(history: dict[str, Any], out: Path, by: str = "epoch") -> None:
    if history:
        from models import pictures

        pictures.training_curves(history, out / "training-curves.png", by)


# --- phrases: a pretrained encoder, fine-tuned ------------------------------------------------------------------------


def phrases(asked: Run, corpus: Any = sst2) -> dict[str, Any]:
    """Fine-tune MiniLM as listing L4 does BERT: Adam, learning rate 2e-5; test on SST-2's 872 sentences.

    The rate rises to 2e-5 in the first twentieth of the steps, while the new classifier is still random, and falls by
    a cosine to 0. The recipe "best" shows the encoder an epoch of reviews before (`on_reviews`), and goes up to 7e-5.
    """
    from models import pretrained

    tokenizer = pretrained.tokenizer(PRETRAINED)
    (texts, y), (texts_test, y_test) = corpus.load_data(asked.data)
    batches = subwords(asked, tokenizer, texts, y)
    held_back = subwords(asked, tokenizer, texts_test, y_test, shuffle=False)
    begun = asked.out / "reviews.safetensors" if asked.recipe == "best" else None

    def make() -> Any:
        model, peak = classifier(asked), 2e-5
        if begun is not None:
            if not (asked.resume and begun.is_file()):
                on_reviews(asked, tokenizer).save_weights(begun)
            model.load_weights(begun)
            peak = 7e-5
        return compiled(model, falling(peak, asked.epochs * len(batches)))

    what = f"{len(texts):,} + {len(texts_test):,} texts"
    return fitted(asked, make, batches, held_back, what, held_back, begun)


def on_reviews(asked: Run, tokenizer: Any) -> Any:
    """MiniLM after an epoch of IMDB's training reviews, of each its last 48 words, where the verdict is.

    Sentences about films, and longer ones than most of SST-2's phrases. [Phang et al., "Sentence Encoders on STILTs",
    2018]
    """
    (texts, y), _ = imdb.load_reviews()
    ends = [" ".join(text.replace("<br />", " ").split()[-48:]) for text in texts]
    batches = subwords(asked, tokenizer, ends, y)
    print(f"{asked.name}: first {len(texts):,} reviews", flush=True)
    model = compiled(classifier(asked), falling(1e-4, len(batches), to=0.2))
    model.fit(batches, epochs=1, verbose=asked.verbose)
    return model


def subwords(asked: Run, tokenizer: Any, texts: Sequence[str], labels: Any, shuffle: bool = True) -> BucketedBatches:
    """Batches of texts as subwords. No side is rounded up: of 13 tokens, 3 more would be a fifth."""
    tokens = tokenizer(list(texts), max_length=128)
    return BucketedBatches(
        tuple(tokens.values()), labels, asked.batch_size, shuffle,
        lengths=tokens["attention_mask"].sum(1), padding="post", multiple=1, seed=asked.seed,
    )  # fmt: skip


def classifier(asked: Run) -> Any:
    """MiniLM with a new classifier of two classes on the mean of its tokens."""
    from models.bert import BertForSequenceClassification

    return BertForSequenceClassification.from_pretrained(PRETRAINED, num_labels=2, seed=asked.seed)


def falling(peak: float, steps: int, to: float = 0.0) -> CosineDecay:
    """A rate that rises to `peak` in the first twentieth of the steps, and falls by a cosine to a part of it."""
    rise = max(1, steps // 20)
    return CosineDecay(0.0, max(1, steps - rise), alpha=to, warmup_target=peak, warmup_steps=rise)


def compiled(model: Any, rate: Any) -> Any:
    model.compile(Adam(rate), SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


# --- plays: the next character ----------------------------------------------------------------------------------------

CONTEXT, REPORT = 64, 250


def plays(asked: Run) -> dict[str, Any]:
    """Train a small GPT on tiny Shakespeare with nanoGPT's settings for a CPU; `epochs` counts steps here.

    4 layers, 128 wide, 4 heads, 64 characters of context, 12 windows a step, no dropout; AdamW with beta_2 0.99, decay
    0.1 of the matrices, gradients cut to length 1; the rate rises to 1e-3 in 100 steps, then falls by a cosine to 1e-4.
    """
    (text, validation), characters = tinyshakespeare.load_data(asked.data)
    begin(asked)
    checkpoint, history_file = asked.out / "checkpoint.safetensors", asked.out / "history.csv"
    model = load_model(there(checkpoint)) if asked.resume else small_gpt(asked, len(characters))
    history = columns(history_file, model.step) if asked.resume else {}
    optimizer, loss_of = model.optimizer, SparseCategoricalCrossentropy(from_logits=True)
    what = f"{len(text):,} + {len(validation):,} characters"
    print(f"{asked.name}: {model.count_params():,} parameters; {what}", flush=True)
    began, losses = time.perf_counter(), []
    for step in range(model.step, asked.epochs):
        model.train()
        x, y = windows(text, asked.batch_size, asked.seed, step)  # (12,64), (12,64)
        loss = loss_of(y, model(x).logits)  # (12,64,V) -> ()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % REPORT == 0 or step + 1 == asked.epochs:
            told = {"step": step + 1, "loss": np.mean(losses), "val_loss": next_character_loss(model, validation)}
            print("  ".join(f"{name} {value:.4g}" for name, value in told.items()), flush=True)
            for name, value in told.items():
                history.setdefault(name, []).append(value)
            losses, model.step = [], step + 1
            write_columns(history_file, history)
            model.save(checkpoint)
    seconds = time.perf_counter() - began
    model.save_pretrained(asked.out)
    atomic_write(asked.out / "characters.json", json.dumps(characters.characters).encode())
    draw(history, asked.out, by="step")
    return {
        "loss": history["val_loss"][-1], "seconds": round(seconds, 1), "parameters": model.count_params(), "data": what,
    }  # fmt: skip


def small_gpt(asked: Run, characters: int) -> Any:
    model = zoo.shakespeare_gpt(asked.seed, characters, CONTEXT)
    rate = CosineDecay(0.0, max(1, asked.epochs - 100), alpha=0.1, warmup_target=1e-3, warmup_steps=100)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    model.compile(AdamW(groups, rate, beta_2=0.99, global_clipnorm=1.0), SparseCategoricalCrossentropy(True))
    return model


def columns(path: Path, step: int) -> dict[str, list[float]]:
    """The numbers of a CSV file, by column, up to a step: the model behind a later row may not have been saved."""
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if float(row["step"]) <= step]
    return {name: [float(row[name]) for row in rows] for name in reader.fieldnames or ()}


def write_columns(path: Path, numbers: dict[str, list[float]]) -> None:
    lines = [",".join(numbers), *(",".join(f"{v:.17g}" for v in row) for row in zip(*numbers.values(), strict=True))]
    atomic_write(path, "\n".join([*lines, ""]).encode())


def windows(text: np.ndarray, size: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Some windows of a step, and the same one character on: (N,CONTEXT) twice. Functions of (seed, step)."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, step], np.uint64)))
    places = rng.integers(0, len(text) - CONTEXT, size)[:, None] + np.arange(CONTEXT + 1)
    chunk = text[places]  # (N,CONTEXT+1)
    return chunk[:, :-1], chunk[:, 1:]


def next_character_loss(model: Any, text: np.ndarray, size: int = 128) -> float:
    """The mean cross-entropy in nats over a whole text, cut into windows side by side."""
    model.eval()
    rows = (len(text) - 1) // CONTEXT
    x, y = (text[i : i + rows * CONTEXT].reshape(rows, CONTEXT) for i in (0, 1))
    loss_of, total = SparseCategoricalCrossentropy(from_logits=True), 0.0
    with no_grad():
        for first in range(0, rows, size):
            some = slice(first, first + size)
            total += loss_of(y[some], model(x[some]).logits).item() * len(x[some])
    return total / rows


@dataclass(frozen=True)
class Program:
    run: Callable[[Run], dict[str, Any]]
    epochs: int
    batch_size: int


PROGRAMS = {
    "imdb-lstm": {"listing": Program(lambda asked: reviews(asked, 10_000, 400, "pre"), 2, 64)},
    "imdb-rnn": {"listing": Program(lambda asked: reviews(asked, 10_000, 200, "pre"), 2, 64)},
    "imdb-transformer": {"listing": Program(lambda asked: reviews(asked, 20_000, 400, "post"), 2, 64)},
    "sst2-bert": {"listing": Program(phrases, 3, 32), "best": Program(phrases, 2, 32)},
    "mr-bert": {"listing": Program(lambda asked: phrases(asked, mr), 3, 32)},
    "shakespeare-gpt": {"listing": Program(plays, 2000, 12)},
}
