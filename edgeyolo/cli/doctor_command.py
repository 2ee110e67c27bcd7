"""Command `edgeyolo doctor`."""

from __future__ import annotations

import click

from edgeyolo.cli.console import json_option, note, print_json, print_table, say


@click.command("doctor")
@click.option("--variables", is_flag=True, help="List every environment variable that edgeyolo reads.")
@json_option
def command(variables: bool, as_json: bool) -> None:
    """Say which runtimes are usable here, and what to install for the others.

    It also says which EDGEYOLO_ variables are set.

    \b
    edgeyolo doctor
    edgeyolo doctor --variables
    """
    from edgeyolo.backend.doctor import examine

    report = examine()
    if as_json:
        print_json(report)
        return
    for name, value in report["machine"].items():
        say(f"{name:<10} {value}")
    for text in report["notes"]:
        note(text)
    listed = [v for v in report["environment"] if variables or v["value"]]
    if listed:
        rows = [(v["name"], v["value"], v["meaning"] or "unknown: nothing reads it") for v in listed]
        print_table(("variable", "value", "is"), rows)
    if variables:
        return
    runtimes = [
        (r["name"], "usable" if r["ok"] else "missing", r["version"], r["reason"], r["hint"])
        for r in report["runtimes"]
    ]
    print_table(("runtime", "", "version", "why not", "install"), runtimes)
    packages = [(p["name"], p["version"] or "missing", p["for"], p["hint"]) for p in report["packages"]]
    print_table(("package", "version", "for", "install"), packages)
