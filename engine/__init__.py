"""Chain Rule's engine: a tensor, its derivative, its kernels.

    from engine import tensor
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x * x).sum().backward()
    x.grad                                    # 2 x

Array functions follow the Python array API, the words of differentiation are PyTorch's. Every op is in `OPS`, with its
equation; `python -m engine.ops sigmoid` prints it.
"""

# Everything public, by name. Tensor first: the ops need it, and its methods need the ops.
from .tensor import Tensor as Tensor, asarray as asarray, tensor as tensor
from .creation import (
    arange as arange,
    empty as empty,
    eye as eye,
    from_dlpack as from_dlpack,
    full as full,
    full_like as full_like,
    linspace as linspace,
    meshgrid as meshgrid,
    normal as normal,
    ones as ones,
    ones_like as ones_like,
    permutation as permutation,
    rand as rand,
    randint as randint,
    randn as randn,
    uniform as uniform,
    zeros as zeros,
    zeros_like as zeros_like,
)
from .autograd import (
    backward as backward,
    detect_anomaly as detect_anomaly,
    enable_grad as enable_grad,
    grad as grad,
    hessian as hessian,
    hvp as hvp,
    is_grad_enabled as is_grad_enabled,
    jacobian as jacobian,
    jvp as jvp,
    no_grad as no_grad,
    value_and_grad as value_and_grad,
    vjp as vjp,
)
from .backends import (
    current_device as current_device,
    device as device,
    devices as devices,
    empty_cache as empty_cache,
    get_backend as get_backend,
    get_float32_matmul_precision as get_float32_matmul_precision,
    get_num_threads as get_num_threads,
    set_float32_matmul_precision as set_float32_matmul_precision,
    set_num_threads as set_num_threads,
)
from .captured import capture as capture
from .dtypes import (
    bool_ as bool_,
    default_dtype as default_dtype,
    float16 as float16,
    float32 as float32,
    float64 as float64,
    int8 as int8,
    int16 as int16,
    int32 as int32,
    int64 as int64,
    set_default_dtype as set_default_dtype,
    uint8 as uint8,
    uint16 as uint16,
    uint32 as uint32,
    uint64 as uint64,
)
from .errors import (
    ArgumentError as ArgumentError,
    ChainRuleError as ChainRuleError,
    CheckpointError as CheckpointError,
    DataError as DataError,
    DeviceError as DeviceError,
    DTypeError as DTypeError,
    GradientError as GradientError,
    IndexRangeError as IndexRangeError,
    NotBuiltError as NotBuiltError,
    ShapeError as ShapeError,
)
from .op import OPS as OPS, Op as Op
from .precision import autocast as autocast
from .gradcheck import check_op as check_op, gradcheck as gradcheck, planted as planted
from .fuse import fuse as fuse
from .ops import *  # noqa: F403  (engine/ops/__init__.py is the list)
from .names import say_so

say_so()
del say_so


def __getattr__(name: str) -> Op:
    """An op that no list names: `engine.softsign2`, as soon as it is registered."""
    if name in OPS:
        return OPS[name]
    from .elsewhere import remedy

    said = remedy(name, [*OPS, *globals()]) or "; the ops are in engine.OPS"
    raise AttributeError(f"module 'engine' has no attribute '{name}'{said}")
