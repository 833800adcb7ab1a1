"""Chain Rule's engine: a tensor, its derivative, its kernels.

    from engine import tensor
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x * x).sum().backward()
    x.grad                                    # 2 x

Array functions follow the Python array API, the words of differentiation are PyTorch's. Every op is in `OPS`, with its
equation; `python -m engine.ops sigmoid` prints it.
"""

from .autograd import (
    backward as backward,
)
from .autograd import (
    detect_anomaly as detect_anomaly,
)
from .autograd import (
    enable_grad as enable_grad,
)
from .autograd import (
    grad as grad,
)
from .autograd import (
    hessian as hessian,
)
from .autograd import (
    hvp as hvp,
)
from .autograd import (
    is_grad_enabled as is_grad_enabled,
)
from .autograd import (
    jacobian as jacobian,
)
from .autograd import (
    jvp as jvp,
)
from .autograd import (
    no_grad as no_grad,
)
from .autograd import (
    value_and_grad as value_and_grad,
)
from .autograd import (
    vjp as vjp,
)
from .backends import get_backend as get_backend
from .dtypes import (
    bool_ as bool_,
)
from .dtypes import (
    default_dtype as default_dtype,
)
from .dtypes import (
    float16 as float16,
)
from .dtypes import (
    float32 as float32,
)
from .dtypes import (
    float64 as float64,
)
from .dtypes import (
    int8 as int8,
)
from .dtypes import (
    int16 as int16,
)
from .dtypes import (
    int32 as int32,
)
from .dtypes import (
    int64 as int64,
)
from .dtypes import (
    set_default_dtype as set_default_dtype,
)
from .dtypes import (
    uint8 as uint8,
)
from .dtypes import (
    uint16 as uint16,
)
from .dtypes import (
    uint32 as uint32,
)
from .dtypes import (
    uint64 as uint64,
)
from .errors import (
    ArgumentError as ArgumentError,
)
from .errors import (
    ChainRuleError as ChainRuleError,
)
from .errors import (
    CheckpointError as CheckpointError,
)
from .errors import (
    DataError as DataError,
)
from .errors import (
    DeviceError as DeviceError,
)
from .errors import (
    DTypeError as DTypeError,
)
from .errors import (
    GradientError as GradientError,
)
from .errors import (
    IndexRangeError as IndexRangeError,
)
from .errors import (
    NotBuiltError as NotBuiltError,
)
from .errors import (
    ShapeError as ShapeError,
)

from .tensor import Tensor as Tensor, asarray as asarray, tensor as tensor  # isort: skip  (before the ops, which need it)
from .creation import arange as arange
from .creation import empty as empty
from .creation import eye as eye
from .creation import from_dlpack as from_dlpack
from .creation import full as full
from .creation import full_like as full_like
from .creation import linspace as linspace
from .creation import meshgrid as meshgrid
from .creation import normal as normal
from .creation import ones as ones
from .creation import ones_like as ones_like
from .creation import permutation as permutation
from .creation import rand as rand
from .creation import randint as randint
from .creation import randn as randn
from .creation import uniform as uniform
from .creation import zeros as zeros
from .creation import zeros_like as zeros_like
from .gradcheck import (
    check_op as check_op,
)
from .gradcheck import (
    gradcheck as gradcheck,
)
from .gradcheck import (
    planted as planted,
)
from .names import say_so
from .op import OPS as OPS
from .op import Op as Op
from .ops import *  # noqa: F403  (engine/ops/__init__.py is the list)

say_so()
del say_so
