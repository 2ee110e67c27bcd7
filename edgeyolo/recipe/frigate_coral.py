"""Frigate on a Coral edge TPU: a detector of Frigate's that reads raw maps.

Frigate's own detector for the edge TPU reads networks with SSD's ends only. Its detectors are the modules of one
folder, so a file that is mounted there is one more.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import RawMaps
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.recipe import coral_network
from edgeyolo.recipe.host import MANIFEST, described, write_check, write_labels

PLUGIN = "edgeyolo_coral.py"
_COMPILED = "model_edgetpu.tflite"

_GLUE = '''

# What follows makes a detector of Frigate's of it.
from typing import Literal  # noqa: E402

from frigate.detectors.detection_api import DetectionApi  # noqa: E402
from frigate.detectors.detector_config import BaseDetectorConfig  # noqa: E402


class EdgeyoloCoralConfig(BaseDetectorConfig):
    """`device` is "usb", "pci" or one of several, as libedgetpu names them; "cpu" runs model.tflite without one."""

    type: Literal["edgeyolo_coral"]
    device: str = "usb"


class EdgeyoloCoral(DetectionApi):
    """Frigate's interface: one picture in, twenty rows out."""

    type_key = "edgeyolo_coral"

    def __init__(self, detector_config: EdgeyoloCoralConfig) -> None:
        try:
            from tflite_runtime.interpreter import Interpreter, load_delegate
        except ImportError:
            from ai_edge_litert.interpreter import Interpreter, load_delegate
        model, device = Path(detector_config.model.path), detector_config.device
        delegates = [] if device == "cpu" else [load_delegate("libedgetpu.so.1.0", {"device": device})]
        interpreter = Interpreter(model_path=str(model), experimental_delegates=delegates)
        self.network = CoralNetwork(interpreter, model.with_name("manifest.json"))

    def detect_raw(self, tensor_input: Array) -> Array:
        return self.network(tensor_input)
'''

_CONFIG = """\
# Into Frigate's config.yml; the folder of this recipe goes to /config/edgeyolo.
detectors:
  coral:
    type: edgeyolo_coral
    device: usb         # or pci

model:
  path: /config/edgeyolo/{compiled}
  labelmap_path: /config/edgeyolo/labelmap.txt
  width: {width}
  height: {height}
  input_tensor: nhwc
  input_pixel_format: {colors}
"""


def misfit(manifest: Manifest) -> tuple[str, str] | None:
    """Reason why the detector cannot run a TFLite artifact, with a hint; or None."""
    contract, output = manifest.input, manifest.output
    raw = isinstance(output, RawMaps) and bool(output.quantization) and contract.quantization is not None
    if raw and contract.dtype == "int8" and contract.batch == 1 and contract.height == contract.width:
        return None
    return (
        "its detector for the Coral reads raw maps of integers from one square picture",
        "Export again: edgeyolo export WEIGHTS --target edgetpu-tflite-int8 --imgsz 320 --calib PHOTOS -o DIR",
    )


def fill(artifact: Artifact, folder: Path) -> None:
    """Write the recipe of an artifact for the edge TPU."""
    manifest = artifact.manifest
    compiled = _COMPILED in manifest.files
    for name in (_COMPILED, "model.tflite") if compiled else ("model.tflite",):
        shutil.copyfile(artifact.path / name, folder / name)
    shutil.copyfile(artifact.path / MANIFEST, folder / MANIFEST)
    code = Path(coral_network.__file__).read_text(encoding="utf-8")
    (folder / PLUGIN).write_text(code + _GLUE, encoding="utf-8")
    write_labels(folder, manifest, "labelmap.txt")
    contract = manifest.input
    (folder / "config.yml").write_text(
        _CONFIG.format(
            compiled=_COMPILED,
            width=contract.width,
            height=contract.height,
            colors=contract.color_order.lower(),
        ),
        encoding="utf-8",
    )
    write_check(
        folder,
        f"test -s {_COMPILED} || {{\n"
        "    echo 'model.tflite is to be compiled: edgetpu_compiler model.tflite' >&2\n    exit 3\n}\n"
        "# Where Frigate runs: docker exec frigate sh -c 'cd /config/edgeyolo && ./check.sh'\n"
        "if python3 -c 'import frigate' 2>/dev/null; then\n"
        "    python3 -c 'from frigate.detectors.detector_types import api_types; api_types[\"edgeyolo_coral\"]'\nfi\n",
    )
    (folder / "README.md").write_text(_readme(artifact, compiled=compiled), encoding="utf-8")


def _readme(artifact: Artifact, *, compiled: bool) -> str:
    compiling = (
        ""
        if compiled
        else "The artifact was made without `edgetpu_compiler`. On x86-64 Linux with Coral's package:\n\n"
        "    edgetpu_compiler model.tflite\n\n"
    )
    return (
        f"# Frigate on a Coral\n\n{described(artifact)}\n{compiling}"
        "Copy this folder to `/config/edgeyolo` of Frigate, take over config.yml, and mount the detector into "
        "Frigate's container, where its own lie:\n\n"
        "    volumes:\n"
        f"      - ./config/edgeyolo/{PLUGIN}:/opt/frigate/frigate/detectors/plugins/{PLUGIN}:ro\n\n"
        "The network gives raw maps of integers, which is what the edge TPU computes whole; the detector decodes the "
        f"cells that matter with numpy and gives Frigate the {coral_network.ROWS} best boxes above "
        f"{coral_network.LEAST}. Frigate cuts square regions from the picture, so there is no letterbox.\n"
    )
