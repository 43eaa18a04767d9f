"""The types of arguments and results, as users' type checkers see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
"""An array of the net's dtype, float32 or float64."""

FloatDType: TypeAlias = (
    Literal["float32", "float64"]
    | type[np.float32]
    | type[float]
    | np.dtype[np.float32]
    | np.dtype[np.float64]
)
"""What names one of the two; NumPy's float64 is a float of Python."""

Precision: TypeAlias = Literal["bfloat16", "float16", "int8"]
"""How weights are kept in less memory than float32."""

ActivationName: TypeAlias = Literal[
    "Sigmoid",
    "Tanh",
    "Relu",
    "Affine",
    "LeakyRelu",
    "ThresholdedRelu",
    "ScaledTanh",
    "HardSigmoid",
    "Elu",
    "Softsign",
    "Softplus",
    "sigmoid",
    "tanh",
    "relu",
    "affine",
    "leakyrelu",
    "thresholdedrelu",
    "scaledtanh",
    "hardsigmoid",
    "elu",
    "softsign",
    "softplus",
]
"""Those of the ONNX operator; a net takes them in any case."""

ActivationForm: TypeAlias = (
    ActivationName | tuple[ActivationName, float] | tuple[ActivationName, float, float]
)
"""A function by its name, with alpha and beta if they are not the default ones."""


class ArrayProperty(property):
    """A property that is read as an array of floats and set from whatever is like one."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type | None = None, /) -> Self: ...
        @overload
        def __get__(self, instance: Any, owner: type | None = None, /) -> Floats: ...
        def __get__(self, instance: Any, owner: type | None = None, /) -> Any: ...
        def __set__(self, instance: Any, value: ArrayLike, /) -> None: ...
