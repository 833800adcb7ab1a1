"""Chain Rule's engine: a tensor, its derivative, its kernels.

    from engine import tensor
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x * x).sum().backward()
    x.grad                                    # 2 x

Array functions follow the Python array API, the words of differentiation are PyTorch's. Every op is in `OPS`, with its
equation; `python -m engine.ops sigmoid` prints it.
"""

from .autograd import (
    backward,
    detect_anomaly,
    enable_grad,
    grad,
    hessian,
    hvp,
    is_grad_enabled,
    jacobian,
    jvp,
    no_grad,
    value_and_grad,
    vjp,
)
from .backends import get_backend
from .dtypes import (
    bool_,
    default_dtype,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .errors import (
    ArgumentError,
    ChainRuleError,
    CheckpointError,
    DataError,
    DeviceError,
    DTypeError,
    GradientError,
    IndexRangeError,
    NotBuiltError,
    ShapeError,
)
from .tensor import Tensor, asarray, tensor  # isort: skip  (before the ops, which need it)
from .ops import *  # noqa: F403  (engine/ops/__init__.py is the list)
from .op import OPS, Op
from .gradcheck import check_op, gradcheck, planted
