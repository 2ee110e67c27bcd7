"""edgeyolo: carry a trained YOLOv7 network to the device where it runs.

    from edgeyolo import Detector

    detector = Detector("artifact-directory")
    for detection in detector("photo.jpg"):
        print(detection)

Importing edgeyolo imports neither torch nor a runtime nor OpenCV: the names below are loaded when first used.
"""

from __future__ import annotations

from edgeyolo.version import __version__

TYPE_CHECKING = False  # `typing` is what most of the time of this import would go to
if TYPE_CHECKING:
    from edgeyolo.detector.detector import Detector
    from edgeyolo.errors import EdgeYoloError
    from edgeyolo.runtime.detections import Detection, Detections
    from edgeyolo.tracking.tracker import Tracker
    from edgeyolo.tracking.tracks import Tracks

__all__ = ["Detection", "Detections", "Detector", "EdgeYoloError", "Tracker", "Tracks", "__version__"]

_HOMES = {
    "Detection": "edgeyolo.runtime.detections",
    "Detections": "edgeyolo.runtime.detections",
    "Detector": "edgeyolo.detector.detector",
    "EdgeYoloError": "edgeyolo.errors",
    "Tracker": "edgeyolo.tracking.tracker",
    "Tracks": "edgeyolo.tracking.tracks",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgeyolo' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
