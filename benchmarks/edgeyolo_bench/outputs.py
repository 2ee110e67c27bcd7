"""What a report is written as: report.json, report.md, report.html, and PNG plots where matplotlib is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from edgeyolo.files import atomic_file
from edgeyolo_bench.markdown import to_markdown
from edgeyolo_bench.page import write_page
from edgeyolo_bench.plots import write_plots
from edgeyolo_bench.report import Report


def write_report(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write every form of a report into a folder and return the files; report.json, which the others follow from,
    first."""
    report.save(folder / "report.json")
    with atomic_file(folder / "report.md") as draft:
        draft.write_text(to_markdown(report), encoding="utf-8")
    write_page(report, folder / "report.html")
    plots = write_plots(report, folder) if find_spec("matplotlib") else ()
    return (folder / "report.json", folder / "report.md", folder / "report.html", *plots)
