"""The report as one HTML page.

Everything inside it, nothing from a network, readable without scripts.
"""

from edgeyolo_bench.render.page.document import render, write_page

__all__ = ["render", "write_page"]
