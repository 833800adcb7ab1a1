"""Kernels with one thing wrong: what each test of this folder must notice. Some follow from the text, some are by hand.

A mutant is a module, what is changed (which occurrence of which words), and what stands there instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.kernels.cuda import launch


@dataclass(frozen=True)
class Mutant:
    """The `nth` match of a pattern in a module's text, replaced."""

    module: str
    label: str
    pattern: str
    replacement: str
    nth: int = 0
    shared: bool = False  # in what all modules share

    def __str__(self) -> str:
        return f"{self.module}: {self.label} {self.nth}"

    def edit(self, source: str) -> str:
        """A text with the mistake, if it is this module's."""
        if f'#line 1 "{self.module}.cu"' not in source:
            return source
        head, own = parts(source)
        text = head if self.shared else own
        match = list(re.finditer(self.pattern, text))[self.nth]
        wrong = text[: match.start()] + match.expand(self.replacement) + text[match.end() :]
        return wrong + own if self.shared else head + wrong


def parts(source: str) -> tuple[str, str]:
    """What all modules share, and a module's own text."""
    at = source.index('#line 1 "')
    return source[:at], source[at:]


# --- what can go wrong anywhere --------------------------------------------------------------------------------------

EVERYWHERE = [
    ("dropped barrier", r"__syncthreads\(\);", ";"),
    ("wrong mask", r"0xffffffffu", "0x0000ffffu"),
    ("row behind the last", r"\((row|item) >= count\) return", r"(\1 > count) return"),
    ("no row check", r"if \((row|item) >= count\) return;", ""),
    ("one number too many in a row", r"i < n; i \+= blockDim", "i <= n; i += blockDim"),
    ("first number of a row left out", r"Int i = threadIdx\.x;", "Int i = threadIdx.x + 1;"),
    ("one element too many", r"(o|i) < (size|n|s\.N \* H); \1 \+= element", r"\1 <= \2; \1 += element"),
    ("first element left out", r"Int (o|i|c|b) = first_element\(\);", r"Int \1 = first_element() + 1;"),
    ("column behind the last", r"\(c < C\)|\(column < inner\)", "(true)"),
    ("seven of eight rows", r"(r|i) \+= 8\)", r"\1 += 9)"),
]


def everywhere() -> Iterator[Mutant]:
    """Each of these, wherever it can be made."""
    for module in launch.modules():
        own = parts(launch.source(module, launch.dtypes(module)[0]))[1]
        for label, pattern, replacement in EVERYWHERE:
            for nth in range(len(re.findall(pattern, own))):
                yield Mutant(module, label, pattern, replacement, nth)


# --- by hand ---------------------------------------------------------------------------------------------------------

