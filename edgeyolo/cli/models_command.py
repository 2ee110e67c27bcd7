"""Command `edgeyolo models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgeyolo.cli.console import json_option, note, print_json, print_table

if TYPE_CHECKING:
    from edgeyolo.models.counted import Description


@click.command("models")
@json_option
def command(as_json: bool) -> None:
    """List the networks.

    Parameters and GFLOPs as built here, beside the paper's figures.
    """
    from edgeyolo.models.counted import described
    from edgeyolo.models.specs import known

    found = [described(name) for name in known()]
    if as_json:
        print_json([item.to_json() for item in found])
        return
    rows = [_row(item) for item in found]
    columns = (
        "network",
        "params",
        "paper",
        "in training",
        "size",
        "GFLOPs",
        "paper",
        "paper's AP val",
        "paper's FPS",
    )
    print_table(columns, rows)
    note(
        "params and GFLOPs: re-parameterized, 80 classes, at the paper's image size. The paper's FPS: V100, batch 1, "
        "fp16, inference only.\nIts figures for yolov7-d6 are those of the training form, auxiliary heads included.\n"
        "Under the eight networks: the baselines that the paper compares them with; last the one that comes with the "
        "package.\n"
        "yolov4-tiny-3l is darknet's network; the paper's figures are of another one of that name."
    )


def _row(item: Description) -> tuple[object, ...]:
    paper = item.paper
    return (
        item.name,
        f"{item.params / 1e6:.2f} M",
        f"{paper.params:g} M" if paper else "",
        f"{item.params_training / 1e6:.2f} M",
        item.imgsz,
        f"{item.gflops:.1f}",
        paper.gflops if paper else "",
        f"{paper.ap:.1%}" if paper else "",
        (paper.fps or "") if paper else "",
    )
