"""MiniLM on real sentences, beside the library that its weights were made for. Needs torch, transformers and SST-2."""

from __future__ import annotations

import numpy as np
import pytest

from data import sst2
from engine import Tensor, no_grad, ops
from engine.errors import ChainRuleError
from models import pretrained
from models.bert import BertModel

pytestmark = pytest.mark.filterwarnings("ignore")
NAME, SENTENCES = "all-MiniLM-L6-v2", 200


@pytest.fixture(scope="module")
def reference():
    """torch, the reference's class, the model's folder and a padded batch of real sentences."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("tokenizers")
    try:
        folder, (_, (texts, _)) = pretrained.find(NAME), sst2.load_data()
    except ChainRuleError as error:
        pytest.skip(str(error))
    return torch, transformers.BertModel, folder, pretrained.tokenizer(folder)(texts[:SENTENCES])


def test_states_equal_the_reference_on_real_sentences(reference):
    torch, theirs, folder, batch = reference
    with torch.no_grad():
        want = theirs.from_pretrained(folder).eval()(**{k: torch.tensor(v) for k, v in batch.items()})
    with no_grad():
        got = BertModel.from_pretrained(folder).eval()(**batch)
    real = batch["attention_mask"] != 0
    difference = np.abs(got.last_hidden_state.numpy() - want.last_hidden_state.numpy())
    assert difference[real].max() < 2e-5
    assert difference.max() < 1e-4  # at padding, where states are larger and mean nothing
    np.testing.assert_allclose(got.pooler_output.numpy(), want.pooler_output.numpy(), atol=1e-5)


def test_every_gradient_of_two_layers_equals_the_reference(reference):
    torch, theirs, folder, batch = reference
    batch = {k: v[:16] for k, v in batch.items()}
    rng = np.random.default_rng(1)
    ours = BertModel.from_pretrained(folder, num_hidden_layers=2).eval()
    outputs = ours(**batch)
    real = batch["attention_mask"][..., None]  # the reference gives the vector of padding no gradient
    g = (rng.normal(size=outputs.last_hidden_state.shape) * real).astype(np.float32)
    h = rng.normal(size=outputs.pooler_output.shape).astype(np.float32)
    loss = ops.sum(outputs.last_hidden_state * Tensor(g)) + ops.sum(outputs.pooler_output * Tensor(h))
    loss.backward()
    module = theirs.from_pretrained(folder, num_hidden_layers=2).eval()
    wanted = module(**{k: torch.tensor(v) for k, v in batch.items()})
    ((wanted.last_hidden_state * torch.tensor(g)).sum() + (wanted.pooler_output * torch.tensor(h)).sum()).backward()
    gradients = {name: p.grad.numpy() for name, p in module.named_parameters() if p.grad is not None}
    places = ours.weight_places()
    assert len(places) == len(gradients)
    for path, p in ours.named_parameters():
        want = gradients[places[path].name]
        want = want.T if places[path].transposed else want
        # softmax ignores what is added to all keys: the gradient of their bias is 0 but for rounding
        scale = 1.0 if path.endswith("key.bias") else np.abs(want).max()
        assert np.abs(p.grad.numpy() - want).max() < 1e-4 * scale, path
