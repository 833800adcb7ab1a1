"""What a run says of itself: a live bar on a terminal, else one line an epoch.

    Epoch 3/10  938/938  4.1 s  4.3 ms/step  loss 0.0312  accuracy 0.9903  val_loss 0.0298  val_accuracy 0.9905
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from engine.errors import ArgumentError

Logs = Mapping[str, Any]
EVERY = 0.1  # seconds between two pictures of the bar


class Progress:
    """verbose: 0 says nothing, 1 draws the bar (lines, where there is no terminal), 2 prints lines, "auto" is 1.

    One epoch, evaluation or prediction is `start`, a `step` after each batch, and `stop`.
    """

    def __init__(self, verbose: int | str = "auto") -> None:
        if verbose not in (0, 1, 2, "auto"):  # True and False are 1 and 0
            raise ArgumentError(f'verbose is {verbose!r}; it is "auto", 0 (nothing), 1 (a bar) or 2 (a line an epoch)')
        self.speaks = bool(verbose)
        self.draws = verbose in (1, "auto") and sys.stdout.isatty()
        self._live: Any = None

    def start(self, title: str, steps: int, done: int = 0) -> None:
        self.title, self.steps, self.done, self.first = title, steps, done, done
        self.began = self._drawn = time.perf_counter()
        if self.draws:
            from rich.live import Live  # only a terminal waits for it

            self._live = Live(auto_refresh=False, transient=True)
            self._live.start()

    def step(self, logs: Callable[[], Logs]) -> None:
        """After a batch. `logs` is asked only when a picture is due."""
        self.done += 1
        if self._live is not None and (now := time.perf_counter()) - self._drawn > EVERY:
            self._drawn = now
            self._live.update(self._picture(logs(), now), refresh=True)

    def stop(self, logs: Logs) -> None:
        """The epoch is over: the bar becomes a line."""
        self.close()
        if self.speaks:
            print(line(self._head(time.perf_counter()), logs), flush=True)

    def close(self) -> None:
        """Take the bar away; also when a run breaks off."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _head(self, now: float) -> list[str]:
        seconds, steps = now - self.began, max(1, self.done - self.first)
        title = [self.title] if self.title else []
        return [*title, f"{self.done}/{self.steps}", duration(seconds), f"{duration(seconds / steps)}/step"]

    def _picture(self, logs: Logs, now: float) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        left = (now - self.began) / (self.done - self.first) * (self.steps - self.done)
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self.steps, completed=self.done, width=24)
        row.add_row(self.title, bar, line(self._head(now)[-3:] + [f"{duration(left)} left"], logs))
        return row


def line(head: list[str], logs: Logs) -> str:
    numbers = [f"{name} {number(value)}" for name, value in logs.items() if isinstance(value, (int, float))]
    return "  ".join(head + numbers)


def number(value: float) -> str:
    """0.0312, 1.2e-05, 12.34, 1234."""
    if value == 0 or 1e-3 <= abs(value) < 10:
        return f"{value:.4f}"
    return f"{value:.3g}" if abs(value) < 1e-3 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """840 us, 4.3 ms, 4.1 s, 1 min 20 s, 2 h 05 min."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.{1 if seconds < 0.1 else 0}f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
