"""From a trained network to an artifact that was checked."""

from edgeyolo.export.exporter import ExportOptions, export

__all__ = ["ExportOptions", "export"]
