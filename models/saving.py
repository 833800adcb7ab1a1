"""Models in files: one safetensors file, whole or not there, in which nothing can run.

    model.save("run.safetensors")                       everything: a run goes on bit for bit
    model = load_model("run.safetensors")
    model.fit(x, y, epochs=10, initial_epoch=model.epoch)

The arrays are the parameters and buffers under their paths ("0.kernel"), and what the optimiser and the callbacks
remember under "optimizer/...", "callbacks/...". The rest is JSON: the layers and their arguments, what was compiled,
the random state, epoch and step. Loading looks class names up in the tables of `layers`, `optim` and `models`, and
calls their constructors.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numpy as np

from engine import config
from engine.errors import ChainRuleError, CheckpointError
from engine.io import safetensors
from layers import Layer, losses
from models.averages import Metric

FORMAT = 1  # of the state; raise it when an older Chain Rule could not read a new file
OURS = "optimizer/", "callbacks/", "objective/"
Path = str | os.PathLike[str]


# --- weights ---------------------------------------------------------------------------------------------------------


def save_weights(model: Layer, path: Path) -> None:
    """Write the parameters and buffers, by their paths. Raises CheckpointError where that can't be done."""
    safetensors.save(path, model.state_dict(), {"versions": str(versions())})


def load_weights(model: Layer, path: Path, strict: bool = True) -> Any:
    """Read them into a model, from a file of weights or of a whole model; all, or none in case of an error.

    strict=False takes what is there, and returns the names that are missing or unexpected. Raises CheckpointError.
    """
    arrays, _ = safetensors.load(path)
    with told(path, "does not fit this model"):
        return model.load_state_dict({k: v for k, v in arrays.items() if not k.startswith(OURS)}, strict)


# --- whole models ----------------------------------------------------------------------------------------------------


def save_model(model: Any, path: Path) -> None:
    """Write the model, what it was compiled with, and where its training stands.

    Raises:
        CheckpointError: a full disk, a folder that can't be written: what was there before still is.
        ArgumentError: a part that can't be written down, such as a lambda as an activation.
        NotBuiltError: parameters without values.
    """
    arrays = dict(model.state_dict())
    state: dict[str, Any] = {
        "format": FORMAT,
        "versions": versions(),
        "model": config.serialize(model),
        "input_shapes": model.input_shapes,
        "generator": model.generator.state(),
        "random": model.random_state(),
        "epoch": model.epoch,
        "step": model.step,
        "frozen": [path for path, p in model.named_parameters() if not p.trainable],
        "compiled": None,
    }
    if model.objective is not None:
        state["compiled"] = {name: written(what) for name, what in model.objective.asked.items()}
        state["optimizer"] = {
            "class": config.serialize(model.optimizer),
            "groups": groups(model),
            "state": pack(model.optimizer.state_dict(), "optimizer", arrays),
        }
    if model._running is not None:
        state["steps"] = model._running["steps"]
        state["callbacks"] = pack(model._running["callbacks"](), "callbacks", arrays)
        state["objective"] = pack(model._running["objective"]() if model.step else {}, "objective", arrays)
    safetensors.save_checkpoint(path, arrays, state)


def load_model(path: Path, custom_objects: Mapping[str, Any] | None = None, compile: bool = True) -> Any:
    """The model in a file, ready to predict or to go on training.

    custom_objects: {name: class or function} for what is not of Chain Rule. compile=False leaves optimiser, losses and
    metrics aside.

    Raises:
        CheckpointError: no such file, one that is damaged, foreign, newer than this Chain Rule, or of unknown classes.
    """
    arrays, state = safetensors.load_checkpoint(path, state=["format"])
    if not isinstance(state["format"], int) or state["format"] > FORMAT:
        raise CheckpointError(
            f"cannot load {os.fspath(path)}: its format is {state['format']} and this Chain Rule reads up to {FORMAT}: "
            f"it was written by {state.get('versions')}; upgrade with pip install -U chainrule"
        )
    given = dict(custom_objects or {})
    with told(path, "describes no model that can be built here"), known(given):
        model = config.deserialize(Layer, state["model"])
        model.generator.set_state(state["generator"])
        if not model.built:
            shapes = [tuple(s) for s in state["input_shapes"] or []]
            if shapes:
                model.build(shapes[0] if len(shapes) == 1 else shapes)
        model.load_state_dict({k: v for k, v in arrays.items() if not k.startswith(OURS)})
        model.load_random_state(state["random"])
        model.epoch, model.step = int(state["epoch"]), int(state["step"])
        for name, p in model.named_parameters():
            p.trainable = name not in state["frozen"]
        if compile and state["compiled"] is not None:
            _compile(model, state, arrays, given)
    return model


