"""Output of `edgeyolo export --dry-run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeyolo.cli.check_command import print_places, print_verdict
from edgeyolo.cli.console import note, print_json, print_table

if TYPE_CHECKING:
    from edgeyolo.errors import EdgeYoloError
    from edgeyolo.export.dry_run import Plan


def error_facts(target: str, error: EdgeYoloError) -> dict[str, Any]:
    """A target that failed, as plain values."""
    return {"target": target, "error": error.message, "hint": error.hint, "exit_code": error.exit_code}


def say_plans(plans: list[Plan], failed: dict[str, EdgeYoloError], as_json: bool) -> None:
    """A row for each target; for a single one also where its operators would run."""
    if as_json:
        found = [*(plan.to_json() for plan in plans), *(error_facts(*each) for each in failed.items())]
        print_json(found if len(found) > 1 else found[0])
        return
    if len(plans) == 1 and not failed:
        print_places(plans[0].check)
        print_verdict(plans[0].check)
    rows = [_row(plan) for plan in plans]
    rows += [
        ("-", target, "-", "-", "-", f"would fail, exit code {e.exit_code}") for target, e in failed.items()
    ]
    print_table(("would make", "target", "input", "size", "files", "with"), rows)
    for target, error in failed.items():
        note(f"{target}: {error}")
    for remark in dict.fromkeys(plan.remark for plan in plans if plan.remark):
        note(remark)
    note("nothing was written")


def _row(plan: Plan) -> tuple[str, ...]:
    height, width = plan.input.size
    batch = "dynamic" if plan.input.dynamic_batch else plan.input.batch
    tools = ", ".join(f"{name} {found}" for name, found in plan.tools.items())
    calibrated = "calibrated, " if plan.calibrated else ""
    opset = f"opset {plan.opset}, " if plan.opset else ""
    size = f"about {plan.megabytes:.1f} MB"
    return (
        str(plan.path),
        plan.target,
        f"{batch}x{height}x{width}",
        size,
        ", ".join(plan.files),
        calibrated + opset + tools,
    )
