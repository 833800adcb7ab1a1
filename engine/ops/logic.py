"""Logic: of truth values, and of the bits of integers. Nothing here has a derivative."""

from __future__ import annotations

from typing import Any

from ..op import ElementwiseOp, elementwise
from ..samples import boolean, integers

# ------------------------------------------------------------------------------------------------ truth values
logical_not = elementwise(
    "logical_not", numpy="np.logical_not", mpmath="not {0}", cuda="!{0}", latex=r"\lnot {0}", precedence=3,
    result="bool", domain=boolean, special={True: False, False: True},
    invariants=[lambda f, x: f(f(x)) == x],
)  # fmt: skip

logical_and = elementwise(
    "logical_and", inputs="a b", numpy="np.logical_and", mpmath="bool({0} and {1})", cuda="{0} && {1}",
    latex=r"{0} \land {1}", precedence=0, result="bool", domain=boolean,
    special={(True, True): True, (True, False): False, (False, False): False},
    invariants=[lambda f, a, b: f(a, b) == ~logical_or(~a, ~b)],  # De Morgan
)  # fmt: skip

logical_or: ElementwiseOp = elementwise(
    "logical_or", inputs="a b", numpy="np.logical_or", mpmath="bool({0} or {1})", cuda="{0} || {1}",
    latex=r"{0} \lor {1}", precedence=0, result="bool", domain=boolean,
    special={(True, True): True, (True, False): True, (False, False): False},
    invariants=[lambda f, a, b: f(a, b) == ~logical_and(~a, ~b)],
)  # fmt: skip

logical_xor = elementwise(
    "logical_xor", inputs="a b", numpy="np.logical_xor", mpmath="bool({0}) != bool({1})", cuda="!{0} != !{1}",
    latex=r"{0} \oplus {1}", precedence=0, result="bool", domain=boolean,
    special={(True, True): False, (True, False): True, (False, False): False},
    invariants=[lambda f, a, b: f(f(a, b), b) == a],
)  # fmt: skip


# ------------------------------------------------------------------------------------------------ bits
def _floats(f: Any) -> Any:
    return f(*([1.5] * len(f.inputs)))


bitwise_invert = elementwise(
    "bitwise_invert", numpy="np.invert", mpmath="mp.mpf(~int({0}))", cuda="invert", latex=r"\lnot {0}", precedence=3,
    result="integer", domain=integers(-99, 99), special={0: -1, 5: -6, True: False},
    invariants=[lambda f, x: f(x) == -x - 1],  # two's complement
    errors=[(_floats, r"bitwise_invert: takes integers or booleans, got float32; cast with \.astype\('int64'\)")],
)  # fmt: skip

bitwise_and = elementwise(
    "bitwise_and", inputs="a b", numpy="np.bitwise_and", mpmath="mp.mpf(int({0}) & int({1}))", cuda="{0} & {1}",
    latex=r"{0} \mathbin{{\&}} {1}", precedence=0, result="integer", domain=integers(-99, 99),
    special={(12, 10): 8, (-1, 7): 7},
    invariants=[lambda f, a, b: f(a, b) == ~bitwise_or(~a, ~b)],
    errors=[(_floats, "bitwise_and: takes integers or booleans, got float32")],
)  # fmt: skip

bitwise_or: ElementwiseOp = elementwise(
    "bitwise_or", inputs="a b", numpy="np.bitwise_or", mpmath="mp.mpf(int({0}) | int({1}))", cuda="{0} | {1}",
    latex=r"{0} \mathbin{{|}} {1}", precedence=0, result="integer", domain=integers(-99, 99),
    special={(12, 10): 14, (0, 7): 7},
    invariants=[lambda f, a, b: f(a, b) + bitwise_and(a, b) == a + b],
    errors=[(_floats, "bitwise_or: takes integers or booleans, got float32")],
)  # fmt: skip

bitwise_xor = elementwise(
    "bitwise_xor", inputs="a b", numpy="np.bitwise_xor", mpmath="mp.mpf(int({0}) ^ int({1}))", cuda="{0} ^ {1}",
    latex=r"{0} \oplus {1}", precedence=0, result="integer", domain=integers(-99, 99),
    special={(12, 10): 6, (7, 7): 0},
    invariants=[lambda f, a, b: f(f(a, b), b) == a],
    errors=[(_floats, "bitwise_xor: takes integers or booleans, got float32")],
)  # fmt: skip

bitwise_left_shift = elementwise(
    "bitwise_left_shift", inputs="a n", numpy="np.left_shift", mpmath="mp.mpf(int({0}) << int({1}))", cuda="shift_left",
    latex=r"{0} \ll {1}", precedence=1, result="integer", domain=[integers(-99, 99), integers(0, 8)],
    special={(3, 4): 48, (-1, 1): -2},
    invariants=[lambda f, a, n: f(a, n) == a * 2**n],
    errors=[(_floats, "bitwise_left_shift: takes integers or booleans, got float32")],
)  # fmt: skip

bitwise_right_shift = elementwise(
    "bitwise_right_shift", inputs="a n", numpy="np.right_shift", mpmath="mp.mpf(int({0}) >> int({1}))",
    cuda="shift_right", latex=r"{0} \gg {1}", precedence=1, result="integer",
    domain=[integers(-99, 99), integers(0, 8)],
    special={(48, 4): 3, (-1, 1): -1},
    invariants=[lambda f, a, n: f(a, n) == a // 2**n],  # rounds down, the sign stays
    errors=[(_floats, "bitwise_right_shift: takes integers or booleans, got float32")],
)  # fmt: skip
