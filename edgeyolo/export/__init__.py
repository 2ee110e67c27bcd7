"""Export of a trained network to a checked artifact."""

from edgeyolo.export.exporter import export
from edgeyolo.export.options import ExportOptions

__all__ = ["ExportOptions", "export"]
