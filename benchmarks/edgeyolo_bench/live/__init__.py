"""Measurements of what runs on its own: streams of frames, and servers under load."""
