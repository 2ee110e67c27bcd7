"""A package that suppresses itself (`--nms graph`).

Image in, boxes out, for Vision and Xcode's preview.

A pipeline of two models. The first is the network, with the decoding of its maps behind it in float32 (a box in
float16 would be off by up to a third of a pixel at 640); the second is Core ML's own non-maximum suppression, which
runs on the CPU. Outputs, for k <= `max_det` boxes: `confidence` (k, classes), zero but for the box's best class, and
`coordinates` (k, 4), x, y of the centre, width and height, in 0..1 of the network's letterboxed input.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeyolo.artifact.contracts import GraphDetections, RawMaps
from edgeyolo.backend.interface import ExportSource
from edgeyolo_coreml.compress import compress, sizes_for
from edgeyolo_coreml.convert import metadata, prepare, to_program
from edgeyolo_coreml.package import write
from edgeyolo_coreml.suppressed import SUPPRESSED
from edgeyolo_coreml.toolkit import coremltools

DECODED = ("decoded_confidence", "decoded_coordinates")


def write_detector(source: ExportSource, given: GraphDetections, precision: str, package: Path) -> None:
    """Write `package` with thresholds that can be given with each image.

    The inputs are `confidenceThreshold` and `iouThreshold`. Vision reads the sum of a box's confidences as
    that of an object, hence one class a box.
    """
    network = prepare(source, precision)
    decoding = Detecting(network, Decode(source.output, source.input.size)).eval()
    model = to_program(decoding, source.input, DECODED, precision=_half_but_decoding())
    model = compress(model, precision, sizes_for(network))
    spec = _pipeline(model.get_spec(), _suppression(source, given.conf, given.iou, given.max_det))
    described = metadata(source) | {"output": "boxes after suppression, in 0..1 of the letterboxed image"}
    spec.description.metadata.userDefined.update(described)
    spec.description.metadata.shortDescription = "YOLOv7 detector with non-maximum suppression"
    write(spec, Path(model.weights_dir), package)


class Decode(nn.Module):
    """Raw maps of one image -> (confidence (n, classes), coordinates (n, 4)).

    See `edgeyolo.runtime.postprocess`.

    Rows are ordered by level, anchor, row, column. Nothing has more than three axes.
    """

    offset: Tensor
    step: Tensor
    anchor: Tensor

    def __init__(self, output: RawMaps, size: tuple[int, int]) -> None:
        super().__init__()
        self.classes, self.anchors = output.classes, len(output.anchors[0])
        offsets, steps, anchors = [], [], []
        extent = np.array([size[1], size[0]], np.float64)
        for stride, level in zip(output.strides, output.anchors, strict=True):
            rows, columns = size[0] // stride, size[1] // stride
            y, x = np.divmod(np.arange(rows * columns), columns)
            offsets.append(np.tile(np.stack([x, y], 1) * stride / extent, (len(level), 1)))
            steps.append(np.broadcast_to(stride / extent, offsets[-1].shape))
            anchors.append(np.repeat(np.asarray(level) / extent, rows * columns, axis=0))
        for name, parts in (("offset", offsets), ("step", steps), ("anchor", anchors)):
            self.register_buffer(name, torch.from_numpy(np.concatenate(parts).astype(np.float32)))

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        channels = 5 + self.classes
        levels = [
            level.reshape(self.anchors, channels, -1).permute(0, 2, 1).reshape(-1, channels) for level in maps
        ]
        p = torch.sigmoid(torch.cat(levels))
        centre = (2 * p[:, :2] - 0.5) * self.step + self.offset
        root = 2 * p[:, 2:4]
        coordinates = torch.cat((centre, root * root * self.anchor), 1)
        if self.classes == 1:
            return p[:, 4:5], coordinates
        scores = p[:, 4:5] * p[:, 5:]
        best = scores.amax(1, keepdim=True)
        return scores * (scores >= best).float(), coordinates


class Detecting(nn.Module):
    """A network and the decoding of its maps."""

    def __init__(self, network: nn.Module, decode: Decode) -> None:
        super().__init__()
        self.network, self.decode = network, decode

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        decoded: tuple[Tensor, Tensor] = self.decode(self.network(image))
        return decoded


def _half_but_decoding() -> Any:
    """The precision rule for `to_program`.

    float16, except for what comes from `Decode`.
    """
    ct = coremltools()
    from coremltools.converters.mil.mil.scope import ScopeSource

    def is_half(operation: Any) -> bool:
        return Decode.__name__ not in operation.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_TYPE, ())

    return ct.transform.FP16ComputePrecision(op_selector=is_half)


def _suppression(source: ExportSource, conf: float, iou: float, max_det: int) -> Any:
    """Core ML's suppression model.

    Among boxes of the same best class, as the host does it.
    """
    proto = coremltools().proto
    spec = proto.Model_pb2.Model(specificationVersion=5)  # iOS 14, the first with float32 here
    boxes = sum((source.input.height // s) * (source.input.width // s) for s in source.output.strides)
    boxes *= len(source.output.anchors[0])
    widths = (source.output.classes, 4)
    for decoded, suppressed, width in zip(DECODED, SUPPRESSED, widths, strict=True):
        given = spec.description.input.add(name=decoded).type.multiArrayType
        given.dataType = proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT32
        given.shape[:] = (boxes, width)
        kept = spec.description.output.add(name=suppressed).type.multiArrayType
        kept.dataType = given.dataType
        kept.shapeRange.sizeRanges.add(lowerBound=0, upperBound=max_det)
        kept.shapeRange.sizeRanges.add(lowerBound=width, upperBound=width)
    nms = spec.nonMaximumSuppression
    nms.confidenceInputFeatureName, nms.coordinatesInputFeatureName = DECODED
    nms.confidenceOutputFeatureName, nms.coordinatesOutputFeatureName = SUPPRESSED
    nms.confidenceThreshold, nms.iouThreshold = conf, iou
    for name, meaning in (("iouThreshold", "overlap"), ("confidenceThreshold", "confidence")):
        setattr(nms, f"{name}InputFeatureName", name)
        given = spec.description.input.add(name=name, shortDescription=f"threshold of the {meaning}, 0 to 1")
        given.type.doubleType.SetInParent()
        given.type.isOptional = True
    nms.pickTop.perClass = True
    names = getattr(source, "class_names", ()) or map(str, range(source.output.classes))
    nms.stringClassLabels.vector.extend(names)
    return spec


def _pipeline(network: Any, suppression: Any) -> Any:
    """Both models as one.

    Inputs are what the first needs and the second leaves open; outputs are the second's.
    """
    for given, wanted in zip(network.description.output, suppression.description.input, strict=False):
        given.type.CopyFrom(wanted.type)  # the converter leaves the shape open
    spec = coremltools().proto.Model_pb2.Model()
    spec.specificationVersion = max(network.specificationVersion, suppression.specificationVersion)
    spec.pipeline.models.append(network)
    spec.pipeline.models.append(suppression)
    spec.pipeline.names.extend(("network", "suppression"))
    produced = {output.name for output in network.description.output}
    inputs = [*network.description.input, *suppression.description.input]
    spec.description.input.extend(feature for feature in inputs if feature.name not in produced)
    spec.description.output.extend(suppression.description.output)
    return spec
