"""Detections of as many images as there are, in one table; `predict` does it."""

from edgeyolo.predict.run import Options, predict

__all__ = ["Options", "predict"]
