"""Why a kernel is slower than PyTorch's, for docs/performance.md: of "op direction size", "op direction" or "op"."""

from __future__ import annotations

VIEW = "a view: nothing is computed, the row is the cost of a call"
CALL = "the Python around one call of a kernel (about 1 µs) against PyTorch's C++; the kernels are alike"
CACHES = "bound by the caches, as PyTorch's: the kernels are alike, and timings jump with where the two cores lie"
MEMORY = "bound by memory"
NUMPY = "runs in NumPy, on one core"
COPIED = "one copy, shared by the cores: bound by the caches, and by the Python of the call"
LAID_OUT = "a gradient has memory of its own, in C order: it is copied, where PyTorch keeps a view of the cotangent"
MANY = "made of several ops, each of which reads and writes all numbers; PyTorch has one kernel"
STAYS = "a recorded call, the walk back and a fresh gradient: Python, where nothing is computed"
PASS = "one pass on both cores, by way of a scratch in the first cache; then the Python of the call"
KERNEL = "a kernel of our own on both cores: the Python of the call, and the second core's start, are what is slower"
PRODUCT = "the same product in tiles of our own, on both cores; what differs is how it is cut and packed"

# Of elementwise ops without a reason of their own, by size.
BY_SIZE = {"1e2": CALL, "1e4": CALL, "1e6": CACHES, "1e7": MEMORY}

REASONS: dict[str, str] = {
    # shapes
    "diagonal backward": "zeros, then the cotangent at every step of a row and one number: two copies",
    "trace": "a view of the diagonal, then its sum: the Python of two ops",
    **dict.fromkeys(
        (
            "split", "unstack", "expand_dims", "squeeze", "reshape", "moveaxis", "swapaxes", "permute_dims",
            "matrix_transpose", "broadcast_to", "broadcast_arrays", "getitem forward", "diagonal", "flip",
        ),
        VIEW,
    ),
    **dict.fromkeys(
        (f"{op} backward" for op in ("expand_dims", "squeeze", "reshape", "broadcast_arrays")),
        STAYS,
    ),
    **dict.fromkeys(
        (
            f"{op} backward"
            for op in ("permute_dims", "moveaxis", "swapaxes", "matrix_transpose", "concat", "stack", "flip", "pad")
        ),
        LAID_OUT,
    ),
    **dict.fromkeys(
        (f"{op} backward" for op in ("getitem", "split", "unstack")),
        "the part's cotangent and the zeros around it are written in one copy, which is the size of the whole",
    ),
    **dict.fromkeys(("concat", "stack", "tile", "pad", "set_at", "roll"), COPIED),
    **dict.fromkeys(
        (
            "astype",
            "one_hot", "nonzero", "searchsorted", "unique_values", "argsort",
            "sort",
        ),
        NUMPY,
    ),
    "cumulative_sum backward": "flipped, summed and flipped: three passes",
    "diff": "two strided slices, which are no rows of one matrix, subtracted on one core",
    "topk": "each number is compared with the smallest that is kept, one after the other",
    **dict.fromkeys(
        ("scatter_add", "index_add"), "equal indices add up in a fixed order, in 64 bits or block by block"
    ),
    **dict.fromkeys(("take_along_axis", "tril", "triu", "argmax"), KERNEL),
    "repeat backward": "sums of as many numbers as there are repeats, by the general reduction",
    **dict.fromkeys(
        ("cumulative_prod", "cumulative_logsumexp"), "a step after the other, in 64 bits, sixteen rows side by side"
    ),
    **dict.fromkeys(("take", "embedding"), "indices are checked before they are read; take runs in NumPy"),
    "clip": "an op of three inputs, its bounds two arrays of one number: the Python of the call",
    "glu backward": "two formulas, each of one half, then the halves are joined",
    # reductions
    **dict.fromkeys(("norm", "power_norm", "count_nonzero"), PASS),
    "prod": "in 64 bits: nothing overflows on the way",
    "prod backward": "what lies before each number times what lies behind it: two passes, as a division would meet 0",
    **dict.fromkeys(("sum", "mean", "max", "min"), KERNEL),
    **dict.fromkeys(("sum backward", "mean backward"), LAID_OUT),
    # products
    "outer": "two reshapes around one formula: the Python of three ops",
    "outer backward": "two products of the whole cotangent, each then summed",
    "vecdot": PASS,
    "tensordot": "two reshapes around a product: the Python of three ops",
    "einsum": PRODUCT,
    **dict.fromkeys(("matmul", "matrix_product", "linear", "linear_relu"), PRODUCT),
    "matmul forward 192x128x32, 192x32x128": "a stack of small products, each of which packs its own panels",
    "attention_weights": "a product of small matrices for each head, and a softmax over it",
    # softmax and losses
    **dict.fromkeys(("softmax", "softmin", "softmax_gradient"), KERNEL),
    **dict.fromkeys(("mse", "mae", "huber", "binary_cross_entropy_with_logits"), PASS),
    # layers
    "batch_norm_inference": "one formula, whose rows are those of the channels: 64 numbers each",
    "layer_norm": KERNEL,
    "global_average_pool2d": "a mean over two axes by the general reduction, whose layout has the channels last",
    "global_max_pool2d": "a maximum over two axes by the general reduction, whose derivative shares ties",
    **dict.fromkeys(
        (f"conv2d {way} 32x32x32x64, 3x3x1x64 padding=same groups=64" for way in ("forward", "backward")),
        "each tap reads and writes the row of results again; PyTorch keeps some of it in registers",
    ),
    "conv2d_bias": "one input channel: 9 products a number, less than the memory it takes to write it",
}  # fmt: skip


def reason(op: str, direction: str, size: str) -> str:
    for key in (f"{op} {direction} {size}", f"{op} {direction}", op):
        if key in REASONS:
            return REASONS[key]
    return BY_SIZE.get(size, "")
