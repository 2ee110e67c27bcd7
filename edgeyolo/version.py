"""The version of edgeyolo."""

__version__ = "0.1.0"
