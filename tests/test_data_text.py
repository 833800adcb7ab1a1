"""Laws of padding, of batches by length, and of vocabularies."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, strategies as st

from data import Batches, BucketedBatches, TextVectorization, pad_sequences
from data.text import Characters, by_frequency, text_to_word_sequence
from data.tokenizer import Tokenizer
from engine.errors import ArgumentError, DataError, DTypeError, ShapeError

rows = st.lists(st.lists(st.integers(1, 99), max_size=9), min_size=1, max_size=12)

# --- padding ----------------------------------------------------------------------------------------------------------


@given(rows, st.none() | st.integers(1, 12), st.sampled_from(["pre", "post"]), st.sampled_from(["pre", "post"]))
def test_padding_keeps_the_end_it_is_told_to_keep(sequences, maxlen, padding, truncating):
    x = pad_sequences(sequences, maxlen, padding=padding, truncating=truncating, value=-1)
    length = max(map(len, sequences)) if maxlen is None else maxlen
    assert x.shape == (len(sequences), length) and x.dtype == np.int32
    for row, sequence in zip(x.tolist(), sequences, strict=True):
        kept = sequence[-length:] if truncating == "pre" else sequence[:length]
        kept = kept if length else []
        fill = [-1] * (length - len(kept))
        assert row == (fill + kept if padding == "pre" else kept + fill)


def test_padding_of_steps_that_are_vectors():
    x = pad_sequences([np.ones((2, 3)), np.full((1, 3), 2.0)], dtype="float32")
    np.testing.assert_array_equal(x, [[[1] * 3, [1] * 3], [[0] * 3, [2] * 3]])
    assert pad_sequences([]).shape == (0, 0) and pad_sequences([[], []], maxlen=3).tolist() == [[0] * 3] * 2


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: pad_sequences([[1]], padding="left"), ArgumentError, 'padding=\'left\' must be "pre" or "post".'),
        (lambda: pad_sequences([[1]], maxlen=0), ArgumentError, "pad_sequences: maxlen=0 must be at least 1."),
        (lambda: pad_sequences([1, 2]), ShapeError, "sequences[0] is the single value 1, not a sequence of steps."),
        (lambda: pad_sequences([[1], ["a"]]), DTypeError, "sequences[1] has dtype <U1; steps are numbers. Turn words"),
        (lambda: pad_sequences("text"), ArgumentError, "pad_sequences: takes a list of sequences, met a str."),
        (
            lambda: pad_sequences([np.ones((2, 3)), np.ones((2, 4))]),
            ShapeError,
            "steps of shape (4,), those before it (3,)",
        ),
        (
            lambda: BucketedBatches([[], []]),
            DataError,
            "x has shape (2, 0); rows need steps, (N,T) with T of at least 1.",
        ),
        (lambda: BucketedBatches([[1]], pool=0), ArgumentError, "multiple=8 and pool=0 must be at least 1."),
        (
            lambda: BucketedBatches(np.ones((3, 4)), lengths=[1, 2]),
            ShapeError,
            "lengths has shape (2,); it takes one length",
        ),
        (lambda: BucketedBatches(np.ones((1, 4)), lengths=[1], maxlen=3), ArgumentError, "maxlen= is for sequences"),
        (lambda: BucketedBatches(np.ones((1, 4)), lengths=[1], padding="x"), ArgumentError, "padding='x' must be"),
    ],
)
def test_errors_of_sequences(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


# --- batches by length ------------------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=80),
    batch_size=st.integers(1, 20),
    shuffle=st.booleans(),
    padding=st.sampled_from(["pre", "post"]),
    multiple=st.integers(1, 9),
    pool=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_an_epoch_by_length_meets_every_row_once_and_whole(
    lengths, batch_size, shuffle, padding, multiple, pool, epoch
):
    lengths[0] = max(lengths[0], 1)
    sequences = [np.full(n, i + 1) for i, n in enumerate(lengths)]
    y = np.arange(len(lengths))
    batches = BucketedBatches(
        sequences, y, batch_size, shuffle, seed=7, padding=padding, multiple=multiple, pool=pool
    )  # fmt: skip
    steps = list(batches.epoch(epoch))
    assert len(steps) == len(batches) == -(-len(lengths) // batch_size)
    assert all(len(labels) == batch_size for _, labels in steps[:-1])
    np.testing.assert_array_equal(np.sort(np.concatenate([labels for _, labels in steps])), y)
    for x, labels in steps:
        longest = max(1, *(lengths[i] for i in labels))
        assert longest <= x.shape[1] <= longest + multiple - 1 and x.shape[1] <= max(lengths)
        for row, i in zip(x, labels, strict=True):
            at = slice(len(row) - lengths[i], None) if padding == "pre" else slice(lengths[i])
            assert (row[at] == i + 1).all() and (row > 0).sum() == lengths[i]


def test_the_order_by_length_is_a_function_of_seed_and_epoch():
    lengths = np.random.default_rng(0).integers(1, 300, 1000)
    x = np.zeros((1000, 300), np.int32)
    make = {"lengths": lengths, "batch_size": 16, "pool": 5}
    one = BucketedBatches(x, **make, seed=3)
    order = one.order(4)
    np.testing.assert_array_equal(BucketedBatches(x, **make, seed=3, prefetch=2).order(4), order)
    assert not np.array_equal(one.order(5), order) and not np.array_equal(BucketedBatches(x, **make).order(4), order)
    assert order[:8].tolist() == [68, 30, 262, 970, 921, 357, 424, 143], "a checkpoint of today goes on tomorrow"
    straight = [batch.shape for batch in one.epoch(4)]
    assert [batch.shape for batch in one.epoch(4, step=20)] == straight[20:]


def test_batches_by_length_waste_little_and_still_mix():
    lengths = np.random.default_rng(0).integers(1, 300, 6400)
    x = np.zeros((6400, 300), np.int32)
    batches = BucketedBatches(x, lengths=lengths, batch_size=64)
    padded = sum(batch.size for batch in batches.epoch(0))
    assert padded < 1.06 * lengths.sum() < 0.6 * x.size
    widths = np.array([batch.shape[1] for batch in batches.epoch(0)])
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.3, "short and long batches take turns"
    company = [{frozenset(o[i : i + 64]) for i in range(0, 6400, 64)} for o in map(batches.order, (0, 1))]
    assert not company[0] & company[1]


def test_tuples_are_cut_alike_and_other_columns_are_left():
    ids = np.arange(1, 13).reshape(2, 6)
    inputs = (ids, (ids > 0).astype(np.int8), np.ones((2, 3)))
    batch, y = next(
        iter(BucketedBatches(inputs, [0, 1], lengths=[2, 3], padding="post", multiple=1, transform=lambda x, rng: x))
    )
    assert [part.shape for part in batch] == [(2, 3), (2, 3), (2, 3)] and set(batch[0].flat) == {1, 2, 3, 7, 8, 9}
    assert isinstance(BucketedBatches([[1]]), Batches)


def test_ten_thousand_words_and_none():
    """An empty review is a row of filling, one step long; a long one is cut where it is told."""
    batches = BucketedBatches([[], list(range(1, 10_001))], batch_size=1, maxlen=200, shuffle=False)
    empty, long = batches.epoch(0)
    assert empty.shape == (1, 8) and not empty.any()
    assert long.shape == (1, 200) and long[0, -1] == 10_000


# --- words and characters ---------------------------------------------------------------------------------------------


def test_words():
    assert text_to_word_sequence("It's <br />GOOD--no, *great*!") == ["it's", "br", "good", "no", "great"]
    assert text_to_word_sequence(" ?! ") == text_to_word_sequence("") == []
    assert by_frequency([["b", "a"], ["c", "a"], []]) == ["a", "b", "c"]


def test_vectorization_numbers_the_frequent_words():
    vectorize = TextVectorization(max_tokens=5)
    vectorize.adapt(["the film, the FILM!", "the end", "a film's end"])
    assert vectorize.get_vocabulary() == ["", "[UNK]", "the", "film", "end"] and vectorize.vocabulary_size() == 5
    x = vectorize(["The end.", "", "unknown words of the film"])
    assert x.tolist() == [[2, 4, 0, 0, 0], [0] * 5, [1, 1, 1, 2, 3]] and x.dtype == np.int64
    assert vectorize("film").tolist() == [3]
    assert vectorize([""]).tolist() == [[0]], "a step of filling"
    fixed = TextVectorization(output_sequence_length=3, vocabulary=vectorize.get_vocabulary())
    assert fixed(["the end", "the the the the film", "word " * 10_000]).tolist() == [[2, 4, 0], [2, 2, 2], [1, 1, 1]]


def test_vectorization_counts():
    words = ["the", "film"]
    count = TextVectorization(output_mode="count", vocabulary=words)(["the the x", "", "film"])
    assert count.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 1]] and count.dtype == np.float32
    assert TextVectorization(output_mode="multi_hot", vocabulary=words)("the the x").tolist() == [1, 1, 0]
    letters = TextVectorization(standardize=None, split="character", vocabulary="Ab")
    assert letters("bAa").tolist() == [3, 2, 1]
    own = TextVectorization(standardize=str.upper, split=lambda text: text.split(","), vocabulary=["A", "B"])
    assert own("b,a,c").tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: TextVectorization()(["a"]), ArgumentError, "there is no vocabulary yet. Call adapt(texts) first."),
        (lambda: TextVectorization().adapt("a text"), ArgumentError, "adapt takes a list of texts, met one string."),
        (lambda: TextVectorization().adapt([]), DataError, "adapt was given no text. Check the filter or the path"),
        (lambda: TextVectorization().adapt(["a", 7]), DataError, "TextVectorization: texts[1] is a int, not a string."),
        (lambda: TextVectorization(max_tokens=2), ArgumentError, "max_tokens=2 leaves no word beside '' and '[UNK]'"),
        (lambda: TextVectorization(split="lines"), ArgumentError, "split='lines' is none of None, 'whitespace', 'char"),
        (lambda: TextVectorization(output_mode="tf"), ArgumentError, 'output_mode=\'tf\' is none of "int", "count"'),
        (
            lambda: TextVectorization(output_sequence_length=0),
            ArgumentError,
            "output_sequence_length=0 must be 1 or more",
        ),
        (lambda: TextVectorization(vocabulary=["a", "a"]), ArgumentError, "the vocabulary holds 'a' more than once."),
        (lambda: Characters("abca"), ArgumentError, "the characters must be given, each of them once."),
        (
            lambda: Characters("abc").encode("abéc!"),
            DataError,
            "'!', 'é' of the text not among the 3 known ones. Leave",
        ),
    ],
)
def test_errors_of_vocabularies(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


@given(st.text(min_size=1))
def test_characters_come_back(text):
    characters = Characters.of(text)
    assert len(characters) == len(set(text)) and characters.decode(characters.encode(text)) == text
    assert characters.encode("").shape == (0,)


# --- subwords ---------------------------------------------------------------------------------------------------------

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film", "##s", ",", "!"]


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("tokenizers", reason="needs the extra chainrule[text]")
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    return tmp_path


def test_subwords(folder):
    tokenizer = Tokenizer.from_pretrained(folder)
    assert len(tokenizer) == len(PIECES) and tokenizer.pad_token_id == 0
    assert tokenizer.encode("Fine films!") == [2, 6, 7, 8, 10, 3]
    assert tokenizer.encode("Fine films!", add_special_tokens=False) == [6, 7, 8, 10]
    batch = tokenizer(["A fine film!", "", "xyzzy"])
    assert batch["input_ids"].tolist() == [[2, 5, 6, 7, 10, 3], [2, 3, 0, 0, 0, 0], [2, 1, 3, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]]
    assert batch["input_ids"].dtype == np.int64
    left = tokenizer(["a", "fine film"], padding="pre")
    assert left["input_ids"].tolist() == [[0, 2, 5, 3], [2, 6, 7, 3]] and left["attention_mask"][0].tolist() == [
        0,
        1,
        1,
        1,
    ]
    assert tokenizer.decode(batch["input_ids"][0]) == "a fine film!"


def test_a_long_text_is_cut_where_told_and_only_then(folder):
    tokenizer = Tokenizer.from_pretrained(folder)
    long = "film " * 10_000
    assert tokenizer.encode(long, max_length=5) == [2, 7, 7, 7, 3]
    assert len(tokenizer.encode(long)) == 10_002
    with pytest.raises(ArgumentError, match="max_length=2 leaves no room beside 2 special tokens"):
        tokenizer([long], max_length=2)


def test_a_tokenizer_json_comes_first(folder):
    Tokenizer.from_pretrained(folder).inner.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").unlink()
    assert Tokenizer.from_pretrained(folder).encode("Fine films!") == [2, 6, 7, 8, 10, 3]
    (folder / "tokenizer.json").write_text('{"version": "1.0", "trunc')
    with pytest.raises(
        DataError, match=r"tokenizer.json: no tokenizer can be made of it \(.*\). Fetch the file again."
    ):
        Tokenizer.from_pretrained(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="neither tokenizer.json nor vocab.txt is there. Name the folder"):
        Tokenizer.from_pretrained(folder)


def test_letters_keep_their_case_where_the_model_says_so(folder):
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert Tokenizer.from_pretrained(folder).encode("Fine film") == [2, 1, 7, 3]


def test_errors_of_subwords(folder, monkeypatch):
    tokenizer = Tokenizer.from_pretrained(folder)
    with pytest.raises(DataError, match=r"Tokenizer: texts\[1\] is a NoneType, not a string."):
        tokenizer(["a", None])
    with pytest.raises(DataError, match="Tokenizer: there is no text. Check the filter"):
        tokenizer([])
    with pytest.raises(ArgumentError, match=r"Tokenizer: max_length=2.5 must be a whole number"):
        tokenizer(["a"], max_length=2.5)
    with pytest.raises(DataError, match=r"there is no token -100; leave out labels that do not count"):
        tokenizer.decode([5, -100])
    assert tokenizer.decode([5, 10_000]) == "a", "a row that pads the table to a round number"
    for settings in ("{", "[]", '{"do_lower_case": "no"}'):
        (folder / "tokenizer_config.json").write_text(settings)
        with pytest.raises(DataError, match=r"tokenizer_config.json: .* Fetch the file again"):
            Tokenizer.from_pretrained(folder)
    (folder / "tokenizer_config.json").write_text("{}")
    assert Tokenizer.from_pretrained(folder).encode("A") == [2, 5, 3], "BERT's own are in lower case"
    (folder / "vocab.txt").write_text("\n".join([*PIECES, "film"]))
    assert len(Tokenizer.from_pretrained(folder)) == len(PIECES) + 1, "a word listed twice has the later number"
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"the library tokenizers is not installed: `pip install 'chainrule\[text\]'`"):
        Tokenizer.from_pretrained(folder)
