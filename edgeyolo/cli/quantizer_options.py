"""Options of `export` for runtimes that quantize by a tool of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeyolo.cli.train_options import with_options

if TYPE_CHECKING:
    from edgeyolo.export.quantizer import QuantizerOptions

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
    """What the options say."""
    from edgeyolo.export.quantizer import QuantizerOptions

    return QuantizerOptions(asked["preset"], tuple(asked["float_layers"]), asked["accuracy_aware"])
