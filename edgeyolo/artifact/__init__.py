"""Exported networks on disk: targets, contracts, manifest, and the directory that holds them."""
