"""Command `edgeyolo models`."""

from __future__ import annotations

import click

from edgeyolo.cli.console import json_option, note, print_json, print_table


@click.command("models")
@json_option
def command(as_json: bool) -> None:
    """List the networks.

    Parameters and GFLOPs as built here, beside the paper's figures.
    """
    from edgeyolo.models.counted import described
    from edgeyolo.models.specs import names

    found = [described(name) for name in names()]
    if as_json:
        print_json([item.to_json() for item in found])
        return
    rows = [
        (
            item.name,
            f"{item.params / 1e6:.2f} M",
            f"{item.paper.params:g} M",
            f"{item.params_training / 1e6:.2f} M",
            item.imgsz,
            f"{item.gflops:.1f}",
            item.paper.gflops,
            f"{item.paper.ap:.1%}",
            item.paper.fps or "",
        )
        for item in found
    ]
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
        "fp16, inference only.\nIts figures for yolov7-d6 are those of the training form, auxiliary heads included."
    )
