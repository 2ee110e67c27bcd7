"""Everything another host needs beside an artifact's own files, made from its manifest."""

from edgeyolo.recipe.hosts import HOSTS
from edgeyolo.recipe.write import write_recipe

__all__ = ["HOSTS", "write_recipe"]