_BY_HAND = {
    "softmax": [
        ("masked rows divide by 0", r"s == A\(0\) \? A\(0\) : A\(1\) / s", "A(1) / s"),
        ("the logarithm of 0", r"s == A\(0\) \? A\(0\) : log\(s\)", "log(s)"),
        ("-inf - -inf", r"m == -infinity\(\) \? A\(0\) : m", "m"),
        ("rows side by side", r"row / inner \* n \* inner \+ row % inner", "row * n"),
        ("no maximum", r"load\(x\[i \* step\]\) - m", "load(x[i * step])"),
        ("the sum of one array", r"load\(g\[i \* inner\]\) \* load\(p\[i \* inner\]\)", "load(g[i * inner])"),
    ],
    "cross_entropy": [
        ("masked rows", r"lse == -infinity\(\) \? A\(0\) : lse", "lse"),
        ("label beside the row", r"label < n \? label : n - 1", "label + 1"),
        ("no smoothing of the label", r"\(A\(1\) - smoothing\) \* loss", "loss"),
        ("share of all classes", r"share = smoothing / A\(n\)", "share = smoothing"),
        ("weight forgotten", r" \* weight - truth", " - truth"),
        ("scale forgotten", r"\(shift - load\(z\[row \* n \+ i\]\)\) \* scale", "(shift - load(z[row * n + i]))"),
        ("every lane writes", r"if \(threadIdx\.x == 0\)", ""),
    ],
    "reduce": [
        ("a NaN is lost", r"a != a \|\| a > b \? a : b", "a > b ? a : b"),
        ("a NaN is lost", r"a != a \|\| a < b \? a : b", "a < b ? a : b"),
        ("a sum that starts at 1", r"infinity\(\) : A\(0\); }", "infinity() : A(1); }"),
        ("stretches overlap", r"first \+ STRETCH < n \? first \+ STRETCH : n", "n"),
        ("rows of stretches overlap", r"first \+ STRETCH_ROWS < n \? first \+ STRETCH_ROWS : n", "n"),
        ("one warp left out", r"int warp = 1; warp < blockDim\.x / 32", "int warp = 2; warp < blockDim.x / 32"),
        ("one of eight left out", r"int k = 1; k < 8", "int k = 1; k < 7"),
        ("one centre for all", r"centres\[row \* centre_step\]", "centres[0]"),
        ("one centre for all", r"centres\[\(outer \* inner \+ column\) \* centre_step\]", "centres[column]"),
        ("every lane writes", r"threadIdx\.x == 0\) y\[item\]", "threadIdx.x < 2) y[item]"),
        ("squares unsquared", r"\(v - c\) \* \(v - c\)", "(v - c)"),
    ],
    "bias": [
        ("bias by rows", r"load\(bias\[i % F\]\)", "load(bias[i / F])"),
        ("no rectifier", r"relu && v < A\(0\) \? A\(0\) : v", "v"),
        ("zero passes", r"load\(y\[i\]\) > A\(0\) \?", "load(y[i]) > A(-1) ?"),
    ],
    "random": [
        ("nine rounds", r"round < 10", "round < 9"),
        ("no skip", r"4 \* b \+ k - skip", "4 * b + k"),
        ("stream in the low half", r"c2 = \(Word\)stream, c3 = \(Word\)\(stream >> 32\)", "c2 = 0, c3 = (Word)stream"),
        ("words behind the last", r"i >= 0 && i < n", "i >= 0"),
        ("words before the first", r"i >= 0 && i < n", "i < n"),
        ("another multiplier", "0xD2511F53u", "0xD2511F51u"),
    ],
    "dropout": [
        ("the same word for all", r"words\.at\[k\] <= last", "words.at[0] <= last"),
        ("keeps what it drops", r"words\.at\[k\] <= last", "words.at[k] > last"),
        ("the stream of before", r"stream = stream_now\(stream, now\);", ""),
        ("no scale", r"load\(x\[4 \* b \+ k\]\) \* scale", "load(x[4 * b + k])"),
        ("a whole block at the end", r"k < 4 && 4 \* b \+ k < n", "k < 4"),
        ("another key", "0xBB67AE85u", "0xBB67AE86u"),
    ],
    "norm": [
        ("eps outside of the root", r"sqrt\((row_sum\(squares\) / A\(n\)) \+ eps\)", r"(sqrt(\1) + eps)"),
        ("divided by n - 1", r"row_sum\(squares\) / A\(n\)", "row_sum(squares) / A(n - 1)"),
        ("mean counts for RMS", r"if \(centred\)", "if (true)"),
        ("level counts for RMS", r"centred \? row_sum\(level\) / A\(n\) : A\(0\)", "row_sum(level) / A(n)"),
        ("no slope", r"h - level - x_hat \* slope", "h - level"),
        ("statistics of the wrong axis", r"per_row \? r : c", "c"),
        ("statistics of the wrong axis", r"per_row \? r : c", "per_row ? r : 0"),
        ("the mean of the first part", r"m \+= means\[c\];", "m = means[c];"),
        ("squares between parts", r" \+ A\(behind - p \* rows\) \* d \* d", ""),
        ("parts of one weight", r"A\(behind - p \* rows\) / A\(count\)", "A(rows) / A(count)"),
        ("one of eight left out", r"int k = 0; k < 8", "int k = 1; k < 8"),
        ("no beta", r"or_else\(beta, c, A\(0\)\)", "A(0)"),
        ("gamma_bar not divided", r"gamma_bar\[c\] / count", "gamma_bar[c]"),
        ("rows beyond the table", r"\(part \+ 1\) \* rows < count \? (.*) : count", r"\1"),
    ],
    "scan": [
        ("a step too few", r"step < 32; step \*= 2", "step < 16; step *= 2"),
        ("the first lanes take part", r"if \(lane >= step\)", "if (lane > 0)"),
        ("own warp counted", r"w < warp; w\+\+", "w <= warp; w++"),
        ("the lane before forgotten", r"if \(lane > 0\) before \+= earlier;", ""),
        ("own stretch counted", r"t / STRETCH - 1\]", "t / STRETCH]"),
        ("earlier stretches forgotten", r"before && t >= STRETCH", "false"),
        ("numbers behind the last", r"if \(first \+ k < n\) sums", "sums"),
        ("reads behind the last", r"first \+ k < n \? load", "true ? load"),
        ("no zero before", r"% longer - skip", "% longer"),
        ("total without the last", r"= before \+ sum;", "= before;"),
    ],
    "embedding": [
        ("no clamp", r"id < 0 \? 0 : id < rows \? id : rows - 1", "id"),
        ("rows for columns", r"inside\(ids\[i / D\], rows\) \* D \+ i % D", "inside(ids[i / D], rows) * D"),
        ("counts not cleared", r"counts\[d \* threads \+ t\] = 0;", ""),
        ("three bits", r"& \(DIGITS - 1\)", "& (DIGITS - 2)"),
        ("threads behind the last", r"if \(t >= threads\) return;", ""),
        ("chunks overlap", r"i < \(t \+ 1\) \* CHUNK && i < n", "i < n"),
        ("no running start", r"\* threads \+ t\]\+\+\]", "* threads + t]]"),
        ("what began earlier is added at once", r"bool earlier = first > 0 && .*", "bool earlier = false;"),
        ("what goes on is added at once", r"else if \(next == id\)", "else if (false)"),
        ("spans begin anywhere", r"if \(first > 0 && id_at.* return;.*", ""),
        ("spans end at once", r"while \(behind < n", "while (window == blockIdx.x / tiles && behind < n"),
        ("overwritten, not added", r"store\(load\(table\[id \* D \+ c\]\) \+ sum\)", "store(sum)"),
        ("overwritten, not added", r"store\(load\(table\[id \* D \+ c\]\) \+ sum\)", "store(sum)", 1),
        ("columns behind the last", r"if \(c >= D\) return;", ""),
        ("sums go on", r"earlier = false;\n        sum = A\(0\);", "earlier = false;"),
        ("places for ids", r"g\[order\[i\] \* D \+ c\]", "g[i * D + c]"),
    ],
    "pool": [
        ("the last of equals", r"!\(value <= best\)", "!(value < best)"),
        ("a NaN loses", r"!\(value <= best\) && best == best", "value > best"),
        ("image's upper edge", r"h < 0 \? -h : 0", "0"),
        ("image's lower edge", r"h \+ at\.kh < at\.H \? at\.kh : at\.H - h", "at.kh"),
        ("image's left edge", r"w < 0 \? -w : 0", "0"),
        ("image's right edge", r"w \+ at\.kw < at\.W \? at\.kw : at\.W - w", "at.kw"),
        ("a window too few", r"reach < stride \? 0 : reach / stride", "reach < stride ? 0 : reach / stride + 1"),
        ("windows behind the last", r"i < count \? i : count - 1", "i"),
        ("mean of all elements", r"A\(\(on\.u1 - on\.u0\) \* \(on\.v1 - on\.v0\)\)", "A(at.kh * at.kw)"),
        ("shares of all elements", r"A\(\(on\.u1 - on\.u0\) \* \(on\.v1 - on\.v0\)\)", "A(at.kh * at.kw)", 1),
        ("rows for columns", r"u \* at\.kw \+ v;", "v * at.kw + u;"),
    ],
    "conv": [
        ("no dilation", r"u \* at\.dh - at\.top", "u - at.top"),
        ("no stride", r"p\.w \* at\.sw", "p.w"),
        ("beside the image", r"h >= 0 && h < at\.H && w >= 0 && w < at\.W", "h >= 0 && h < at.H"),
        ("above the image", r"h >= 0 && h < at\.H && w >= 0 && w < at\.W", "h < at.H && w >= 0 && w < at.W"),
        ("first group's channels", r"group \* each \+ c\]", "c]"),
        ("between the strides", r"h % at\.sh != 0 \|\| ", ""),
        ("windows behind the last", r" \|\| j >= at\.OW", ""),
        ("before the first window", r"if \(w < 0 \|\| ", "if ("),
        ("another group", r"group = p\.c / each", "group = 0"),
    ],
    "recurrent": [
        ("steps that are masked", r"if \(mask\[at\]\)", "if (true)"),
        ("steps that are masked", r"if \(mask\[at\]\)", "if (true)", 1),
        ("no dropout", r"h \* load\(factors\[i\]\)", "h"),
        ("no dropout back", r"load\(past_bar\[i\]\) \* load\(factors\[i\]\)", "load(past_bar[i])"),
        ("gates in another order", r"f \* c \+ in \* g", "in * c + f * g"),
        ("new for old", r"u \* h \+ \(A\(1\) - u\) \* a", "(A(1) - u) * h + u * a"),
        ("reset before the bias", r"load\(gates\[2 \* H\]\) \+ r \* keep", "load(gates[2 * H]) + keep"),
        ("cotangents of other steps", r"s\.t >= s\.first", "true"),
        ("state of this step", r"before\[\(at - 1\) \* H \+ j\]", "before[at * H + j]"),
        ("no state before the first", r"s\.t > 0 \? before\[\(at - 1\) \* H \+ j\] : start\[i\]", "start[i]"),
        ("one m for all", r"own && k == 2 \? of_m : bars\[k\]", "bars[k]"),
        ("cell's cotangent kept", r"c_bar\[i\] = store\(c \* f\);", ""),
        ("four gates for all", r"if \(k >= s\.gates\) break;", ""),
    ],
    "attention": [
        ("the stream of before", r"drop\.stream = stream_now\(drop\.stream, now\);", ""),
        ("keys behind the last", r"\|\| s >= at\.S \|\|", "||"),
        ("the future", r"\(at\.causal && s > t \+ at\.S - at\.T\)", "false"),
        ("aligned at the start", r"s > t \+ at\.S - at\.T", "s > t"),
        ("no running rescale", r"sum\[r\] \* old \+ warp_sum", "sum[r] + warp_sum"),
        ("values not rescaled", r"sums\[r\]\[slot\] \*= old;", ";"),
        ("no bias", r"return bias \? z .*;", "return z;"),
        ("no mask", r"if \(mask && !mask.*\n", "\n"),
        ("group of another head", r"a / \(at\.h / at\.groups\)", "a % at.groups"),
        ("word of another weight", r"\(\(n \* at\.h \+ a\) (\* at\.T \+ t\) \* at\.S \+ s;)", r"(n \1"),
        ("keys of a shorter tile", r"first \+ TILE \+ at\.S - at\.T", "first + at.S - at.T"),
        ("queries of a later tile", r"t / TILE \* TILE", "t / TILE * TILE + TILE"),
        ("the row's product", r" - products\[row\]\)", ")"),
        ("one head of the group", r"a < \(group \+ 1\) \* each", "a < group * each + 1"),
        ("columns behind the last", r"if \(c < at\.e\) y", "y"),
        ("a query without keys", r"sum\[r\] == A\(0\) \? A\(0\) : A\(1\) / sum\[r\]", "A(1) / sum[r]"),
    ],
}


