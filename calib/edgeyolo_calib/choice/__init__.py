"""Layers that stay in float: sensitivity and the AP budget."""
