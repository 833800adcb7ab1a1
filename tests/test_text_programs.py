"""`chainrule train imdb-... | sst2-bert | mr-bert | shakespeare-gpt` and `chainrule generate`, on little data."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from data import imdb, mr, sst2, tinyshakespeare
from data.text import Characters
from engine.errors import ArgumentError, CheckpointError, DataError
from engine.io import safetensors
from models import cli, load_model, text_recipes, writing, zoo
from models.hooks import Callback
from tests.test_text_listings import folder as pretrained, opinions, phrases

__all__ = ["pretrained"]


def run(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture
def few_reviews(monkeypatch):
    """480 + 120 texts of 5 to 12 word numbers, unpadded."""

    def unpadded(x, y):
        return np.fromiter((row[row > 0].astype(np.int32) for row in x), object, len(x)), y

    sets = unpadded(*opinions(480, 0)), unpadded(*opinions(120, 1))
    monkeypatch.setattr(imdb, "load_data", lambda num_words, data=None: sets)
    return sets


@pytest.mark.parametrize("network", ["imdb-lstm", "imdb-rnn", "imdb-transformer"])
def test_a_run_on_reviews_leaves_what_it_promises(few_reviews, tmp_path, network):
    out = tmp_path / "run"
    done = run("train", network, "--epochs", 2, "--seed", 5, "--out", out, "--batch-size", 32)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    result = json.loads((out / "result.json").read_text())
    assert lines[0] == f"{network}: {result['parameters']:,} parameters; 480 + 120 reviews"
    assert lines[1].startswith("Epoch 1/2  15/15  ") and f"Test accuracy: {result['accuracy']:.4f}" in lines
    assert {path.name for path in out.iterdir()} == set(text_recipes.FILES)
    facts = {"model": network, "seed": 5, "epochs": 2, "batch_size": 32, "data": "480 + 120 reviews"}
    assert {name: result[name] for name in facts} == facts and len(result["seconds_per_epoch"]) == 2
    with open(out / "history.csv", newline="") as file:
        assert set(list(csv.DictReader(file))[-1]) == {"epoch", "loss", "accuracy"}, "the test part waits for the end"
    model = load_model(out / "model.safetensors")
    empty, long = model.predict(np.zeros((1, 8), np.int32)), model.predict(np.full((1, 256), 9_999))
    assert 0 < empty[0, 0] < 1 and 0 < long[0, 0] < 1, "an empty review, and a long one of one rare word"


class Stop(Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = True


@pytest.mark.parametrize("network", ["imdb-lstm", "imdb-transformer"])
def test_a_run_that_was_cut_off_goes_on_bit_for_bit(few_reviews, tmp_path, network):
    how = {"epochs": 2, "seed": 3, "batch_size": 64, "verbose": 0}
    whole = text_recipes.train(network, out=tmp_path / "a", **how)
    text_recipes.train(network, out=tmp_path / "b", callbacks=[Stop()], **how)
    rest = text_recipes.train(network, out=tmp_path / "b", resume=True, **how)
    assert rest["loss"] == whole["loss"] and rest["accuracy"] == whole["accuracy"]
    with open(tmp_path / "b" / "history.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]


def texts(count, seed):
    batches = phrases(count, seed)
    return [t for batch in batches for t in batch["input"]], np.concatenate([batch["label"] for batch in batches])


@pytest.mark.parametrize("network, data", [("sst2-bert", sst2), ("mr-bert", mr)])
@pytest.mark.filterwarnings("ignore")  # the classifier is new, and a line says so
def test_a_pretrained_encoder_is_tuned(pretrained, tmp_path, monkeypatch, network, data):
    monkeypatch.setattr(data, "load_data", lambda data=None: (texts(96, 0), texts(32, 1)))
    monkeypatch.setattr(text_recipes, "PRETRAINED", str(pretrained))
    done = run("train", network, "--epochs", 2, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    lines = [line for line in done.output.splitlines() if line.startswith("Epoch ")]
    assert len(lines) == 2 and all("loss " in line and "val_accuracy " in line for line in lines)
    assert 0 <= result["accuracy"] <= 1 and result["data"] == "96 + 32 texts"


@pytest.mark.filterwarnings("ignore")
def test_reviews_come_before_phrases_in_the_best_recipe_and_once(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(sst2, "load_data", lambda data=None: (texts(96, 0), texts(32, 1)))
    monkeypatch.setattr(imdb, "load_reviews", lambda data=None: (texts(64, 2), texts(32, 3)))
    monkeypatch.setattr(text_recipes, "PRETRAINED", str(pretrained))
    how = {"recipe": "best", "verbose": 0}
    whole = text_recipes.train("sst2-bert", out=tmp_path / "a", **how)
    assert len(whole["seconds_per_epoch"]) == 2 and whole["recipe"] == "best"
    (tmp_path / "b").mkdir()
    for name in ("reviews.safetensors", "settings.json"):  # cut off in the first epoch of phrases
        (tmp_path / "b" / name).write_bytes((tmp_path / "a" / name).read_bytes())
    monkeypatch.setattr(imdb, "load_reviews", None)
    rest = text_recipes.train("sst2-bert", out=tmp_path / "b", resume=True, **how)
    assert rest["loss"] == whole["loss"] and rest["accuracy"] == whole["accuracy"]
    listing = text_recipes.train("sst2-bert", out=tmp_path / "c", epochs=2, verbose=0)
    assert listing["loss"] != whole["loss"]


# --- plays ------------------------------------------------------------------------------------------------------------

PLAY = "pack my box with five dozen liquor jugs.\n" * 60


@pytest.fixture
def short_play(monkeypatch):
    characters = Characters.of(PLAY)
    numbers = characters.encode(PLAY)
    parts = numbers[: len(numbers) * 9 // 10], numbers[len(numbers) * 9 // 10 :]
    monkeypatch.setattr(tinyshakespeare, "load_data", lambda data=None: (parts, characters))
    return characters


def test_a_small_gpt_learns_a_line_and_writes_it(short_play, tmp_path):
    out = tmp_path / "run"
    done = run("train", "shakespeare-gpt", "--epochs", 100, "--out", out, "--batch-size", 8)
    assert done.exit_code == 0, done.output
    result = json.loads((out / "result.json").read_text())
    assert result["loss"] < 0.5 and f"Test loss: {result['loss']:.4f}" in done.output
    assert {"config.json", "model.safetensors", "characters.json", "training-curves.png"} <= {
        p.name for p in out.iterdir()
    }
    with open(out / "history.csv", newline="") as file:
        assert [float(row["val_loss"]) for row in csv.DictReader(file)] == [result["loss"]]
    greedy = ["generate", "--model", out, "--prompt", "pack my box", "--length", 80, "--temperature", 0]
    said = run(*greedy)
    assert said.exit_code == 0, said.output
    assert said.output == PLAY[: len("pack my box") + 80] + "\n", "beyond its 64 characters of context, too"
    drawn = [
        run("generate", "--model", out, "--length", 30, "--seed", seed, "--temperature", 5).output for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 32, "a line's end, 30 characters, a line's end"


def test_windows_are_a_function_of_seed_and_step(short_play):
    text = np.arange(1000)
    x, y = text_recipes.windows(text, 12, seed=1, step=3)
    assert x.shape == y.shape == (12, 64) and np.array_equal(x + 1, y)
    again, other = (text_recipes.windows(text, 12, 1, step)[0] for step in (3, 4))
    assert np.array_equal(x, again) and not np.array_equal(x, other)
    places = np.concatenate([text_recipes.windows(np.arange(70), 500, 1, 0)[0][:, 0]])
    assert set(places) == set(range(6)), "every window of the text, and none beyond its end"


def test_a_gpt_that_was_cut_off_goes_on_bit_for_bit(short_play, tmp_path, monkeypatch):
    how = {"epochs": 6, "seed": 2, "batch_size": 4}
    monkeypatch.setattr(text_recipes, "REPORT", 2)
    whole = text_recipes.train("shakespeare-gpt", out=tmp_path / "a", **how)
    losses = text_recipes.columns(tmp_path / "a" / "history.csv", 6)["loss"]

    def broken(text, size, seed, step, windows=text_recipes.windows):
        if step == 5:
            raise KeyboardInterrupt
        return windows(text, size, seed, step)

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(text_recipes, "windows", broken)
        text_recipes.train("shakespeare-gpt", out=tmp_path / "b", **how)
    with open(tmp_path / "b" / "history.csv", "a") as file:
        file.write("6,9.0,9.0\n")  # then the run was killed before its model was written
    with pytest.raises(ArgumentError, match=r"begun with recipe listing, seed 2, .* not .*seed 3, .*: resume"):
        text_recipes.train("shakespeare-gpt", out=tmp_path / "b", resume=True, **(how | {"seed": 3}))
    rest = text_recipes.train("shakespeare-gpt", out=tmp_path / "b", resume=True, **how)
    assert rest["loss"] == whole["loss"]
    assert (tmp_path / "a" / "history.csv").read_bytes() == (tmp_path / "b" / "history.csv").read_bytes()
    monkeypatch.setattr(text_recipes, "REPORT", 4)  # cut off at step 4 of 6, between two reports
    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(text_recipes, "windows", broken)
        text_recipes.train("shakespeare-gpt", out=tmp_path / "d", **how)
    monkeypatch.setattr(text_recipes, "REPORT", 6)
    text_recipes.train("shakespeare-gpt", out=tmp_path / "d", resume=True, **how)
    assert text_recipes.columns(tmp_path / "d" / "history.csv", 6)["loss"][-1] == losses[-1]
    (a, _), (b, _) = (safetensors.load(tmp_path / name / "model.safetensors") for name in "ab")
    assert a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)
    with pytest.raises(CheckpointError, match=r"checkpoint.safetensors is not there, so there is nothing to resume"):
        text_recipes.train("shakespeare-gpt", out=tmp_path / "c", resume=True, **how)
    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(text_recipes, "windows", broken)
        text_recipes.train("shakespeare-gpt", out=tmp_path / "a", **(how | {"seed": 3}))
    with pytest.raises(CheckpointError, match=r"is not there"):  # what lay there is of another run
        text_recipes.train("shakespeare-gpt", out=tmp_path / "a", resume=True, **(how | {"seed": 3}))
    assert (tmp_path / "a" / "previous-checkpoint.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["train", "imdb-lstm", "--data", "/nowhere"], "chainrule: data='/nowhere' is not a folder. Name one that"),
        (
            ["train", "imdb-lstm", "--recipe", "best"],
            "imdb-lstm has no recipe 'best'; choose listing",
        ),
        (["train", "mnist-mlp", "--resume"], "--resume is of the text programs"),
        (["generate", "--model", "/nowhere"], "'/nowhere' holds no language model. Make one: chainrule train shakesp"),
    ],
)
def test_errors_end_in_one_line_and_code_2(words, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert not any(tmp_path.iterdir())  # what an earlier run left would lie where it was
    assert done.exit_code == 2 and text in done.output and len(done.output.strip().splitlines()) == 1


def test_errors_of_programs(few_reviews, tmp_path):
    with pytest.raises(CheckpointError, match="is not there, so there is nothing to resume: leave --resume out"):
        text_recipes.train("imdb-rnn", out=tmp_path, resume=True)
    with pytest.raises(ArgumentError, match="train: 'imdb' is none of imdb-lstm, imdb-rnn"):
        text_recipes.train("imdb", out=tmp_path)


def test_errors_of_writing(tmp_path):
    zoo.shakespeare_gpt(0, 3, 8).save_pretrained(tmp_path)
    (tmp_path / "characters.json").write_text('"abc"')
    with pytest.raises(DataError, match="'x' of the text not among the 3 known ones"):
        writing.write(tmp_path, "abx")
    with pytest.raises(ArgumentError, match="generate: the prompt is empty"):
        writing.write(tmp_path, "")
    for characters, error in (
        ('"ab"', "holds 2 characters and a model of 3: they do not belong together"),
        ('"abcd"', "holds 4 characters and a model of 3"),
        ("{", "characters.json: is no JSON"),
        ("3", "characters.json: holds a int, not a string"),
    ):
        (tmp_path / "characters.json").write_text(characters)
        with pytest.raises(DataError, match=error):
            writing.write(tmp_path, "a")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="it holds a list, not names with values"):
        writing.write(tmp_path, "a")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(DataError, match="holds a model of type 'bert', which writes no text; gpt2, llama do."):
        writing.write(tmp_path, "a")


def test_a_character_of_several_tokens_is_said_when_it_is_whole(monkeypatch):
    """Subwords may end within a character of UTF-8: its half is not shown."""

    class Bytes:
        encode = staticmethod(lambda text: list(text.encode()))
        decode = staticmethod(lambda ids: bytes(ids).decode(errors="replace"))

    class Says:
        eval = staticmethod(lambda: None)

        @staticmethod
        def generate(ids, max_new_tokens, streamer, **how):
            for byte in "né€!".encode():
                streamer(np.array([byte]))

    monkeypatch.setattr(writing, "load", lambda folder: (Says, Bytes))
    pieces = []
    assert writing.write("", "a", say=pieces.append) == "ané€!"
    assert pieces == ["a", "n", "é", "€", "!"]
