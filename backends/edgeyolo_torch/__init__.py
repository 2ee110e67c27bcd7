"""torch as the reference of every other backend.

It also drives NVIDIA GPUs without an engine to build.
"""

from edgeyolo_torch.backend import TorchBackend
from edgeyolo_torch.cuda_backend import TorchCudaBackend

__all__ = ["TorchBackend", "TorchCudaBackend"]
