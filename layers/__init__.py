"""What a network is made of. Words and defaults are Keras 3's; images are channels-last.

    from layers import Conv2D, Dense, Flatten, Layer, MaxPooling2D
"""

from engine.parameter import Buffer as Buffer, Parameter as Parameter

from . import activations as activations, initializers as initializers, losses as losses, regularizers as regularizers
from .attention import MultiHeadAttention as MultiHeadAttention
from .bidirectional import Bidirectional as Bidirectional, Masking as Masking
from .cache import KeyValueCache as KeyValueCache
from .conv import Conv2D as Conv2D
from .core import (
    Activation as Activation,
    Flatten as Flatten,
    Input as Input,
    InputLayer as InputLayer,
    LeakyReLU as LeakyReLU,
    Operation as Operation,
    Permute as Permute,
    ReLU as ReLU,
    Reshape as Reshape,
    Softmax as Softmax,
)
from .dense import Dense as Dense, Embedding as Embedding
from .dropout import Dropout as Dropout
from .layer import Layer as Layer
from .merge import (
    Add as Add,
    Average as Average,
    Concatenate as Concatenate,
    Maximum as Maximum,
    Minimum as Minimum,
    Multiply as Multiply,
    Subtract as Subtract,
)
from .normalization import (
    BatchNormalization as BatchNormalization,
    LayerNormalization as LayerNormalization,
    RMSNormalization as RMSNormalization,
)
from .pooling import (
    AveragePooling2D as AveragePooling2D,
    GlobalAveragePooling2D as GlobalAveragePooling2D,
    GlobalMaxPooling2D as GlobalMaxPooling2D,
    MaxPooling2D as MaxPooling2D,
)
from .positions import (
    PositionEmbedding as PositionEmbedding,
    RotaryEmbedding as RotaryEmbedding,
    SinePositionEncoding as SinePositionEncoding,
)
from .recurrent import GRU as GRU, LSTM as LSTM, SimpleRNN as SimpleRNN
from .spec import InputSpec as InputSpec
from .symbolic import SymbolicTensor as SymbolicTensor
from .transformer import (
    FeedForward as FeedForward,
    SwiGLU as SwiGLU,
    TransformerDecoder as TransformerDecoder,
    TransformerEncoder as TransformerEncoder,
)

AveragePool2D, MaxPool2D, Convolution2D = AveragePooling2D, MaxPooling2D, Conv2D  # Keras' second names
GlobalAveragePool2D, GlobalMaxPool2D = GlobalAveragePooling2D, GlobalMaxPooling2D
