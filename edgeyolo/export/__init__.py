"""From a trained network to an artifact that was checked."""

from edgeyolo.export.exporter import export
from edgeyolo.export.options import ExportOptions

__all__ = ["ExportOptions", "export"]
