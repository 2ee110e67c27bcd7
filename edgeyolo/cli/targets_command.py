"""Command `edgeyolo targets`."""

from __future__ import annotations

from typing import Any

import click

from edgeyolo.cli.console import json_option, note, print_json, print_table


@click.command("targets")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also accelerators without a target: why, and what their tools take.",
)
@json_option
def command(everything: bool, as_json: bool) -> None:
    """List the targets, and whether this machine can make and run artifacts for each."""
    from edgeyolo.backend import registry
    from edgeyolo.backend.out_of_reach import OUT_OF_REACH

    rows = _rows()
    beyond = OUT_OF_REACH if everything else ()
    if as_json:
        found: list[dict[str, Any]] = [
            {"device": each.device, "reason": each.obstacle, "nearest": each.command, "then": each.step,
             "source": each.source}
            for each in beyond
        ]  # fmt: skip
        print_json({"targets": rows, "out_of_reach": found} if everything else rows)
        return
    mark = {True: "yes", False: "no"}
    table = [
        (r["target"], mark[bool(r["compiles"])], mark[bool(r["runs"])], r["note"], r["reason"]) for r in rows
    ]
    print_table(("target", "made here", "runs here", "", "why not"), table)
    if beyond:
        print_table(
            ("no target for", "why not", "what its tools take", "by"),
            [(each.device, each.obstacle, each.command, each.step) for each in beyond],
        )
    for item in registry.broken():
        note(f"backend {item.name} does not load: {item.reason}")


def _rows() -> list[dict[str, Any]]:
    from edgeyolo.backend import registry

    rows = []
    for profile, backend in registry.profiles():
        makes, runs = backend.can_compile(), backend.can_run()
        rows.append(
            {
                "target": str(profile.target),
                "backend": backend.name,
                "compiles": makes.ok,
                "runs": runs.ok,
                "files": list(profile.files),
                "parity": profile.parity,
                "dynamic_batch": profile.dynamic_batch,
                "note": profile.note,
                "reason": makes.reason or runs.reason,
            }
        )
    return rows
