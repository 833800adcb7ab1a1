"""The README's pictures, from the real thing: python docs/screenshots.py (after `make docs`)

A browser without a window takes them, so Chromium must be there (Debian, Ubuntu: apt install chromium). They go to
docs/pictures/, each smaller than 200 KB:

    graph.png       the drawing of a small network's loss
    notebook.png    a page of a notebook
    page.png        the page of an op
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURES, SITE = ROOT / "docs" / "pictures", ROOT / "site"
BROWSERS = "chromium", "chromium-browser", "google-chrome"
LARGEST = 200_000  # bytes


def graph(folder: Path) -> Path:
    """One step of a small classifier, drawn."""
    import engine
    from engine.view import view

    x = engine.tensor([[0.5, -1.0]])
    W = engine.tensor([[0.1, -0.2, 0.4], [0.3, 0.4, -0.1]], requires_grad=True)
    b = engine.tensor([0.0, 0.1, 0.0], requires_grad=True)
    loss = engine.cross_entropy([2], engine.tanh(x @ W + b))
    return view(loss, names={"x": x, "W": W, "b": b}, title="one step").save(folder / "graph.html")


def take(browser: str, page: Path, name: str, width: int, height: int) -> None:
    target = PICTURES / f"{name}.png"
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files",
         f"--window-size={width},{height}", "--virtual-time-budget=5000", f"--screenshot={target}", page.as_uri()],
        check=True, capture_output=True,
    )  # fmt: skip
    smaller(target)
    print(target.relative_to(ROOT), f"{target.stat().st_size / 1000:.0f} KB")


def smaller(picture: Path) -> None:
    """In 128 colours: enough for text and lines."""
    from PIL import Image

    Image.open(picture).convert("RGB").quantize(128).save(picture, optimize=True)
    if picture.stat().st_size > LARGEST:
        sys.exit(f"{picture} has {picture.stat().st_size} bytes, more than {LARGEST}: take a smaller window")


def main() -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"screenshots: needs one of {', '.join(BROWSERS)} (Debian, Ubuntu: apt install chromium)")
    if not (SITE / "index.html").exists():
        sys.exit("screenshots: there is no site yet; run make docs")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        take(browser, graph(Path(folder)), "graph", 1000, 900)
    take(browser, SITE / "notebooks" / "03_activations.html", "notebook", 1200, 1200)
    take(browser, SITE / "ops" / "sigmoid.html", "page", 1240, 1400)


if __name__ == "__main__":
    main()
