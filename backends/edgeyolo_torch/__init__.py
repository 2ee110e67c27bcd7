"""torch itself: the reference that every other backend is compared with, and NVIDIA GPUs without an engine to build."""

from edgeyolo_torch.backend import TorchBackend
from edgeyolo_torch.cuda_backend import TorchCudaBackend

__all__ = ["TorchBackend", "TorchCudaBackend"]
