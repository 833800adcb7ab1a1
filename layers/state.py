"""Values into parameters by name: all of them, or an error that lists what does not fit and nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.errors import ArgumentError, DTypeError, ShapeError
from engine.parameter import Parameter


class Mismatch(NamedTuple):
    """Names in the model that got no values, and names of values that the model has no place for."""

    missing: list[str]
    unexpected: list[str]


def load(who: str, parameters: Mapping[str, Parameter], values: Mapping[str, Any], strict: bool) -> Mismatch:
    """Assign values[path] to parameters[path]."""
    found = Mismatch([n for n in parameters if n not in values], [n for n in values if n not in parameters])
    shared = [n for n in values if n in parameters]
    misshapen = [
        f"{n} (has {parameters[n].known_shape}, got {np.shape(values[n])})"
        for n in shared
        if parameters[n].known_shape not in (None, np.shape(values[n]))
    ]
    problems = []
    not_numbers = [f"{n} ({np.asarray(values[n]).dtype})" for n in shared if not _numbers(values[n])]
    if not_numbers:
        raise DTypeError(
            f"load_state_dict: values must be real numbers, and these are not: {', '.join(not_numbers)}. "
            "Nothing was loaded"
        )
    if strict and found.missing:
        problems.append(f"missing: {', '.join(found.missing)}")
    if strict and found.unexpected:
        problems.append(f"unexpected: {', '.join(found.unexpected)}")
    if misshapen:
        problems.append(f"of another shape: {', '.join(misshapen)}")
    if problems:
        kind = ShapeError if misshapen else ArgumentError
        advice = "" if misshapen else "; strict=False loads what fits"
        raise kind(f"load_state_dict: {who} and the values differ; {'; '.join(problems)}. Nothing was loaded{advice}")
    for name in shared:
        parameters[name].path = parameters[name].path or name
        parameters[name].assign(values[name])
    return found


def _numbers(values: Any) -> bool:
    dtype = values.dtype if hasattr(values, "dtype") else np.asarray(values).dtype
    return dtype.kind in "fiub" or dtype.name == "bfloat16"
