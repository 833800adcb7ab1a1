"""The record of an operation, and the registry of all of them.

There are three kinds, and each is written in one place:

    elementwise(...)   a formula: `definition` as the textbook has it, `forward` if that is not the stable form, `vjp`
    @op(...)           a function of arrays (a kernel call, or NumPy), with its vjp beside it
    @composite(...)    a function of tensors made of other ops: its derivative follows

From the record come the kernels, the derivative of every order, the shape errors, the tests, the docs page, the drawn
graph.

    vjp(g, y, aux, *inputs, needs, **params) -> one cotangent or None per input

g is the cotangent of y. aux is what forward handed over besides y (indices, statistics, a seed); it is not
differentiated. A vjp is written with differentiable ops: recorded, it gives the second derivative; unrecorded, it
runs at raw speed. What a vjp does not read is not kept.
"""

from .declare import elementwise as elementwise, evaluate as evaluate
from .elementwise import ElementwiseOp as ElementwiseOp
from .record import OPS as OPS, Note as Note, Op as Op
from .structural import CompositeOp as CompositeOp, StructuralOp as StructuralOp, composite as composite, op as op
