"""Core ML: .mlpackage files for the Apple Neural Engine.

They are made anywhere and run on Apple's systems.
"""

from edgeyolo_coreml.backend import CoremlBackend

__all__ = ["CoremlBackend"]
