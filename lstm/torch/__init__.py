"""A drop-in for PyTorch's nn.LSTM on a CPU, made for training (extra ``torch``).

`LSTM` takes the place of `torch.nn.LSTM`; `accelerate` puts it into a model, `restore` takes it out again.
"""

try:
    import torch
except ImportError as error:
    raise ImportError('lstm.torch needs PyTorch: pip install "lstm-native[torch]"') from error

if not hasattr(torch.library, "custom_op"):
    raise ImportError(f"lstm.torch needs PyTorch 2.4 or later, but {torch.__version__} is installed")

from .accelerate import Accelerated, accelerate, restore
from .module import LSTM

__all__ = ["LSTM", "Accelerated", "accelerate", "restore"]

del torch
