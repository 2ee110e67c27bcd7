"""ncnn, the runtime of ARM boards and phones."""

from edgeyolo_ncnn.backend import NcnnBackend

__all__ = ["NcnnBackend"]
