"""Measurements, devices and reports as values, and their schema."""
