"""Peaks of a machine and the roofline."""
