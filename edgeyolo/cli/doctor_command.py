"""`edgeyolo doctor`."""

from __future__ import annotations

import click

from edgeyolo.cli.console import json_option, print_json, print_table


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Say which runtimes are usable here, and for the others what to install."""
    from edgeyolo.doctor import examine

    report = examine()
    if as_json:
        print_json(report)
        return
    for name, value in report["machine"].items():
        click.echo(f"{name:<10} {value}")
    runtimes = [
        (r["name"], "usable" if r["ok"] else "missing", r["version"], r["reason"], r["hint"])
        for r in report["runtimes"]
    ]
    print_table(("runtime", "", "version", "why not", "install"), runtimes)
    packages = [(p["name"], p["version"] or "missing", p["for"], p["hint"]) for p in report["packages"]]
    print_table(("package", "version", "for", "install"), packages)