def by_hand() -> Iterator[Mutant]:
    """One module after the other."""
    for module, found in _BY_HAND.items():
        for label, pattern, replacement, *nth in found:
            yield Mutant(module, label, pattern, replacement, *nth)


def in_common() -> Iterator[Mutant]:
    """In common.cuh, noticed by a module that uses it."""
    barrier, mask = r"__syncthreads\(\);", "0xffffffffu"
    for nth in range(4):
        yield Mutant("norm" if nth < 2 else "softmax", "dropped barrier of all modules", barrier, ";", nth, True)
    for nth in range(2):
        yield Mutant("softmax", "wrong mask of all modules", mask, "0x0000ffffu", nth, True)
    yield Mutant("softmax", "a step too few", "step = 16", "step = 8", 0, True)
    yield Mutant("softmax", "a warp left out", "warp = 0", "warp = 1", 0, True)
    yield Mutant("softmax", "the smaller", r"a > b \? a : b", "a < b ? a : b", 0, True)
    yield Mutant("bias", "elements twice", r"\+ threadIdx\.x; }", "+ threadIdx.x / 2; }", 0, True)
    yield Mutant("softmax", "rows twice", r"\+ threadIdx\.y; }", "+ threadIdx.y / 2; }", 0, True)


MUTANTS = [*in_common(), *by_hand(), *everywhere()]
