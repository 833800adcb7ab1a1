"""The documents' listings L3 and L4, on data that takes seconds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data import pad_sequences

# --- L3: Keras --------------------------------------------------------------------------------------------------------

L3 = """
from layers import Dense, Dropout, Embedding, LSTM
from models import Sequential

# 设置超参数
vocab_size = 10000
embedding_dim = 128
lstm_units = 128
batch_size = 64
epochs = 10

# 构建模型
model = Sequential([
    Embedding(vocab_size, embedding_dim),
    LSTM(lstm_units, return_sequences=True),
    Dropout(0.5),
    LSTM(lstm_units, return_sequences=False),
    Dropout(0.5),
    Dense(1, activation='sigmoid')
])

# 编译模型
model.compile(optimizer='adam', loss='binary_crossentropy', metrics=['accuracy'])

# 准备数据
# 注意：以下数据仅为示例，实际应用中请使用真实数据集
x_train = ...  # 输入特征
y_train = ...  # 标签
x_val = ...    # 验证集输入特征
y_val = ...    # 验证集标签

# 训练模型
model.fit(x_train, y_train, batch_size=batch_size, epochs=epochs, validation_data=(x_val, y_val))

# 评估模型
loss, accuracy = model.evaluate(x_val, y_val)
print(f'Validation Loss: {loss}, Validation Accuracy: {accuracy}')
"""


def opinions(count, seed):
    """Texts of 5 to 12 word numbers with a few good or bad words among indifferent ones, padded; and what they mean."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    rows = [rng.integers(100, 10_000, rng.integers(5, 13)) for _ in y]
    for row, label in zip(rows, y, strict=True):
        row[rng.choice(len(row), 3, replace=False)] = rng.integers(10, 15, 3) + 10 * label
    return pad_sequences(rows, 12), y


def test_l3_runs_when_its_imports_are_changed(capsys):
    """The listing leaves its data as "..."; these four lines are filled, and it trains 3 epochs instead of 10."""
    (x, y), (x_val, y_val) = opinions(1500, 0), opinions(300, 1)
    listing = L3.replace("epochs = 10", "epochs = 3")
    for name in ("x_train", "y_train", "x_val", "y_val"):
        listing = listing.replace(f"{name} = ...", f"{name} = given['{name}']")
    names = {"given": {"x_train": x, "y_train": y, "x_val": x_val, "y_val": y_val}}
    exec(listing, names)
    model = names["model"]
    # 10000·128, twice 4·(128·(128+128)+128), 128+1
    assert model.count_params() == 1_280_000 + 2 * 131_584 + 129
    assert names["accuracy"] > 0.95 and names["loss"] < 0.3
    assert names["accuracy"] == ((model.predict(x_val)[:, 0] > 0.5) == y_val).mean()
    out = capsys.readouterr().out
    assert out.startswith("Epoch 1/3  24/24 ") and "val_accuracy" in out
    assert f"Validation Loss: {names['loss']}, Validation Accuracy: {names['accuracy']}\n" in out


# --- L4: PyTorch and transformers -------------------------------------------------------------------------------------

L4 = """
import engine
import optim
from data.tokenizer import Tokenizer
from models.bert import BertForSequenceClassification

# 数据准备
train_data = batches("train")
test_data = batches("test")

# 模型选择与训练
tokenizer = Tokenizer.from_pretrained(folder)
model = BertForSequenceClassification.from_pretrained(folder, num_labels=2)
optimizer = optim.Adam(model.parameters(), lr=2e-5)

# 模型加载与微调
device = "cpu"
model.to(device)

# 训练
for epoch in range(5):
    total_loss = 0
    model.train()
    for batch in train_data:
        encoded = tokenizer(batch["input"], add_special_tokens=True)
        input_ids = engine.tensor(encoded["input_ids"]).to(device)
        attention_mask = engine.tensor(encoded["attention_mask"]).to(device)
        labels = engine.tensor(batch["label"]).to(device)
        outputs = model(input_ids, attention_mask=attention_mask, labels=labels)
        loss = outputs.loss
        total_loss += loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("Epoch: {}/{}...".format(epoch+1, 5), "Loss: {:4f}".format(total_loss/len(train_data)))

# 模型评估
model.eval()
test_loss = 0
predictions, true_labels = [], []
for batch in test_data:
    encoded = tokenizer(batch["input"], add_special_tokens=True)
    input_ids = engine.tensor(encoded["input_ids"]).to(device)
    attention_mask = engine.tensor(encoded["attention_mask"]).to(device)
    labels = engine.tensor(batch["label"]).to(device)
    with engine.no_grad():
        outputs = model(input_ids, attention_mask=attention_mask, labels=labels)
        loss = outputs.loss
        logits = outputs.logits
        test_loss += loss.item()
        predictions.append(logits.argmax(-1))
        true_labels.append(labels)
print("Test Loss: {:4f}".format(test_loss/len(test_data)))

# 输出结果
predictions = engine.concat(predictions, axis=0).numpy()
true_labels = engine.concat(true_labels, axis=0).numpy()
accuracy = (predictions == true_labels).mean()
print("Accuracy: {:4f}".format(accuracy))
"""

GOOD, BAD = ["fine", "great", "moving"], ["dull", "bad", "silly"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "film", "story", "is", *GOOD, *BAD]


def phrases(count, seed):
    """Batches of 16: {"input": texts, "label": 0 or 1}."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    texts = [
        f"{rng.choice(['a', 'the'])} {rng.choice(['film', 'story'])} {'is ' * rng.integers(0, 3)}"
        + " ".join(rng.choice(GOOD if label else BAD, 2))
        for label in y
    ]
    return [{"input": texts[i : i + 16], "label": y[i : i + 16]} for i in range(0, count, 16)]


@pytest.fixture
def folder(tmp_path):
    """A pretrained model, so to say: BERT's layout with numbers drawn at random, small."""
    pytest.importorskip("tokenizers", reason="needs the extra chainrule[text]")
    from models.bert import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=16,
    )  # fmt: skip
    model = BertForMaskedLM(config, seed=0)
    model.build()
    model.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tmp_path


@pytest.mark.filterwarnings("ignore")  # the classifier is new, and a line says so
def test_l4_loop_runs(folder, capsys):
    """Imports and `torch.` prefixes are changed (`engine.`, `optim.`), and the listing's slips are mended:

    - it iterates over a file's name and never batches its text: `tokenizer.encode` of one text gives a list, which has
      no `.to`. Here the data is batches, and the tokenizer pads each.
    - its mask is `input_ids.ne(-100)`, true on padding too. Here it is the tokenizer's.
    - its labels are (N,1), which the loss refuses; here (N,).
    - its accuracy compares a sigmoid of the logits with 0.5 and nothing with the labels. Here the likelier class is
      compared with them.

    The model is small and random, so its learning rate is 2e-3 instead of 2e-5; the loop is the listing's.
    """
    names = {"folder": folder, "batches": lambda part: phrases(*((480, 0) if part == "train" else (96, 1)))}
    exec(L4.replace("lr=2e-5", "lr=2e-3"), names)
    assert names["accuracy"] > 0.95
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("Epoch: ")]
    assert len(losses) == 5 and losses[-1] < 0.3 < losses[0]
    assert lines[-2].startswith("Test Loss: 0.") and lines[-1] == f"Accuracy: {names['accuracy']:4f}"
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == len(WORDS)
