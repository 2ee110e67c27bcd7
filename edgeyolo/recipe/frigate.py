"""Frigate: `yolo-generic` for its ONNX and OpenVINO detectors, and the Coral.

Frigate reads one output (1, 4 + classes, boxes): centre x, centre y, width, height in pixels of the input, then a
score per class. The artifact's raw maps get that decoding appended, as operators.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.errors import RuntimeMissingError
from edgeyolo.recipe import frigate_coral
from edgeyolo.recipe.host import Host, described, write_check, write_labels
from edgeyolo.support.install import install_hint

if TYPE_CHECKING:
    import onnx

OUTPUT = "boxes"
_PREFIX = "frigate/"

_CONFIG = """\
# Into Frigate's config.yml, model.onnx and labelmap.txt into its folder /config/edgeyolo.
detectors:
  edgeyolo:
    type: onnx          # or openvino, with `device: GPU` or `device: CPU`: it takes the same file

model:
  model_type: yolo-generic
  path: /config/edgeyolo/model.onnx
  labelmap_path: /config/edgeyolo/labelmap.txt
  width: {width}
  height: {height}
  input_tensor: nchw
  input_dtype: float
  input_pixel_format: {colors}
"""


def decoded(model: onnx.ModelProto, raw: RawMaps, contract: InputContract) -> onnx.ModelProto:
    """A copy of a network that gives Frigate's output in place of raw maps.

    The output is (1, 4 + classes, boxes) float32.

    A box's score of a class is objectness times class, each after the sigmoid; of one class alone, objectness
    (paper's YOLO head, `edgeyolo.runtime.decode`).
    """
    import onnx
    from onnx import TensorProto, helper

    from edgeyolo.export.graph_ends.nms import GraphWriter

    writer = GraphWriter(_PREFIX)
    levels = [_level(writer, raw, index, contract) for index in range(len(raw.names))]
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    writer.add("Concat", *levels, outputs=[OUTPUT], axis=2)
    whole.graph.node.extend(writer.nodes)
    whole.graph.initializer.extend(writer.constants)
    cells = sum(shape[2] * shape[3] for shape in raw.shapes(1, contract.size)) * len(raw.anchors[0])
    del whole.graph.output[:]
    shape = [1, 4 + raw.classes, cells]
    whole.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape))
    del whole.metadata_props[:]
    onnx.checker.check_model(whole, full_check=True)
    return whole


def _level(writer: Any, raw: RawMaps, index: int, contract: InputContract) -> str:
    """One map (1, anchors * (5 + classes), h, w) as (1, 4 + classes, anchors * h * w)."""
    anchors, channels = len(raw.anchors[index]), 5 + raw.classes
    _, _, height, width = raw.shapes(1, contract.size)[index]
    stride, cells = raw.strides[index], height * width
    y, x = np.divmod(np.arange(cells), width)
    corner = np.stack([x, y]).astype(np.float32)[None, None] * stride  # (1, 1, 2, cells)
    extents = np.array(raw.anchors[index], np.float32)[None, :, :, None]  # (1, anchors, 2, 1)

    def number(value: Any) -> str:
        return str(writer.constant(value, np.float32))

    shaped = writer.reshape(raw.names[index], (1, anchors, channels, cells))
    shaped = writer.add("Sigmoid", shaped)
    doubled = writer.add("Mul", writer.slice(shaped, 0, 4, 2), number(2))
    centre = writer.add("Sub", writer.slice(doubled, 0, 2, 2), number(0.5))
    centre = writer.add("Add", writer.add("Mul", centre, number(stride)), number(corner))
    root = writer.slice(doubled, 2, 4, 2)
    extent = writer.add("Mul", writer.add("Mul", root, root), number(extents))
    scores = writer.slice(shaped, 4, 5, 2)
    if raw.classes > 1:
        scores = writer.add("Mul", scores, writer.slice(shaped, 5, channels, 2))
    rows = writer.add("Concat", centre, extent, scores, axis=2)
    flat = writer.add("Transpose", rows, perm=[0, 2, 1, 3])
    return str(writer.reshape(flat, (1, 4 + raw.classes, anchors * cells)))


def _takes(target: Target) -> bool:
    return target.runtime == "onnx" or target.device == "edgetpu"


def _misfit(manifest: Manifest) -> tuple[str, str] | None:
    if manifest.target.device == "edgetpu":
        return frigate_coral.misfit(manifest)
    contract, again = (
        manifest.input,
        "edgeyolo export WEIGHTS --target cpu-onnx-fp32 --batch 1 --input float --nms host",
    )
    plain = contract.dtype == "float32" and contract.layout == "NCHW" and contract.batch == 1
    if not isinstance(manifest.output, RawMaps) or not plain or contract.dynamic_batch:
        return (
            "it reads boxes that are not suppressed from one float picture at a time, and this artifact has pixels, "
            "a batch or suppression in its graph",
            f"Export again: {again} -o DIR",
        )
    if contract.height != contract.width:
        return (
            "it cuts square regions, and this artifact is not square",
            f"Export again: {again} --imgsz 320 -o DIR",
        )
    return None


def _fill(artifact: Artifact, folder: Path) -> None:
    if artifact.manifest.target.device == "edgetpu":
        frigate_coral.fill(artifact, folder)
        return
    try:
        import onnx
    except ImportError as missing:
        raise RuntimeMissingError(
            f"Frigate's model is written with the package onnx, which is not installed ({missing})",
            hint=install_hint("export"),
        ) from missing
    manifest = artifact.manifest
    output, contract = manifest.output, manifest.input
    assert isinstance(output, RawMaps)  # or it was refused
    model = decoded(onnx.load(artifact.file(".onnx")), output, contract)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    write_labels(folder, manifest, "labelmap.txt")
    (folder / "config.yml").write_text(
        _CONFIG.format(width=contract.width, height=contract.height, colors=contract.color_order.lower()),
        encoding="utf-8",
    )
    write_check(
        folder,
        "# Where Frigate runs: docker exec frigate sh -c 'cd /config/edgeyolo && ./check.sh'\n"
        "python3 - <<'END'\nimport onnxruntime\n"
        "session = onnxruntime.InferenceSession('model.onnx', providers=['CPUExecutionProvider'])\n"
        f"assert [each.name for each in session.get_outputs()] == ['{OUTPUT}'], 'not the output that Frigate reads'\n"
        f"assert session.get_outputs()[0].shape[:2] == [1, {4 + output.classes}], session.get_outputs()[0].shape\n"
        "END\n",
    )
    (folder / "README.md").write_text(
        f"# Frigate\n\n{described(artifact)}\n"
        "Copy this folder to `/config/edgeyolo` of Frigate, take over config.yml, and list under `objects: track:` the "
        "classes of labelmap.txt that matter.\n\n"
        "model.onnx is the artifact's network with the decoding behind it, which Frigate's `yolo-generic` expects. "
        "Frigate keeps boxes above 0.4, suppresses at IoU 0.4 whatever their class, and 20 of them at most; it cuts "
        "square regions from the picture, so there is no letterbox. For a Coral, make "
        "the recipe of an artifact for edgetpu-tflite-int8.\n",
        encoding="utf-8",
    )


FRIGATE = Host("frigate", "Frigate", _takes, _fill, _misfit, ("config.yml",))
