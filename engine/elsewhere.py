"""What PyTorch and NumPy call things that have another name here, for the errors of those who come from there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

HERE = {
    "absolute": "abs", "add_": "x[...] = x + y (x += y makes a new tensor)", "amax": "max", "amin": "min",
    "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2",
    "arctanh": "atanh", "array": "tensor", "as_tensor": "asarray", "bmm": "matmul", "cat": "concat",
    "concatenate": "concat", "contiguous": "x itself (kernels take any layout)", "copy": "x.clone",
    "cumprod": "cumulative_prod", "cumsum": "cumulative_sum", "data_ptr": "x.data.ctypes.data (on the CPU)",
    "diag": "diagonal of a matrix, eye(n) * x of a vector", "dim": "x.ndim", "div": "divide",
    "dot": "vecdot of vectors, matmul of matrices", "eq": "equal", "expand": "broadcast_to", "fill_": "x[...] = value",
    "from_numpy": "asarray", "gather": "take_along_axis(x, indices, axis)", "ge": "greater_equal", "gt": "greater",
    "half": "x.astype('float16')", "index_select": "take(x, indices, axis)", "int": "x.astype('int32')",
    "is_contiguous": "x.data.flags.c_contiguous", "is_tensor": "isinstance(x, Tensor)", "l1_loss": "mae",
    "le": "less_equal", "lt": "less", "manual_seed": "random.manual_seed", "masked_fill": "where(mask, value, x)",
    "mm": "matmul", "movedim": "moveaxis", "mse_loss": "mse", "mul": "multiply",
    "mul_": "x[...] = x * y (x *= y makes a new tensor)", "ne": "not_equal",
    "neg": "negative", "numel": "x.size", "permute": "permute_dims", "power": "pow", "ravel": "x.reshape(-1)",
    "repeat_interleave": "repeat", "sub": "subtract", "swapdims": "swapaxes", "t": "x.T",
    "transpose": "swapaxes of two axes, permute_dims of all", "true_divide": "divide", "type": "x.astype",
    "unsqueeze": "expand_dims", "view": "reshape", "zero_": "x[...] = 0",
}  # fmt: skip


def remedy(name: str, known: Iterable[str]) -> str:
    """What to write instead of a name that is none of ours, as the end of an error's message; "" if nobody knows."""
    if name in HERE:
        return f"; what others call {name} is {HERE[name]} here"
    near = difflib.get_close_matches(name.lower(), known, 1, 0.76)
    return f"; did you mean {near[0]}?" if near else ""


class NoAttribute(AttributeError):
    """A tensor has no attribute of this name: ops are functions here.

    What was meant is looked for when the text is read, for `hasattr` asks often and reads nothing.
    """

    def __init__(self, kind: type, name: str) -> None:
        super().__init__(kind, name)

    def __str__(self) -> str:
        from .op import OPS

        kind, name = self.args
        said = f"; write engine.{name}(x)" if name in OPS else remedy(name, dir(kind))
        return f"'{kind.__name__}' object has no attribute '{name}'{'' if name.startswith('_') else said}"
