"""benchmarks/README.md is what the results give, whatever is among them."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from edgeyolo_bench.values.report import load_report

from .sample import DEVICE, sample_report

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def readme() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme", BENCHMARKS / "scripts/readme.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_page_is_generated(readme: ModuleType) -> None:
    committed = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert committed == readme.render(BENCHMARKS / "results"), "write it again: make bench-readme"


def test_every_kept_file_is_linked_and_every_link_leads_somewhere(readme: ModuleType) -> None:
    page = readme.render(BENCHMARKS / "results")
    links = set(re.findall(r"\]\((results/[^)]+)\)", page))
    kept = {path.relative_to(BENCHMARKS).as_posix() for path in (BENCHMARKS / "results").rglob("*.json")}
    assert links == kept


def test_a_report_is_kept_and_shown(readme: ModuleType, tmp_path: Path) -> None:
    place = readme.keep(sample_report(), tmp_path, "paper")
    assert place == tmp_path / "bench-host-8-cores" / "paper.json"
    found = load_report(place)
    assert len(found.measurements) == len(sample_report().measurements)
    assert not any(item.layers for limits in found.limits for item in limits.placements)
    page = readme.render(tmp_path)
    assert "## Paper\n" in page and "### bench-host" in page and "The paper's Table 2" in page
    assert "yolov7-e6e cpu-openvino-fp32: not reportable" in page
    other = replace(sample_report(), created="2027-01-01T00:00:00Z")
    assert readme.keep(other, tmp_path, "paper") == place and load_report(place).created == other.created


def test_results_of_other_scripts_are_shown_by_their_words_or_their_values(
    readme: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "targets.json").write_text("{}")
    (tmp_path / "targets.md").write_text("About it.\n\n| a |\n| --- |\n| 1 |\n")
    (tmp_path / "titled.json").write_text("{}")
    (tmp_path / "titled.md").write_text("# Its own title\n\nWords.\n\n## A part\n")
    rows = [
        {"network": "tiny", "seconds": 1.23456, "maps": [1, 2], "refused": None},
        {"network": "a|b", "extra": 7},
    ]
    (tmp_path / "list-of-rows.json").write_text(json.dumps(rows))
    (tmp_path / "facts.json").write_text(json.dumps({"data": "cells", "rows": [{"AP": 0.5}]}))
    (tmp_path / "one.json").write_text(json.dumps({"peak": 12.5}))
    page = readme.render(tmp_path)
    assert "## Every target of the blood-cell checkpoint" in page and "About it." in page
    assert "## List of rows" in page
    assert "## Its own title\n" in page and "\n### A part" in page and "## Titled" not in page
    assert "| network | seconds | refused | extra |" in page
    assert "| tiny | 1.235 | - | - |" in page and "| a\\|b | - | - | 7 |" in page
    assert "data: cells" in page and "| AP |" in page and "| peak |\n| --- |\n| 12.5 |" in page


def test_a_device_is_a_folder(readme: ModuleType) -> None:
    assert readme.device_folder(replace(DEVICE, name="Raspberry Pi 5 Model B (rev 1.0)")) == (
        "raspberry-pi-5-model-b-rev-1-0-8-cores"
    )
