"""torch itself: the reference that every other backend is compared with."""

from edgeyolo_torch.backend import TorchBackend

__all__ = ["TorchBackend"]
