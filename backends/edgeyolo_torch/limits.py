"""Limits of torch: none, the network as it is."""

from __future__ import annotations

from edgeyolo.backend.capabilities import Limits

CPU = Limits("CPU")
CUDA = Limits("GPU", largest=65504.0, largest_activation=65504.0)
