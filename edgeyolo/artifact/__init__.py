"""Exported networks on disk.

Targets, contracts, manifest, and the directory that holds them.
"""
