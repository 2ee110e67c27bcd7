"""Recipes: configuration and checks for other hosts, made from the manifest."""

from edgeyolo.recipe.hosts import HOSTS
from edgeyolo.recipe.write import write_recipe

__all__ = ["HOSTS", "write_recipe"]
