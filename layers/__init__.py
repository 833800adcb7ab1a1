"""What a network is made of. Words and defaults are Keras 3's; images are channels-last.

    from layers import Conv2D, Dense, Flatten, Layer, MaxPooling2D
"""

from engine.parameter import Buffer as Buffer
from engine.parameter import Parameter as Parameter

from . import activations as activations
from . import initializers as initializers
from . import losses as losses
from . import regularizers as regularizers
from .conv import Conv2D as Conv2D
from .core import Activation as Activation
from .core import Flatten as Flatten
from .core import Input as Input
from .core import InputLayer as InputLayer
from .core import LeakyReLU as LeakyReLU
from .core import Operation as Operation
from .core import Permute as Permute
from .core import ReLU as ReLU
from .core import Reshape as Reshape
from .core import Softmax as Softmax
from .dense import Dense as Dense
from .dense import Embedding as Embedding
from .dropout import Dropout as Dropout
from .layer import Layer as Layer
from .merge import Add as Add
from .merge import Average as Average
from .merge import Concatenate as Concatenate
from .merge import Maximum as Maximum
from .merge import Minimum as Minimum
from .merge import Multiply as Multiply
from .merge import Subtract as Subtract
from .normalization import BatchNormalization as BatchNormalization
from .normalization import LayerNormalization as LayerNormalization
from .pooling import AveragePooling2D as AveragePooling2D
from .pooling import GlobalAveragePooling2D as GlobalAveragePooling2D
from .pooling import GlobalMaxPooling2D as GlobalMaxPooling2D
from .pooling import MaxPooling2D as MaxPooling2D
from .spec import InputSpec as InputSpec
from .symbolic import SymbolicTensor as SymbolicTensor

AveragePool2D, MaxPool2D, Convolution2D = AveragePooling2D, MaxPooling2D, Conv2D  # Keras' second names
GlobalAveragePool2D, GlobalMaxPool2D = GlobalAveragePooling2D, GlobalMaxPooling2D
