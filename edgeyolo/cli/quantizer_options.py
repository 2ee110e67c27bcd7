"""Options of quantization.

They choose the sample of calibration images, and steer runtimes that have a quantizer of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeyolo.cli.train_options import with_options

if TYPE_CHECKING:
    from edgeyolo.backend.quantizer_options import QuantizerOptions

calibration_sample = with_options(
    click.option(
        "--calib-images", type=click.IntRange(min=1), default=300, show_default=True, help="How many of them."
    ),
    click.option(
        "--calib-seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="What they are drawn by.",
    ),
)
"""The decorator that adds which of the images of --calib are looked at."""

quantizer_choices = with_options(
    click.option(
        "--preset", type=click.Choice(["mixed", "performance"]), default="mixed", show_default=True,
        help="OpenVINO INT8: activations with a zero point where it helps, or none.",
    ),
    click.option(
        "--float-layers", multiple=True, metavar="PART",
        help="OpenVINO INT8: keep a part in float: top_down, backbone.3 ...",
    ),
    click.option(
        "--accuracy-aware", is_flag=True,
        help="OpenVINO INT8: put layers back into float until --max-ap-drop holds on --data; takes long.",
    ),
)  # fmt: skip
"""The decorator that adds them."""


def quantizer_options(asked: dict[str, Any]) -> QuantizerOptions:
    """Quantizer options of the command line."""
    from edgeyolo.backend.quantizer_options import QuantizerOptions

    return QuantizerOptions(asked["preset"], tuple(asked["float_layers"]), asked["accuracy_aware"])
