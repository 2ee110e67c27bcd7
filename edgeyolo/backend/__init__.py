"""Runtimes: their interface, their limits, and the registry that finds them."""
