"""ncnn: the runtime of ARM boards and phones, written from our own networks without a converter of others."""

from edgeyolo_ncnn.backend import NcnnBackend

__all__ = ["NcnnBackend"]
