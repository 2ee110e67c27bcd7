"""ONNX Runtime: the embedded default runtime, on any CPU."""

from edgeyolo_onnxruntime.backend import OnnxruntimeBackend

__all__ = ["OnnxruntimeBackend"]
