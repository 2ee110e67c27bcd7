"""Command `edgeyolo targets`."""

from __future__ import annotations

import click

from edgeyolo.cli.console import json_option, note, print_json, print_table


@click.command("targets")
@json_option
def command(as_json: bool) -> None:
    """List the targets, and whether this machine can make and run artifacts for each."""
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
    if as_json:
        print_json(rows)
        return
    mark = {True: "yes", False: "no"}
    table = [
        (r["target"], mark[bool(r["compiles"])], mark[bool(r["runs"])], r["note"], r["reason"]) for r in rows
    ]
    print_table(("target", "made here", "runs here", "", "why not"), table)
    for item in registry.broken():
        note(f"backend {item.name} does not load: {item.reason}")
