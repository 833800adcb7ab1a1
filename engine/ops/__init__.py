"""Every op, by name: files sorted from easy to hard, ops in the order in which they stand there."""

import inspect

from ..op import OPS as OPS
from .comparison import (
    less as less,
    less_equal as less_equal,
    greater as greater,
    greater_equal as greater_equal,
    equal as equal,
    not_equal as not_equal,
    isnan as isnan,
    isinf as isinf,
    isfinite as isfinite,
    signbit as signbit,
    where as where,
    maximum as maximum,
    minimum as minimum,
    clamp as clamp,
    clip as clip,
)
from .logic import (
    logical_not as logical_not,
    logical_and as logical_and,
    logical_or as logical_or,
    logical_xor as logical_xor,
    bitwise_invert as bitwise_invert,
    bitwise_and as bitwise_and,
    bitwise_or as bitwise_or,
    bitwise_xor as bitwise_xor,
    bitwise_left_shift as bitwise_left_shift,
    bitwise_right_shift as bitwise_right_shift,
)
from .arithmetic import (
    add as add,
    subtract as subtract,
    multiply as multiply,
    divide as divide,
    negative as negative,
    positive as positive,
    square as square,
    reciprocal as reciprocal,
    sqrt as sqrt,
    rsqrt as rsqrt,
    sign as sign,
    abs as abs,
    copysign as copysign,
    floor as floor,
    ceil as ceil,
    trunc as trunc,
    round as round,
    floor_divide as floor_divide,
    remainder as remainder,
    lerp as lerp,
    hypot as hypot,
    nextafter as nextafter,
    real as real,
    conj as conj,
    imag as imag,
)
from .exponential import (
    exp as exp,
    exp2 as exp2,
    expm1 as expm1,
    log as log,
    log2 as log2,
    log10 as log10,
    log1p as log1p,
    xlogy as xlogy,
    pow as pow,
    erf as erf,
    erfc as erfc,
    normal_pdf as normal_pdf,
    normal_cdf as normal_cdf,
)
from .trigonometric import (
    sin as sin,
    cos as cos,
    tan as tan,
    asin as asin,
    acos as acos,
    atan as atan,
    atan2 as atan2,
    sinh as sinh,
    cosh as cosh,
    sech as sech,
    tanh as tanh,
    asinh as asinh,
    acosh as acosh,
    atanh as atanh,
    sinc as sinc,
    sinc_slope as sinc_slope,
)
from .activation import (
    relu as relu,
    leaky_relu as leaky_relu,
    relu6 as relu6,
    hard_tanh as hard_tanh,
    hard_sigmoid as hard_sigmoid,
    hard_swish as hard_swish,
    threshold as threshold,
    hardshrink as hardshrink,
    softshrink as softshrink,
    sigmoid as sigmoid,
    sigmoid_slope as sigmoid_slope,
    softplus as softplus,
    log_sigmoid as log_sigmoid,
    logaddexp as logaddexp,
    silu as silu,
    mish as mish,
    gelu as gelu,
    gelu_tanh as gelu_tanh,
    elu as elu,
    selu as selu,
    celu as celu,
    softsign as softsign,
    tanhshrink as tanhshrink,
    glu as glu,
)
from .shape import (
    reshape as reshape,
    expand_dims as expand_dims,
    squeeze as squeeze,
    broadcast_to as broadcast_to,
    broadcast_arrays as broadcast_arrays,
    permute_dims as permute_dims,
    swapaxes as swapaxes,
    moveaxis as moveaxis,
    astype as astype,
    to_device as to_device,
)
from .join import concat as concat, stack as stack, split as split, unstack as unstack, pad as pad, diff as diff
from .triangle import tril as tril, triu as triu, diagonal as diagonal, trace as trace
from .reduce import (
    sum as sum,
    mean as mean,
    all as all,
    any as any,
    max as max,
    min as min,
    argmax as argmax,
    argmin as argmin,
    prod as prod,
    logsumexp as logsumexp,
)
from .summed import sum_of as sum_of, mean_of as mean_of
from .scan import (
    cumulative_sum as cumulative_sum,
    cumulative_prod as cumulative_prod,
    cumulative_logsumexp as cumulative_logsumexp,
)
from .index import placed_index as placed_index, getitem as getitem, add_at as add_at, set_at as set_at
from .sorting import (
    one_hot as one_hot,
    argsort as argsort,
    sort as sort,
    topk as topk,
    nonzero as nonzero,
    searchsorted as searchsorted,
    unique_counts as unique_counts,
    unique_values as unique_values,
)
from .matmul import (
    matrix_product as matrix_product,
    matmul as matmul,
    linear as linear,
    linear_relu as linear_relu,
)
from .linalg import matrix_transpose as matrix_transpose, vecdot as vecdot, outer as outer, tensordot as tensordot
from .einsum import einsum as einsum
from .softmax import (
    softmax as softmax,
    softmax_gradient as softmax_gradient,
    log_softmax as log_softmax,
    log_softmax_gradient as log_softmax_gradient,
    softmin as softmin,
)
from .loss import (
    mse as mse,
    mae as mae,
    huber as huber,
    hinge as hinge,
    binary_cross_entropy as binary_cross_entropy,
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
    kl_div as kl_div,
)
from .embedding import embedding as embedding, embedding_gradient as embedding_gradient
from .dropout import dropout as dropout
from .recurrent import simple_rnn as simple_rnn, gru as gru, lstm as lstm
from .recurrent_tokens import embedding_rnn as embedding_rnn
from .attention import attention as attention, attention_weights as attention_weights
from .rotary import rotary as rotary
from .norm import (
    rms_norm as rms_norm,
    layer_norm as layer_norm,
    batch_norm as batch_norm,
    batch_norm_inference as batch_norm_inference,
)
from .conv import (
    conv2d as conv2d,
    conv2d_input_gradient as conv2d_input_gradient,
    conv2d_weight_gradient as conv2d_weight_gradient,
    conv2d_bias as conv2d_bias,
    conv2d_bias_relu as conv2d_bias_relu,
    conv2d_bias_relu_max_pool as conv2d_bias_relu_max_pool,
)
from .pool import (
    global_average_pool2d as global_average_pool2d,
    global_max_pool2d as global_max_pool2d,
    max_pool2d as max_pool2d,
    scatter_windows as scatter_windows,
    gather_windows as gather_windows,
    average_pool2d as average_pool2d,
    spread_windows as spread_windows,
)
from .cross_entropy import (
    categorical_cross_entropy as categorical_cross_entropy,
    sparse_categorical_cross_entropy as sparse_categorical_cross_entropy,
    cross_entropy as cross_entropy,
    cross_entropy_with_labels as cross_entropy_with_labels,
    cross_entropy_with_probabilities as cross_entropy_with_probabilities,
)
from .magnitude import (
    count_nonzero as count_nonzero,
    power_norm as power_norm,
    norm as norm,
    var as var,
    std as std,
)
from .arrange import flip as flip, roll as roll, tile as tile, repeat as repeat
from .gather import take as take, index_add as index_add, take_along_axis as take_along_axis, scatter_add as scatter_add

# What `from engine.ops import *` takes: the ops, not the files they stand in. Keep this last.
__all__ = [n for n, v in list(globals().items()) if not n.startswith("_") and not inspect.ismodule(v)]
