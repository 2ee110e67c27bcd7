"""TensorRT: NVIDIA Jetson, V100 and other NVIDIA GPUs."""

from edgeyolo_tensorrt.backend import TensorrtBackend

__all__ = ["TensorrtBackend"]
