"""How a network learns. Words and defaults are Keras 3's; an optimiser also works in a hand-written loop:

    optimizer = Adam(model.parameters(), lr=1e-3)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
"""

from . import schedules as schedules
from .adadelta import Adadelta as Adadelta
from .adagrad import Adagrad as Adagrad
from .adam import Adam as Adam, AdamW as AdamW
from .averaging import EMA as EMA, SWA as SWA
from .clip import clip_grad_norm_ as clip_grad_norm_, clip_grad_value_ as clip_grad_value_
from .lion import Lion as Lion
from .optimizer import Optimizer as Optimizer, get as get
from .rmsprop import RMSprop as RMSprop
from .scaler import GradScaler as GradScaler
from .schedules import Schedule as Schedule
from .sgd import SGD as SGD
