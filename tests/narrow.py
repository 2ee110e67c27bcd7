"""The built-in network's kind, narrow and of two maps: fast enough for any test."""

from __future__ import annotations

from edgeyolo.models.csp_topology import Csp, CspStage, CspStep, Pan
from edgeyolo.models.lite_topology import InvertedStage, LiteSpec

_BLOCK = Csp(16, 1, "late", shortcut=False)
NARROW = LiteSpec(
    "narrow",
    width=16,
    backbone=(
        InvertedStage(16, 1, kernel=3, stride=1, expansion=1),
        InvertedStage(16, 2, kernel=5, stride=2, expansion=2),
        InvertedStage(24, 2, kernel=3, stride=2, expansion=2),
    ),
    neck=Pan(16, (CspStep(16, _BLOCK),), (CspStage("conv", 16, _BLOCK),), (16, 24)),
    anchors=(((8.0, 8.0), (16.0, 12.0)), ((24.0, 32.0), (40.0, 36.0))),
    imgsz=64,
)
