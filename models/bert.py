"""BERT: an encoder that reads a text from both sides. [Devlin et al., "BERT", 2018]

model = BertForSequenceClassification.from_pretrained("all-MiniLM-L6-v2", num_labels=2)
outputs = model(input_ids, attention_mask=mask, labels=labels)
outputs.loss.backward()
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from engine import ops
from engine.errors import ArgumentError
from engine.parameter import Parameter
from engine.tensor import Tensor, asarray
from layers import Dense, Dropout, Embedding, Layer, LayerNormalization, PositionEmbedding, TransformerEncoder
from layers.activations import get as activation
from layers.attention import truth
from layers.initializers import TruncatedNormal
from models.pretrained import Config, Outputs, PretrainedModel, language_loss, real_tokens, token_ids

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
}


@dataclass
class BertConfig(Config):
    """Sizes of BERT-base by default. classifier_pooling: "cls" reads the first token, "mean" the mean of all."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    num_labels: int = 2
    classifier_dropout: float | None = None
    classifier_pooling: str = "cls"

    model_type = "bert"
    supported = {  # noqa: RUF012
        "hidden_act": tuple(ACTIVATIONS), "position_embedding_type": ("absolute",), "is_decoder": (False,),
        "classifier_pooling": ("cls", "mean"),
    }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        entries = super().to_dict()
        if len(entries.get("id2label", range(2))) != self.num_labels:  # absent, there are two
            labels = {str(i): f"LABEL_{i}" for i in range(self.num_labels)}
            entries |= {"id2label": labels, "label2id": {label: int(i) for i, label in labels.items()}}
        return entries


class BertEmbeddings(Layer):
    """Token, position and sentence vectors, added and normalised: (N,T) -> (N,T,D)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        c, normal = config, TruncatedNormal(stddev=config.initializer_range)
        self.word = Embedding(c.vocab_size, c.hidden_size, embeddings_initializer=normal)
        self.position = PositionEmbedding(c.max_position_embeddings, initializer=normal)
        self.token_type = Embedding(c.type_vocab_size, c.hidden_size, embeddings_initializer=normal)
        self.norm, self.drop = LayerNormalization(epsilon=c.layer_norm_eps), Dropout(c.hidden_dropout_prob)

    def build(self, input_shape: Any) -> None:
        sequence = (None, None, self.config.hidden_size)
        self.word.build(input_shape)
        self.token_type.build(input_shape)
        for layer in (self.position, self.norm, self.drop):
            layer.build(sequence)

    def call(self, ids: Tensor, token_types: Any = None) -> Tensor:
        x = self.word(ids)  # (N,T) -> (N,T,D)
        place = self.position(x)  # (T,D)
        kind = self.token_type.embeddings[0] if token_types is None else self.token_type(asarray(token_types))
        return self.drop(self.norm(x + (place + kind)))


class BertModel(PretrainedModel):
    """Texts as vectors: input_ids (N,T) -> last_hidden_state (N,T,D), pooler_output (N,D).

    attention_mask (N,T): 1 or True at real tokens. token_type_ids (N,T): 0 in the first sentence, 1 in the second.
    add_pooling_layer: without it there is no pooler_output, a dense layer with tanh on the first token.
    """

    Config = BertConfig
    prefix = "bert"
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    ignored = ("position_ids", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
    new = ("pooler.",)

    def __init__(self, config: Any, seed: int | None = None, add_pooling_layer: bool = True, **options: Any) -> None:
        super().__init__(config, seed, **options)
        c = self.config
        self.embeddings = BertEmbeddings(c)
        self.encoder = [
            TransformerEncoder(
                c.intermediate_size,
                c.num_attention_heads,
                dropout=c.hidden_dropout_prob,
                attention_dropout=c.attention_probs_dropout_prob,
                activation=ACTIVATIONS[c.hidden_act],
                layer_norm_epsilon=c.layer_norm_eps,
                kernel_initializer=TruncatedNormal(stddev=c.initializer_range),
                hidden_dim=c.hidden_size,
            )
            for _ in range(c.num_hidden_layers)
        ]
        self.pooler = self._dense(c.hidden_size, "tanh") if add_pooling_layer else None

    def _dense(self, units: int, activation: Any = None) -> Dense:
        normal = TruncatedNormal(stddev=self.config.initializer_range)
        return Dense(units, activation, kernel_initializer=normal)

    def shapes(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        D = self.config.hidden_size
        yield self.embeddings, (None, None)
        yield from ((block, (None, None, D)) for block in self.encoder)
        if self.pooler is not None:
            yield self.pooler, (None, D)

    def encode(self, ids: Any, mask: Any = None, token_types: Any = None) -> Tensor:
        """(N,T) -> the last layer's states, (N,T,D)."""
        ids = token_ids(ids)
        x, mask = self.embeddings(ids, token_types), real_tokens(mask, ids.shape)
        for block in self.encoder:
            x = block(x, padding_mask=mask)
        return x

    def call(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None) -> Any:
        ids, mask, types = self.arguments_of(input_ids, mask=attention_mask, types=token_type_ids)
        x = self.encode(ids, mask, types)
        outputs = Outputs(last_hidden_state=x)
        if self.pooler is not None:
            outputs["pooler_output"] = self.pooler(x[:, 0])  # (N,D) -> (N,D)
        return outputs

    def places(self) -> Iterator[tuple[str, str]]:
        yield from (
            (f"embeddings.{ours}", f"embeddings.{theirs}")
            for ours, theirs in [
                ("word", "word_embeddings"), ("position", "position_embeddings"),
                ("token_type", "token_type_embeddings"), ("norm", "LayerNorm"),
            ]
        )  # fmt: skip
        for i in range(len(self.encoder)):
            yield from (
                (f"encoder.{i}.{ours}", f"encoder.layer.{i}.{theirs}")
                for ours, theirs in [
                    ("attention.query", "attention.self.query"), ("attention.key", "attention.self.key"),
                    ("attention.value", "attention.self.value"), ("attention.output", "attention.output.dense"),
                    ("attention_norm", "attention.output.LayerNorm"), ("network.inner", "intermediate.dense"),
                    ("network.outer", "output.dense"), ("network_norm", "output.LayerNorm"),
                ]
            )  # fmt: skip
        yield "pooler", "pooler.dense"