def _compile(model: Any, state: dict[str, Any], arrays: dict[str, np.ndarray], given: dict[str, Any]) -> None:
    saved = state["optimizer"]
    model.compile(saved["class"], **{name: read(what, given) for name, what in state["compiled"].items()})
    if saved["groups"] is not None:
        by_path = dict(model.named_parameters())
        entries = [{**options, "params": [by_path[p] for p in paths]} for paths, options in saved["groups"]]
        everything = len(entries) == 1 and not saved["groups"][0][1] and len(entries[0]["params"]) == len(by_path)
        model.optimizer.build(model.parameters() if everything else entries)
        model._brought_parameters = not everything
        model.optimizer.load_state_dict(unpack(saved["state"], arrays))
    if "callbacks" in state:
        model._resume = {"steps": state["steps"]} | {
            name: unpack(state[name], arrays) for name in ("callbacks", "objective")
        }


def groups(model: Any) -> list[Any] | None:
    """[paths, options] of each group of the optimiser; None before it has parameters."""
    if not model.optimizer.groups:
        return None
    paths = {id(p): path for path, p in model.named_parameters()}
    return [[[paths[id(p)] for p in g.params], config.plain(g.options)] for g in model.optimizer.groups]


# --- trees of numbers and arrays -------------------------------------------------------------------------------------


def pack(tree: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """The tree as JSON has it; arrays go to `arrays` under their places ("optimizer/state/0.m")."""
    if isinstance(tree, np.ndarray):
        arrays[name] = tree
        return {"array": name}
    if isinstance(tree, Mapping):
        return {"dict": {key: pack(value, f"{name}/{key}", arrays) for key, value in tree.items()}}
    if isinstance(tree, (list, tuple)):
        return [pack(value, f"{name}/{i}", arrays) for i, value in enumerate(tree)]
    return tree.item() if isinstance(tree, np.generic) else tree


def unpack(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(tree, list):
        return [unpack(value, arrays) for value in tree]
    if isinstance(tree, dict):
        if "array" in tree:
            return arrays[tree["array"]]
        return {key: unpack(value, arrays) for key, value in tree["dict"].items()}
    return tree


# --- losses and metrics ----------------------------------------------------------------------------------------------


def written(what: Any) -> Any:
    """What compile was given, as JSON: names and numbers as they are, objects by class, functions by name."""
    if isinstance(what, Mapping):
        return {"by_output": {key: written(value) for key, value in what.items()}}
    if isinstance(what, (list, tuple)):
        return [written(value) for value in what]
    if callable(what) and not isinstance(what, config.Configurable):
        return {"function": getattr(what, "__name__", "function")}
    if isinstance(what, config.Configurable):
        return {"family": what.family, **config.serialize(what)}  # a loss and a metric may have one name
    return config.plain(what)


def read(what: Any, given: Mapping[str, Any]) -> Any:
    if isinstance(what, list):
        return [read(value, given) for value in what]
    if not isinstance(what, dict):
        return what
    if "by_output" in what:
        return {key: read(value, given) for key, value in what["by_output"].items()}
    if "function" in what:
        if what["function"] not in given:
            raise CheckpointError(
                f"it was compiled with a function '{what['function']}': pass custom_objects="
                f"{{'{what['function']}': ...}}, or compile=False"
            )
        return given[what["function"]]
    return config.deserialize({"loss": losses.Loss, "metric": Metric}[what["family"]], what)


# --- in small --------------------------------------------------------------------------------------------------------


@contextmanager
def told(path: Path, what: str) -> Iterator[None]:
    """Whatever goes wrong inside is about the file."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"cannot load {os.fspath(path)}: {error}") from error
    except (ChainRuleError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = str(error) if isinstance(error, ChainRuleError) else f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"cannot load {os.fspath(path)}: it {what} ({reason}): load it into the model that wrote it, pass its own "
            "classes as custom_objects={'Name': Class}, or choose another file"
        ) from error


@contextmanager
def known(given: Mapping[str, Any]) -> Iterator[None]:
    """Inside, the given classes can be named by what is loaded."""
    tables = []
    for name, thing in given.items():
        if isinstance(thing, type) and issubclass(thing, config.Configurable):
            tables.append((thing.table, dict(thing.table)))
            thing.table[config.key(name)] = thing
    try:
        yield
    finally:
        for table, before in reversed(tables):
            table.clear()
            table.update(before)


def versions() -> dict[str, str]:
    try:
        ours = metadata.version("chainrule")
    except metadata.PackageNotFoundError:
        ours = "not installed"
    return {"chainrule": ours, "python": platform.python_version(), "numpy": np.__version__}
