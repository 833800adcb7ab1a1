"""What a model's table says of its layers."""

from __future__ import annotations

import numpy as np

from engine.view import view
from layers import LSTM, Activation, Conv2D, Dense, Flatten, Input, LayerNormalization
from models import Model, Sequential
from models.bert import BertConfig, BertForSequenceClassification
from models.summary import rows


def test_parameters_work_and_bytes_of_each_layer():
    model = Sequential([Conv2D(4, 3, input_shape=(8, 8, 1)), Flatten(), Dense(10)], seed=1)
    conv, flat, dense = rows(model)
    assert (conv.parameters, flat.parameters, dense.parameters) == (40, 0, 1450)
    assert conv.flops == 6 * 6 * 4 * (2 * 9 + 1)  # a product and a sum for each weight, and the bias
    assert dense.flops == 144 * 10 * 2 + 10 and flat.flops == 0
    assert (conv.bytes, dense.bytes) == (4 * (40 + 6 * 6 * 4), 4 * (1450 + 10))


def test_a_fused_layer_costs_what_its_steps_cost():
    x = Input((5, 3))
    model = Model(x, LayerNormalization()(LSTM(4, return_sequences=True)(x)))
    lstm, norm = [r for r in rows(model) if r.kind in ("LSTM", "LayerNormalization")]
    products = 5 * 2 * (3 * 16 + 4 * 16)
    assert products < lstm.flops < 2 * products  # the gates, besides
    assert 0 < norm.flops < 20 * 5 * 4


def test_a_model_shows_itself_and_hostile_names_are_text():
    model = Sequential([Dense(2, input_shape=(3,), name="<script>alert(1)</script>")], name='"&amp;')
    html = view(model)._repr_html_()
    assert "<script" not in html and "&lt;script&gt;" in html and "&quot;&amp;amp;" in html
    assert "8 parameters" in str(view(model))


def test_measuring_leaves_a_model_as_it_was():
    model = Sequential([Dense(2, input_shape=(3,))], seed=3)
    before, keys = model.predict(np.ones((1, 3)), verbose=0), set(vars(model.layers[0]))
    rows(model)
    assert set(vars(model.layers[0])) == keys
    np.testing.assert_array_equal(model.predict(np.ones((1, 3)), verbose=0), before)


def test_a_layer_that_is_used_twice_and_a_name_with_brackets_are_counted_too(capsys):
    twice = Dense(3, input_shape=(3,))
    model = Sequential([twice, Activation("relu"), twice, Dense(3)], name="[/red]<b>")
    for _ in range(2):
        model.summary()
    assert "[/red]<b>" in capsys.readouterr().out and not any("call" in vars(layer) for layer in model.layers)


def test_a_model_of_its_own_making_shows_what_its_layers_gave():
    """No list of layers says what follows what: shapes are those that a call gave, with None where the length shows."""
    sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(**sizes, intermediate_size=12))
    model.build()
    shapes = {row.path: row.shape for row in rows(model)}
    assert shapes["embeddings"] == shapes["encoder.0"] == "(None, None, 8)"
    assert shapes["pooler"] == "(None, 8)" and shapes["classifier"] == "(None, 2)"
    assert all(row.flops is not None and row.bytes > 0 for row in rows(model))
