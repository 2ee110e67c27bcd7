"""TFLite: any CPU through LiteRT or tflite-runtime, and the Coral edge TPU."""

from edgeyolo_tflite.backend import EdgeTpuBackend, TfliteBackend

__all__ = ["EdgeTpuBackend", "TfliteBackend"]
