r"""Recurrent layers: a state goes through the sequence, (N, T, D) -> (N, units), or (N, T, units) with every state.

Words, defaults, the order of the gates and of the weights are Keras 3's. What a step computes stands at each class; all
steps run in one kernel of the engine (`ops.lstm` ...), or one after the other as the textbook writes them, where
`unroll` asks for it or the activations are not the usual ones. Both give the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from engine import ops, replay
from engine.backends import backend_of
from engine.errors import ArgumentError, ChainRuleError, ShapeError
from engine.ops import recurrent_steps
from engine.parameter import Parameter
from engine.random import Generator
from engine.tensor import Tensor, asarray

from . import activations, initializers, regularizers
from .dense import Tokens, positive
from .layer import Layer
from .masks import Masked, mask_of
from .spec import InputSpec, known


class _Recurrent(Layer):
    """What all have in common. Subclasses say how many gates and states there are, and which function runs.

    return_sequences       every state (N,T,units) instead of the last (N,units)
    return_state           the result is a list: that, and the last states
    go_backwards           from the last step to the first; the results are in this order, too
    stateful               a batch begins with the states in which the one before ended; `reset_states()` forgets them
    unroll                 step by step in ops, as the textbook writes it
    dropout                of the inputs, recurrent_dropout: of the state in its product with U. One mask a sequence
                           each, the same at all steps [Gal and Ghahramani, NIPS 2016]
    zero_output_for_mask   the output at masked steps is 0; else it repeats the last one
    """

    gates: ClassVar[int]
    states: ClassVar[int] = 1
    fused: ClassVar[Callable[..., Tensor]]
    loop: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        who = type(self).__name__
        self.units, self.use_bias, self.seed = positive(who, "units", units), use_bias, seed
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.dropout = rate(who, "dropout", dropout)
        self.recurrent_dropout = rate(who, "recurrent_dropout", recurrent_dropout)
        self.return_sequences, self.return_state, self.go_backwards = return_sequences, return_state, go_backwards
        self.stateful, self.unroll, self.zero_output_for_mask = stateful, unroll, zero_output_for_mask
        self.needs = InputSpec("(N,T,D)", 3)
        self.kernel = self.add_weight(None, self.kernel_initializer, regularizer=self.kernel_regularizer)
        self.recurrent_kernel = self.add_weight(
            (units, self.gates * units), self.recurrent_initializer, regularizer=self.recurrent_regularizer
        )
        self.bias: Parameter | None = None
        if use_bias:
            self.bias = self.add_weight(self._bias_shape(), self._bias_values(), regularizer=self.bias_regularizer)
        self.masks: Generator | None = None
        self._last: list[Any] | None = None  # states (N,units), while stateful

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        """Its own, and those that `**options` hand on to the class it is made from."""
        own, above = super().arguments(), cls.__base__
        return above.arguments() | own if above is not None and issubclass(above, _Recurrent) else own

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def _bias_values(self) -> Any:
        return self.bias_initializer

    def build(self, input_shape: Any) -> None:
        D = known(self, "the last axis of the input", input_shape[-1])
        self.kernel.declare((D, self.gates * self.units))
        self.needs.channels = D
        self.masks = self.stream("masks") if self.seed is None else Generator(self.seed)

    # -------------------------------------------------------------------------------------------- the call
    def call(self, x: Any, mask: Any = None, initial_state: Any = None) -> Any:
        """mask (N,T): False where a step is left out (its features must be numbers all the same: they are multiplied by
        0); by default the one that x brings along. initial_state: a tensor (N,units), or a list of as many as the layer
        has states.
        """
        mask = mask_of(x) if mask is None else asarray(mask)
        self._check(x, mask)
        states = self._begin(x, initial_state)
        if self.go_backwards:
            x = x.backwards() if isinstance(x, Tokens) else ops.flip(x, axis=1)
            mask = None if mask is None else ops.flip(mask, axis=1)
        if self.training and self.dropout:
            seed, stream = self._mask()
            ones = Tensor(backend_of(x.data).xp.ones((x.shape[0], 1, x.shape[2]), x.dtype))
            x = x * ops.dropout(ones, rate=self.dropout, seed=seed, stream=stream)  # (N,T,D) * (N,1,D)
        y, last = self._run(x, states, mask)
        if self.stateful:
            replay.refuse(f"carries states from batch to batch ({self.title})", "pass them as initial_state")
            self._last = [state.detach() for state in last]
        y = self._output(y, mask) if self.return_sequences else last[0]
        return [y, *last] if self.return_state else y

    def reads_tokens(self) -> bool:
        """Can its input be rows of a table, in one kernel?"""
        return self._usual() and not (self.unroll or self.dropout)

    def read(self, tokens: Tokens) -> Any:
        """The call on rows of a table."""
        try:
            self.needs.check_shape(self, tokens.shape)
            return self.call(tokens)
        except ChainRuleError as error:
            error.add_note(f"in layer {self.title}")
            raise

    def _check(self, x: Any, mask: Any) -> None:
        """What the loop would broadcast, or not meet at all."""
        if x.shape[1] == 0:
            raise ShapeError(f"{self.title}: x has no steps, shape {x.shape}: a sequence needs at least one")
        if mask is not None and mask.shape != x.shape[:2]:
            raise ShapeError(
                f"{self.title}: mask has shape {mask.shape}, these inputs need (N,T) = {x.shape[:2]}: one truth value "
                "for each step"
            )

    def _run(self, x: Any, states: list[Any], mask: Any, **how: Any) -> tuple[Tensor, list[Tensor]]:
        """The hidden states, or the last one (N,1,units); and the last of each kind of state (N,units)."""
        how["sequence"] = self.return_sequences
        if self.training and self.recurrent_dropout:
            how["seed"], how["stream"] = self._mask()
            how["recurrent_dropout"] = self.recurrent_dropout
        run = type(self).fused
        if self.unroll or not self._usual():
            run, how = type(self).loop, how | self._functions()
        weights = self.kernel, self.recurrent_kernel, self.bias
        if isinstance(x, Tokens):
            h0, c0, how["kind"] = *states, *[None] * (2 - self.states), run.name
            y = ops.embedding_rnn(x.ids, x.table, *weights, h0, c0, mask, **how)
        else:
            y = run(x, *weights, *states, mask, **how)
        return y, [last_step(y)]

    def _usual(self) -> bool:
        """Is it what the kernel computes?"""
        return self.activation is ops.tanh

    def _functions(self) -> dict[str, Any]:
        """What the loop is told besides."""
        return {"activation": self.activation or ops.positive}

    def _output(self, y: Tensor, mask: Any) -> Tensor:
        if mask is None:
            return y
        return Masked(ops.where(mask[:, :, None] != 0, y, 0.0) if self.zero_output_for_mask else y, mask)

    def _mask(self) -> tuple[int, int]:
        assert self.masks is not None
        return self.masks.split().key

    # -------------------------------------------------------------------------------------------- states
    def _begin(self, x: Any, given: Any) -> list[Any]:
        """The states before the first step; None for zeros."""
        if given is None:
            given = self._last if self.stateful and self._last is not None else [None] * self.states
        states = list(given) if isinstance(given, (list, tuple)) else [given]
        if len(states) != self.states:
            raise ArgumentError(f"{self.title}: initial_state has {len(states)} tensors, the layer has {self.states}")
        states = [None if s is None else self._as_tensor(s) for s in states]
        wanted = (x.shape[0], self.units)
        for s in states:
            if s is not None and s.shape != wanted:
                hint = "; reset_states() lets a batch of another size begin" if self.stateful else ""
                raise ShapeError(f"{self.title}: a state has shape {s.shape}, these inputs need {wanted}{hint}")
        return states

    def reset_states(self) -> None:
        """Forget the states of the last batch: the next one begins with zeros."""
        self._last = None

    def compute_output_shape(self, input_shape: Any) -> Any:
        N, T, _ = input_shape
        y = (N, T, self.units) if self.return_sequences else (N, self.units)
        return [y, *[(N, self.units)] * self.states] if self.return_state else y


class SimpleRNN(_Recurrent):
    r"""The simplest: the new state from the input and the old state.

    .. math:: h_t = f(x_t W + h_{t-1} U + b)

    Equation E8 of the documents, which write the matrices on the left, :math:`\sigma(W_h h_{t-1} + W_x x_t + b_h)`; the
    output E9, :math:`y_t = \sigma(W_o h_t + b_o)`, is `Dense(units, "sigmoid")` on the states. f is tanh by default.
    """

    gates = 1
    fused = staticmethod(ops.simple_rnn)
    loop = staticmethod(recurrent_steps.simple_rnn_loop)


class _Gated(_Recurrent):
    """Gates have an activation of their own."""

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        *in_order: Any,
        **options: Any,
    ) -> None:
        super().__init__(units, activation, use_bias, *in_order, **options)
        self.recurrent_activation = activations.get(recurrent_activation)

    def _usual(self) -> bool:
        return self.activation is ops.tanh and self.recurrent_activation is activations.sigmoid

    def _functions(self) -> dict[str, Any]:
        gate = self.recurrent_activation or ops.positive
        return super()._functions() | {"recurrent_activation": ops.sigmoid if gate is activations.sigmoid else gate}


class GRU(_Gated):
    r"""Gated recurrent unit: an update gate u keeps the old state, a reset gate r hides it from the candidate a.

    .. math::
        (u, r) = \sigma(x_t W_{ur} + h_{t-1} U_{ur} + b_{ur}), \quad
        a = \tanh(x_t W_a + b_a + r \odot (h_{t-1} U_a + b'_a)), \quad h_t = u \odot h_{t-1} + (1 - u) \odot a

    With `reset_after` (the default) the reset gate acts after the product, and the state has biases b' of its own;
    without it, as in the paper, :math:`a = \tanh(x_t W_a + (r \odot h_{t-1}) U_a + b_a)`. Columns: u, r, a.
    [Cho et al., EMNLP 2014]
    """

    gates = 3
    fused = staticmethod(ops.gru)
    loop = staticmethod(recurrent_steps.gru_loop)

    def __init__(self, units: int, *in_order: Any, reset_after: bool = True, **options: Any) -> None:
        self.reset_after = reset_after
        super().__init__(units, *in_order, **options)

    def _bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def _usual(self) -> bool:
        return self.reset_after and super()._usual()

    def _functions(self) -> dict[str, Any]:
        return super()._functions() | {"reset_after": self.reset_after}


class LSTM(_Gated):
    r"""Long short-term memory: a cell c that gates write to, and forget; h is what the output gate shows of it.

    .. math::
        (i, f, g, o) = x_t W + h_{t-1} U + b, \quad
        c_t = \sigma(f) \odot c_{t-1} + \sigma(i) \odot \tanh(g), \quad h_t = \sigma(o) \odot \tanh(c_t)

    Columns: i, f, g, o. `unit_forget_bias` begins with b_f = 1: a cell that keeps what it has. The states are [h, c].
    [Hochreiter and Schmidhuber, Neural Computation 9, 1997; Jozefowicz, Zaremba and Sutskever, ICML 2015]
    """

    gates, states = 4, 2
    fused = staticmethod(ops.lstm)
    loop = staticmethod(recurrent_steps.lstm_loop)

    def __init__(self, units: int, *in_order: Any, unit_forget_bias: bool = True, **options: Any) -> None:
        self.unit_forget_bias = unit_forget_bias
        super().__init__(units, *in_order, **options)

    def _bias_values(self) -> Any:
        return ForgetBias(self.bias_initializer) if self.unit_forget_bias else self.bias_initializer

    def _run(self, x: Any, states: list[Any], mask: Any, **how: Any) -> tuple[Tensor, list[Tensor]]:
        if not (self.return_state or self.stateful):
            return super()._run(x, states, mask)
        y, _ = super()._run(x, states, mask, cell=True)
        steps = y.shape[1] - 1
        hidden = y[:, :steps]
        return hidden, [last_step(hidden), last_step(y)]


class ForgetBias:
    """Initial values of an LSTM's bias: ones for the forget gate, another initializer's for the others."""

    def __init__(self, others: Any) -> None:
        self.others = others

    def __call__(self, shape: Any, dtype: Any, generator: Any) -> Any:
        values = np.array(self.others(shape, dtype, generator))
        H = shape[0] // 4
        values[H : 2 * H] = 1
        return values


def last_step(y: Tensor) -> Tensor:
    """(N,T,H) -> (N,H)"""
    return ops.reshape(y, shape=(y.shape[0], y.shape[2])) if y.shape[1] == 1 else y[:, -1]


def rate(who: str, what: str, value: float) -> float:
    """A probability."""
    if not 0 <= value <= 1:
        raise ArgumentError(f"{who}: {what} is the probability of becoming 0, 0 <= {what} <= 1, got {value}")
    return float(value)
