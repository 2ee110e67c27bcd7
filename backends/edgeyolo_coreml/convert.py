"""Conversion of a torch network to a coremltools model.

It is an ML program in float16 with an image for input.

The image goes in as it is, 8 bits a channel; scaling it is part of the program. What comes out are the raw maps,
four-dimensional and in float32.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.interface import ExportSource
from edgeyolo.errors import UnsupportedTargetError
from edgeyolo_coreml.compress import compress, round_weights, sizes_for
from edgeyolo_coreml.lower import rescale_input, without_slices
from edgeyolo_coreml.toolkit import coremltools, number_names_anew, quiet

# What a pixel is multiplied with in the program. float16 holds p / 256 exactly and p / 255 not: rounding the input
# alone moves the scores of a trained yolov7-tiny by up to 0.007. The first convolution makes up for the difference.
PIXEL_SCALE = 1 / 256


def convert(source: ExportSource, precision: str) -> Any:
    """The network of `source` as a coremltools model, compressed and described.

    Float16 weights ask for iOS 15 or macOS 12, compressed ones for iOS 16 or macOS 13 (Core ML Tools guide,
    "Software Availability of Optimizations").
    """
    network = prepare(source, precision)
    model = to_program(network, source.input, source.output.names)
    model = compress(model, precision, sizes_for(network))
    describe(model, source)
    return model


def prepare(source: ExportSource, precision: str) -> Any:
    """A copy of the network as the file will hold it.

    Lowered, for pixels times `PIXEL_SCALE`, weights rounded.
    """
    network = copy.deepcopy(without_slices(source.network))
    rescale_input(network, source.input.scale / PIXEL_SCALE)
    round_weights(network, precision)
    return network


def to_program(
    network: Any, contract: InputContract, outputs: tuple[str, ...], *, precision: Any = None
) -> Any:
    """Trace one image of `contract` through `network` and convert it.

    `precision` None is float16 throughout.

    Raises UnsupportedTargetError where coremltools does not know an operation.
    """
    import torch

    ct = coremltools()
    number_names_anew()
    if contract.color_order != "RGB":
        raise UnsupportedTargetError(f"Core ML images are RGB, the network expects {contract.color_order}")
    shape = (1, 3, contract.height, contract.width)
    image = ct.ImageType(contract.name, shape=shape, scale=PIXEL_SCALE, color_layout=ct.colorlayout.RGB)
    with quiet(), torch.inference_mode():
        traced = torch.jit.trace(network, torch.zeros(shape), check_trace=False)  # type: ignore[no-untyped-call]
        try:
            return ct.convert(
                traced,
                source="pytorch",
                convert_to="mlprogram",
                inputs=[image],
                outputs=[ct.TensorType(name=name, dtype=np.float32) for name in outputs],
                minimum_deployment_target=ct.target.iOS15,
                compute_precision=precision or ct.precision.FLOAT16,
                skip_model_load=True,
            )
        except Exception as error:  # coremltools raises any kind of error for what it does not know
            raise UnsupportedTargetError(
                f"coremltools {ct.__version__} cannot convert the network: {type(error).__name__}: {error}",
                hint="cpu-onnx-fp32 takes any network.",
            ) from error


def describe(model: Any, source: ExportSource) -> None:
    """Write into the file what a user needs who has no manifest.

    Xcode and Swift show it.
    """
    model.short_description = "YOLOv7 raw head maps; decoding and suppression are the caller's"
    model.user_defined_metadata.update(metadata(source))
    model.input_description[source.input.name] = (
        f"RGB image of {source.input.width}x{source.input.height} pixels, letterboxed with {source.input.pad_value}"
    )
    for name, stride in zip(source.output.names, source.output.strides, strict=True):
        model.output_description[name] = f"raw map of stride {stride}: {_LAYOUT}"


def metadata(source: ExportSource) -> dict[str, str]:
    """The contracts as strings, under the names that the ONNX files carry too."""
    output, input = source.output, source.input
    return {
        "class_names": json.dumps(getattr(source, "class_names", ()), ensure_ascii=False),
        "strides": json.dumps(output.strides),
        "anchors": json.dumps(output.anchors),
        "input": f"8-bit {input.color_order} image, letterboxed with {input.pad_value}; the model scales it",
        "output": f"raw head maps before the sigmoid: {_LAYOUT}",
    }


_LAYOUT = "anchor-major x, y, w, h, objectness, classes"
