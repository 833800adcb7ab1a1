"""What can go wrong, in the user's words.

Every message says four things: what was asked, where (op and argument), the numbers met, and the remedy. Each class
also derives from the builtin exception that a caller would expect, so that `except ValueError` keeps working.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ChainRuleError(Exception):
    """Base of every error that Chain Rule raises on purpose."""


class ShapeError(ChainRuleError, ValueError):
    """Shapes do not fit an op, a layer or a parameter."""


class DTypeError(ChainRuleError, TypeError):
    """A dtype is not supported, or cannot be mixed."""


class DeviceError(ChainRuleError, RuntimeError):
    """A device is missing, or tensors of two devices meet."""


class GradientError(ChainRuleError, RuntimeError):
    """A derivative cannot be had: no graph, a freed graph, a value changed in place, a NaN under detect_anomaly."""


class ArgumentError(ChainRuleError, ValueError):
    """An argument has a value outside of what the function accepts."""


class IndexRangeError(ChainRuleError, IndexError):
    """An index or a label lies outside its axis."""


class NotBuiltError(ChainRuleError, RuntimeError):
    """A parameter or a layer is read before its shape is known."""


class DataError(ChainRuleError, ValueError):
    """A file or an array of data is missing, damaged, empty or full of NaN."""


class CheckpointError(ChainRuleError, RuntimeError):
    """A saved model cannot be written or read."""


def near(name: str, names: Iterable[str]) -> str:
    """"; did you mean x, y?" of names that look like this one; "" if none does."""
    alike = get_close_matches(name, list(names), 3)
    return f"; did you mean {', '.join(alike)}?" if alike else ""
