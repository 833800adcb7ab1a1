"""Parameters that are integers, over the whole registry: what Python takes as an index is one, and nothing else is."""

import re

import numpy as np
import pytest

from engine import OPS, Tensor, integers, tensor
from engine.errors import ArgumentError, ChainRuleError
from engine.samples import Draw
from engine.structural import CompositeOp, StructuralOp

OURS = [op for op in OPS.values() if isinstance(op, (StructuralOp, CompositeOp)) and op.note.samples]
DECLARED = [(op, *declared) for op in OURS for declared in op.integers]
WORDS_OF_THEIR_OWN = {"shape", "index", "padding", "pad_width", "pool_padding", "axes"}
FLOATS_TOO = {"min", "max", "p", "ord", "correction"}
NO_INTEGERS = [1.0, 1.5, float("nan"), np.float32(1), True, np.True_, "1", 1j, (0, 1.0), (0, True), [None], {0}]


def samples(op, count=8):
    return [op.note.samples(Draw.seeded(seed)) for seed in range(count)]


def values(y):
    return [np.asarray(t.numpy()) for t in (y if isinstance(y, (tuple, list)) else [y]) if isinstance(t, Tensor)]


@pytest.mark.parametrize(("op", "name", "usual", "kinds"), DECLARED, ids=lambda x: getattr(x, "name", None))
def test_what_is_no_integer_is_an_error_that_says_what_to_give(op, name, usual, kinds):
    inputs, params = samples(op, 1)[0]
    others = [None] * ("None" not in kinds and usual is not None) + [3] * ("int" not in kinds)
    for bad in [*NO_INTEGERS, *others]:
        said = rf"^{re.escape(op.name)}: {name} is {re.escape(repr(bad))}; give (an integer|a sequence of integers)"
        with pytest.raises(ArgumentError, match=said):
            op(*inputs, **{**params, name: bad})


@pytest.mark.parametrize(("op", "name", "usual", "kinds"), DECLARED, ids=lambda x: getattr(x, "name", None))
def test_what_counts_as_an_integer_gives_what_the_integer_gives(op, name, usual, kinds):
    for inputs, params in samples(op):
        value = params.get(name, usual)
        expected = values(op(*inputs, **{**params, name: value}))
        if isinstance(value, tuple):
            forms = [list(value), tuple(np.int64(v) for v in value), np.array(value, np.int32)]
        elif value is None:
            continue
        else:
            forms = [np.uint64(value) if value > 2**31 else np.int32(value), np.array(value)]
        for form in forms:
            for found, right in zip(values(op(*inputs, **{**params, name: form})), expected, strict=True):
                np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("op", OURS, ids=lambda op: op.name)
def test_whatever_is_an_integer_in_a_sample_is_declared_as_one(op):
    known = {name for name, *_ in op.integers} | WORDS_OF_THEIR_OWN | FLOATS_TOO
    for _, params in samples(op):
        for name, value in params.items():
            if type(value) is int or (isinstance(value, tuple) and value and all(type(v) is int for v in value)):
                assert name in known, f"{name} of {op.name} is an integer: annotate it as one"


@pytest.mark.parametrize("op", [op for op in OURS if op.defaults.keys() & WORDS_OF_THEIR_OWN], ids=lambda op: op.name)
@pytest.mark.parametrize("bad", [1.5, "1", (0.5,), ((1.5, 0),)])
def test_shapes_and_margins_that_are_no_integers_are_errors_too(op, bad):
    inputs, params = samples(op, 1)[0]
    for name in (op.defaults.keys() & WORDS_OF_THEIR_OWN) - {name for name, *_ in op.integers}:
        with pytest.raises(ChainRuleError, match=r"x\[\.\.\.\]" if name == "index" else op.name):
            op(*inputs, **{**params, name: bad})


def test_the_words():
    x = np.ones((2, 3))
    for bad, said in (
        (2.0, "topk: k is 2.0; give an integer, such as 2"),
        (2.5, "topk: k is 2.5; give an integer"),
        (None, "topk: k is None; give an integer"),
        ((1, 2), "topk: k is (1, 2); give an integer"),
        (tensor([1, 2]), "topk: k is tensor([1, 2], shape=(2,), dtype=int64); give an integer"),
    ):
        with pytest.raises(ArgumentError) as error:
            OPS["topk"](x, k=bad)
        assert str(error.value) == said
    with pytest.raises(
        ArgumentError, match=r"^sum: axis is \(0, 1.0\); give an integer, a sequence of integers or None"
    ):
        OPS["sum"](x, axis=(0, 1.0))


def test_annotations_are_read_as_text_or_as_types():
    def body(x, *, a: int, b: "int | None" = None, c: float = 1.0, d: int | None = 2, e: integers.Ints = 1, f=3): ...

    assert [(name, kinds) for name, _, kinds in integers.declared(body)] == [
        ("a", ("int",)), ("b", ("int", "None")), ("d", ("int", "None")), ("e", ("int", "Sequence[int]")),
    ]  # fmt: skip
