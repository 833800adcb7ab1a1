"""Makes the frozen references beside it: tiny models of random weights, written and run by the `transformers` library.

    pip install torch transformers          (in an environment of their own)
    python tests/pretrained/make_reference.py

Each folder is what `save_pretrained` of the reference wrote, and `expected.safetensors` holds inputs, outputs and
gradients. Nothing of Chain Rule takes part.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).parent
BERT = {
    "vocab_size": 41, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
    "max_position_embeddings": 16, "initializer_range": 0.3,
}  # fmt: skip
GPT2 = {"vocab_size": 41, "n_positions": 16, "n_embd": 24, "n_layer": 2, "n_head": 3, "initializer_range": 0.3}
LLAMA = {
    "vocab_size": 41, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 32, "initializer_range": 0.3,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip


def shaken(model):
    """Biases and scales that are not 0 and 1 any more, so that their places count."""
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p += 0.3 * torch.randn_like(p)
    return model.eval()


def batch(causal):
    """Three texts; BERT's are padded on the right, the others are full."""
    ids = torch.randint(1, 41, (3, 9))
    mask = torch.ones_like(ids)
    if not causal:
        mask[0, 6:], mask[2, 3:] = 0, 0
    return ids, mask


def write(name, model, inputs, labels, shard="1GB"):
    folder = HERE / name
    model.save_pretrained(folder, max_shard_size=shard)
    for extra in folder.glob("generation_config.json"):
        extra.unlink()
    config = folder / "config.json"
    entries = {k: v for k, v in json.loads(config.read_text()).items() if k != "transformers_version"}
    config.write_text(json.dumps(entries, indent=1) + "\n")
    outputs = model(**inputs, labels=labels, output_hidden_states=True)
    outputs.loss.backward()
    found = {"loss": outputs.loss.reshape(1), "logits": outputs.logits, "states": outputs.hidden_states[-1]}
    found |= {f"input.{k}": v for k, v in inputs.items()} | {"labels": labels}
    found |= {f"gradient.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    if isinstance(model, transformers.GenerationMixin):
        start = inputs["input_ids"][:, :4]
        with torch.no_grad():
            found["generated"] = model.generate(
                start, attention_mask=torch.ones_like(start), max_new_tokens=10, do_sample=False, pad_token_id=0,
                eos_token_id=None,
            )  # fmt: skip
    save_file({k: v.detach().clone().contiguous() for k, v in found.items()}, folder / "expected.safetensors")


def main():
    torch.manual_seed(20)
    eager = {"attn_implementation": "eager"}
    ids, mask = batch(causal=False)
    types = (torch.arange(9) > 4).long().expand(3, 9).contiguous()
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    config = transformers.BertConfig(**BERT, num_labels=4, **eager)
    write(
        "bert-classifier", shaken(transformers.BertForSequenceClassification(config)), inputs, torch.tensor([3, 0, 1])
    )
    labels = torch.where((torch.rand(3, 9) < 0.5) & (mask == 1), ids, -100)
    config = transformers.BertConfig(**BERT | {"num_hidden_layers": 1}, **eager)
    write("bert-masked", shaken(transformers.BertForMaskedLM(config)), inputs, labels)
    ids, mask = batch(causal=True)
    inputs = {"input_ids": ids, "attention_mask": mask}
    config = transformers.GPT2Config(**GPT2, bos_token_id=0, eos_token_id=0, **eager)
    write("gpt2", shaken(transformers.GPT2LMHeadModel(config)), inputs, ids)
    config = transformers.LlamaConfig(**LLAMA, bos_token_id=0, eos_token_id=0, **eager)
    write("llama-sharded", shaken(transformers.LlamaForCausalLM(config)), inputs, ids, shard="16KB")
    config = transformers.LlamaConfig(
        **LLAMA | {"num_hidden_layers": 1}, rope_parameters=LLAMA3, tie_word_embeddings=True, bos_token_id=0,
        eos_token_id=0, **eager,
    )  # fmt: skip
    write("llama3-tied", shaken(transformers.LlamaForCausalLM(config)), inputs, ids)


if __name__ == "__main__":
    main()
