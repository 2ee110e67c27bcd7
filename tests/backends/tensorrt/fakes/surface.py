"""Names in the real modules, as `read_surface.py` read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_READ: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "surface.json").read_text())
TENSORRT = _READ["tensorrt"]
CUDA_PYTHON = _READ["cuda-python"]
