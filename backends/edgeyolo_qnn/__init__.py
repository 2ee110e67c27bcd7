"""Qualcomm's Hexagon NPU by ONNX Runtime's QNN provider.

Its emulator stands in on x86-64.
"""

from edgeyolo_qnn.backend import QnnBackend

__all__ = ["QnnBackend"]
