"""INT8 calibration: which images, which ranges, where the quantizers stand, and what they cost."""

from edgeyolo_calib.source import ImageSource, open_images

__all__ = ["ImageSource", "open_images"]
