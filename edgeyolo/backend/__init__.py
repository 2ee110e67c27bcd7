"""Runtimes: their interface, what each target takes, and the registry that finds them."""