class BertForSequenceClassification(BertModel):
    """A class for each text: input_ids (N,T) -> logits (N,K), and the loss where labels (N,) are given.

    K is the config's num_labels; one label means regression, its loss is the squared error.
    """

    heads = ("classifier.",)
    new = ("pooler.", "classifier.")

    def __init__(self, config: Any, seed: int | None = None, **options: Any) -> None:
        config = config if isinstance(config, Config) else self.Config(**config)
        super().__init__(config, seed, add_pooling_layer=config.classifier_pooling == "cls", **options)
        c = self.config
        self.drop = Dropout(c.hidden_dropout_prob if c.classifier_dropout is None else c.classifier_dropout)
        self.classifier = self._dense(c.num_labels)

    def shapes(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        yield from super().shapes()
        yield self.drop, (None, self.config.hidden_size)
        yield self.classifier, (None, self.config.hidden_size)

    def call(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, labels: Any = None) -> Any:
        ids, mask, types = self.arguments_of(input_ids, mask=attention_mask, types=token_type_ids)
        x = self.encode(ids, mask, types)
        pooled = self.pooler(x[:, 0]) if self.pooler is not None else mean_of_tokens(x, mask)  # (N,T,D) -> (N,D)
        logits = self.classifier(self.drop(pooled))  # (N,D) -> (N,K)
        if labels is None:
            return Outputs(logits=logits)
        labels = asarray(labels)
        if self.config.num_labels == 1:
            return Outputs(loss=ops.mse(labels.astype(logits.dtype), logits[:, 0]), logits=logits)
        if labels.ndim != 1:
            raise ArgumentError(f"{self.title}: labels are class numbers (N,), got shape {labels.shape}")
        return Outputs(loss=ops.cross_entropy(labels, logits), logits=logits)


class BertForMaskedLM(BertModel):
    """A guess for each token: input_ids (N,T) -> logits (N,T,V), and the loss where labels (N,T) are not -100.

    The last product is with the table of token vectors.
    """

    heads = ("cls.",)
    new = ("transform.", "transform_norm.", "bias")

    def __init__(self, config: Any, seed: int | None = None, **options: Any) -> None:
        super().__init__(config, seed, add_pooling_layer=False, **options)
        c = self.config
        self.transform = self._dense(c.hidden_size, activation(ACTIVATIONS[c.hidden_act]))
        self.transform_norm = LayerNormalization(epsilon=c.layer_norm_eps)
        self.bias = Parameter(initializer=TruncatedNormal(stddev=0.0), shape=(c.vocab_size,))

    def shapes(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        yield from super().shapes()
        yield self.transform, (None, None, self.config.hidden_size)
        yield self.transform_norm, (None, None, self.config.hidden_size)

    def call(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, labels: Any = None) -> Any:
        ids, mask, types = self.arguments_of(input_ids, mask=attention_mask, types=token_type_ids)
        x = self.transform_norm(self.transform(self.encode(ids, mask, types)))
        logits = ops.linear(x, self.embeddings.word.embeddings.mT, self.bias)  # (N,T,D) @ (D,V) + (V,) -> (N,T,V)
        return Outputs(logits=logits) if labels is None else Outputs(loss=language_loss(logits, labels), logits=logits)

    def places(self) -> Iterator[tuple[str, str]]:
        yield from super().places()
        yield "transform", "cls.predictions.transform.dense"
        yield "transform_norm", "cls.predictions.transform.LayerNorm"
        yield "", "cls.predictions"


def mean_of_tokens(x: Tensor, mask: Any = None) -> Tensor:
    """The mean over real tokens, (N,T,D) -> (N,D); zeros for a text without any."""
    if mask is None:
        return ops.mean(x, axis=1)
    real = truth(mask).astype(x.dtype)[:, :, None]  # (N,T,1)
    return ops.sum(x * real, axis=1) / real.sum(1).clip(1)
