"""The command `chainrule`.

    chainrule train mnist-cnn --epochs 10 --seed 1
    chainrule train shakespeare-gpt
    chainrule generate --model runs/shakespeare-gpt --prompt "ROMEO:"
    chainrule bench mnist-cnn
    chainrule info
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

ABOUT = "Chain Rule: a deep-learning engine that shows its work."
app = typer.Typer(add_completion=False, no_args_is_help=True, help=ABOUT)


class Network(StrEnum):
    mnist_cnn = "mnist-cnn"
    mnist_cnn_small = "mnist-cnn-small"
    mnist_mlp = "mnist-mlp"
    imdb_lstm = "imdb-lstm"
    imdb_rnn = "imdb-rnn"
    imdb_transformer = "imdb-transformer"
    sst2_bert = "sst2-bert"
    mr_bert = "mr-bert"
    shakespeare_gpt = "shakespeare-gpt"


class Recipe(StrEnum):
    listing = "listing"
    best = "best"


@app.command()
def train(
    network: Annotated[Network, typer.Argument(help="Which network.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Times through the data; shakespeare-gpt: steps.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="Of initial values and of the data's order.")] = 1,
    data: Annotated[str | None, typer.Option(help="Folder with the data [$CHAINRULE_DATA, cache, network].")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for checkpoint and pictures \\[runs/NETWORK].")] = None,
    recipe: Annotated[Recipe, typer.Option(help="As the documents have it, or better.")] = Recipe.listing,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples a step \\[by network].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Texts: go on from the checkpoint.")] = False,
) -> None:
    """Train a network on digits, reviews, phrases or plays; writes checkpoint, history, result and pictures."""
    folder = out or Path("runs") / network.value
    with one_line_errors(interrupted=f"interrupted; {what_stays(network, folder)}"):
        from engine.errors import ArgumentError

        asked = {"device": device, "seed": seed, "data": data, "out": folder, "batch_size": batch_size}
        if network.value.startswith("mnist"):
            from models import recipes

            if resume:
                raise ArgumentError("train: --resume is of the text programs; an MNIST run is short: start anew")
            result = recipes.train(network.value, epochs=epochs or 10, recipe=recipe.value, **asked)
        else:
            from models import text_recipes

            result = text_recipes.train(network.value, epochs=epochs, resume=resume, recipe=recipe.value, **asked)
        print(f"Test loss: {result['loss']:.4f}")
        if "accuracy" in result:
            print(f"Test accuracy: {result['accuracy']:.4f}")
        print(f"Written to {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


@app.command()
def generate(
    model: Annotated[str, typer.Option(help="Folder of a language model.")] = "runs/shakespeare-gpt",
    prompt: Annotated[str, typer.Option(help="The text to go on from.", show_default="a new line")] = "\n",
    length: Annotated[int, typer.Option(min=1, help="Characters, or tokens, to add.")] = 500,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest each time.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(min=1, help="Draw from the k likeliest only.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the likeliest that make up p.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 1,
) -> None:
    """Write a text with a language model, piece by piece as it is drawn."""
    with one_line_errors():
        from models import writing

        writing.write(
            model, prompt, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed,
            say=lambda piece: print(piece, end="", flush=True),
        )  # fmt: skip
        print()


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)  # fmt: skip
def bench(context: typer.Context) -> None:
    """Time training steps and kernels against PyTorch and others; --help lists cases and options."""
    with one_line_errors():
        from engine.errors import ArgumentError

        root = Path(__file__).parents[1]
        if not (root / "benchmarks" / "run.py").is_file():
            raise ArgumentError(
                "bench: the benchmarks are not installed with the package; "
                "clone the repository, `pip install --editable .` there, and run it again"
            )
        sys.path.insert(0, str(root))
        from benchmarks import run

        run.main(context.args, prog="chainrule bench")


@app.command()
def info() -> None:
    """Versions, machine, devices, and where data and kernels are kept."""
    with one_line_errors():
        import os
        import platform

        import platformdirs

        from data import files
        from engine import OPS, DataError, DeviceError, get_backend
        from models.saving import versions

        for name, version in versions().items():
            print(f"{name:10} {version}")
        print(f"{'machine':10} {platform.machine()}, {os.cpu_count()} cores, {platform.system()}")
        for device in ("cpu", "cuda"):
            try:
                get_backend(device)
                print(f"{device:10} ready")
            except DeviceError as error:
                print(f"{device:10} {error}")
        print(f"{'ops':10} {len(OPS)}")
        print(f"{'cache':10} {platformdirs.user_cache_dir('chainrule', appauthor=False)}")
        try:
            print(f"{'data':10} {files.given_folder('mnist') or files.cache_folder('mnist')}")
        except DataError as error:
            print(f"{'data':10} {error}")


def what_stays(network: Network, folder: Path) -> str:
    """What an interrupted training leaves, and how it goes on."""
    if network.value.startswith("mnist"):
        return f"{folder / 'model.safetensors'} is of the last complete epoch, if there was one"
    plays = network is Network.shakespeare_gpt
    kept, last = ("checkpoint", "printed step") if plays else ("model", "complete epoch")
    return f"{folder / kept}.safetensors is of the last {last}, if there was one; --resume goes on from there"


@contextmanager
def one_line_errors(interrupted: str = "interrupted") -> Iterator[None]:
    """What goes wrong on purpose ends in one line and exit code 2; an interruption in 130."""
    from engine.errors import ChainRuleError

    try:
        yield
    except ChainRuleError as error:
        print(f"chainrule: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from None
    except OSError as error:  # a folder that can't be made, a full disk
        where = f"'{error.filename}': " if error.filename else ""
        print(f"chainrule: {where}{error.strerror or error}; choose another folder with --out", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print(f"chainrule: {interrupted}", file=sys.stderr)
        raise typer.Exit(130) from None
