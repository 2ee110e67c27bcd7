"""`edgeyolo models`."""

from __future__ import annotations

import click

from edgeyolo.cli.console import json_option, print_json, print_table


@click.command("models")
@json_option
def command(as_json: bool) -> None:
    """List the networks: parameters and GFLOPs as built here, beside the paper's figures."""
    from edgeyolo.models.describe import describe_all

    described = describe_all()
    if as_json:
        print_json([item.to_json() for item in described])
        return
    rows = [
        (
            item.name,
            f"{item.params / 1e6:.2f}M",
            item.paper.params,
            f"{item.params_training / 1e6:.2f}M",
            f"{item.gflops:.1f}",
            item.paper.flops,
            item.imgsz,
            item.paper.ap_val,
            item.paper.fps,
        )
        for item in described
    ]
    columns = ("network", "params", "paper", "in training", "GFLOPs", "paper", "size", "paper's AP val", "paper's FPS")
    print_table(columns, rows)
