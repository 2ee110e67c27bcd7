"""The Detector, and how it opens artifacts, weights and files of other tools."""

from edgeyolo.detector.detector import Detector

__all__ = ["Detector"]
