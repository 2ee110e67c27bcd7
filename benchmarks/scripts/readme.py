"""benchmarks/README.md from everything in benchmarks/results.

The one page where every kept figure is found.

python benchmarks/scripts/readme.py                                    writes it anew
python benchmarks/scripts/readme.py --check                            exit code 1 if it is not what the results give
python benchmarks/scripts/readme.py --add runs/bench/exp --name paper  keeps a report in
results/<device>/paper.json first

results/<device>/*.json are reports of `edgeyolo bench`. Any other results/NAME.json is what one of the scripts here
left; NAME.md beside it holds its table with what it was measured on, else its flat values make one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeyolo.support.files import atomic_file
from edgeyolo_bench.render.markdown import table_lines, to_markdown
from edgeyolo_bench.values.device import DeviceFacts
from edgeyolo_bench.values.report import Report, load_report

HERE = Path(__file__).parents[1]
TITLES = {
    "targets": "Every target of the blood-cell checkpoint at its own 256 pixels",
    "targets-scenes": "Every target of the demo's network on generated scenes",
    "integers": "What integers cost on every target",
    "integers-bccd": "What integers cost: the blood-cell checkpoint on its validation and test images",
    "integers-voc": "What integers cost: the built-in model",
    "integers-scenes": "What integers cost: the demo's network on generated scenes",
    "integers-onnx": "ONNX Runtime's choices of integers",
    "weight-rounding": "Rounding of weights: each by itself, or so that errors cancel",
    "integers-speed-640": "Speed of integers with VNNI",
    "integers-speed-640-avx2": "Speed of integers without VNNI",
    "architectures": "Every network through the whole export at its own size",
    "paper-exports": "Baselines through the whole export at their own size",
    "elan-forms": "E-ELAN as twins or in groups",
}
HEAD = """# Measured

Written by `make bench-readme` from [`results`](results); not to be edited. Every figure was measured by the command
that stands with it, on the machine that stands with it. What may not be quoted, because a run was too short for it or
because the machine was busy, is not quoted, and says so. No GPU and no board was at hand: what is for one has no speed
here.
"""
PRINTED = """## Printed, not kept

These measure a part of the project on its own and print what they find beside its limit:

| command | measures |
| --- | --- |
| `make bench-core` | start-up, pre-processing and post-processing |
| `make bench-repeat` | the harness against itself: two runs of one artifact, and what measuring costs |
| `python benchmarks/scripts/assign_loss.py` | label assignment and loss: time and memory |
| `python benchmarks/scripts/train_step.py` | whole training steps |
| `python benchmarks/scripts/data_loading.py DATA` | pictures a second of the training pipeline |
| `make demo` | every target that runs here, of the demo's weights |
"""


def device_folder(device: DeviceFacts) -> str:
    """The folder of a device: its name in small letters, and its cores."""
    name = re.sub(r"[^a-z0-9]+", "-", device.name.lower()).strip("-")
    return f"{name}-{device.cpu.available:g}-cores"


def keep(report: Report, results: Path, name: str) -> Path:
    """Put a report among the results in short form.

    It loses what its spec tells again (layers) and what nothing here shows.
    """
    limits = tuple(
        replace(item, placements=tuple(replace(each, layers=()) for each in item.placements))
        for item in report.limits
    )
    measurements = tuple(
        replace(item, stages=tuple(replace(stage, timeline=()) for stage in item.stages))
        for item in report.measurements
    )
    place = results / device_folder(report.devices[0]) / f"{name}.json"
    replace(report, limits=limits, measurements=measurements).save(place)
    return place


def render(results: Path) -> str:
    """The page."""
    return "\n".join([HEAD, *_reports(results), *_others(results), PRINTED])


def _reports(results: Path) -> Iterator[str]:
    for path in sorted(results.glob("*/*.json")):
        relative = path.relative_to(results).as_posix()
        yield f"## {_title(path.stem)}\n"
        yield f"[`{relative}`](results/{relative})\n"
        yield to_markdown(load_report(path), level=3)


def _others(results: Path) -> Iterator[str]:
    for path in sorted(results.glob("*.json")):
        words = path.with_suffix(".md")
        title, text = _title(path.stem), words.read_text(encoding="utf-8") if words.exists() else _flat(path)
        if text.startswith("# "):
            first, _, text = text.partition("\n")
            title = first.removeprefix("# ")
        yield f"## {title}\n"
        yield f"[`{path.name}`](results/{path.name})\n"
        yield (
            re.sub(r"^#", "##", text.strip(), flags=re.MULTILINE) + "\n"
        )  # its headings stand below this page's


def _title(stem: str) -> str:
    return TITLES.get(stem, stem.replace("-", " ").capitalize())


def _flat(path: Path) -> str:
    """Table of the plain values of a list of objects.

    The list is given, or it is `rows` of an object whose other values stand above the table.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    facts: Mapping[str, Any] = data if isinstance(data, dict) else {}
    rows = facts.get("rows", [facts] if facts else data)
    about = [f"{key}: {value}" for key, value in facts.items() if _plain(value) and "rows" in facts]
    columns = list(dict.fromkeys(key for row in rows for key, value in row.items() if _plain(value)))
    cells = [[_text(row.get(column)) for column in columns] for row in rows]
    return "\n".join([", ".join(about), "", *table_lines(columns, cells)])


def _plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _text(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Keep a report if one is named, then write or check the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--add", type=Path, help="a report.json, or the folder of `edgeyolo bench -o`")
    parser.add_argument("--name", default="bench", help="what the kept report is called")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    if options.add:
        print(f"kept as {keep(load_report(options.add), HERE / 'results', options.name)}")
    page, text = HERE / "README.md", render(HERE / "results")
    if options.check:
        same = page.is_file() and page.read_text(encoding="utf-8") == text
        sys.exit(0 if same else "benchmarks/README.md is not what the results give: make bench-readme")
    with atomic_file(page) as draft:
        draft.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
