"""What PyTorch and NumPy call things that have another name here, for the errors of those who come from there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

HERE = {
    "absolute": "abs", "add_": "x += y", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh",
    "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "bmm": "matmul", "cat": "concat",
    "concatenate": "concat", "contiguous": "x itself: kernels take any layout", "cumprod": "cumulative_prod",
    "cumsum": "cumulative_sum", "data_ptr": "x.data.ctypes.data", "dim": "x.ndim", "dot": "vecdot",
    "from_numpy": "tensor", "gather": "take_along_axis", "index_select": "take",
    "is_contiguous": "x.data.flags.c_contiguous", "masked_fill": "where", "mm": "matmul", "movedim": "moveaxis",
    "mul_": "x *= y", "numel": "x.size", "permute": "permute_dims", "power": "pow", "ravel": "x.reshape(-1)",
    "swapdims": "swapaxes", "transpose": "swapaxes of two axes, permute_dims of all", "true_divide": "divide",
    "type": "x.astype", "unsqueeze": "expand_dims", "view": "reshape", "zero_": "x[...] = 0",
}  # fmt: skip


def remedy(name: str, known: Iterable[str]) -> str:
    """What to write instead of a name that is none of ours, as the end of an error's message; "" if nobody knows."""
    if name in HERE:
        return f"; what others call {name} is {HERE[name]} here"
    near = difflib.get_close_matches(name, known, 1, 0.75)
    return f"; did you mean {near[0]}?" if near else ""
