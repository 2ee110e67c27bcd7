"""Outputs of a report: files, Markdown that can be read back, and plots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeyolo.errors import RuntimeMissingError
from edgeyolo_bench.render import deliver
from edgeyolo_bench.render.deliver import write_report
from edgeyolo_bench.render.markdown import table_lines, to_markdown
from edgeyolo_bench.render.plots import write_plots
from edgeyolo_bench.values.device import DeviceFacts
from edgeyolo_bench.values.report import Report, load_report

from .sample import DEVICE, measurement, sample_report


def tables_of(text: str) -> dict[str, list[list[str]]]:
    """Markdown tables by the heading they stand under: rows of cells, the head first."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| ") and not line.startswith("| ---"):
            found.setdefault(heading, []).append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def test_every_form_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the eval extra")
    written = write_report(sample_report(), tmp_path / "out")
    assert [path.name for path in written] == [
        "report.json", "report.md", "report.html", "report.csv",
        "ap-latency.png", "latency.png", "stages.png", "roofline-1.png",
    ]  # fmt: skip
    assert all(path.stat().st_size > 1000 for path in written)
    assert load_report(tmp_path / "out") == sample_report()


def test_without_matplotlib_everything_else_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "find_spec", lambda name: None)
    assert [path.name for path in write_report(sample_report(), tmp_path)] == [
        "report.json",
        "report.md",
        "report.html",
        "report.csv",
    ]


def test_plots_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeMissingError, match="matplotlib") as caught:
        write_plots(sample_report(), tmp_path)
    assert "[eval]" in caught.value.hint and not list(tmp_path.iterdir())


def test_markdown_has_every_table_with_equal_rows() -> None:
    text = to_markdown(sample_report())
    found = tables_of(text)
    assert {"bench-host", "Roofline"} < set(found) and sum("Table" in name for name in found) == 4
    assert len(found["bench-host"]) == 1 + len(sample_report().measurements)
    for rows in found.values():
        assert len({len(row) for row in rows}) == 1
    assert "not reportable: 12 queries" in text and "yolov7-e6e" in text
    assert to_markdown(sample_report(), level=3).startswith("### bench-host")


def test_bars_in_cells_do_not_break_a_table() -> None:
    assert table_lines(("a",), [("x|y",)])[-1] == "| x\\|y |"


def test_markdown_of_one_plain_measurement() -> None:
    one = measurement("yolov7-tiny", "cpu-onnx-fp32", size=96)
    plain = Report(
        "2026-11-25T20:00:00Z",
        "0.1.0",
        (DeviceFacts("pi", "Linux", DEVICE.cpu),),
        (replace(one, device="pi"),),
    )
    text = to_markdown(plain)
    assert text.startswith("# pi\n") and "Roofline" not in text


def pixels(path: Path, colour: str) -> int:
    """Count the pixels of a picture that have a colour, "#rrggbb"."""
    picture = cv2.imread(str(path))
    assert picture is not None
    wanted = np.array([int(colour[i : i + 2], 16) for i in (5, 3, 1)])
    return int((np.abs(picture.astype(int) - wanted).max(-1) <= 6).sum())


def test_plots_hold_the_front_and_every_runtimes_colour(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the eval extra")
    write_plots(sample_report(), tmp_path)
    for name in ("ap-latency", "latency", "roofline-1"):
        for colour in ("#2457c5", "#0d7f6c"):  # ONNX Runtime's and OpenVINO's
            assert pixels(tmp_path / f"{name}.png", colour) > 40, (name, colour)
    assert pixels(tmp_path / "ap-latency.png", "#1b1d20") > 1000  # the front, a line across the picture
    for colour in ("#9db8ea", "#5f8bdb", "#2457c5", "#102f77"):
        assert pixels(tmp_path / "stages.png", colour) > 200, colour


def test_only_what_there_is_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the eval extra")
    one = measurement("yolov7-tiny", "cpu-onnx-fp32", size=96)
    bare = replace(sample_report(), measurements=(one,), limits=(), comparisons=())
    assert [path.name for path in write_plots(bare, tmp_path)] == ["latency.png"]
    assert write_plots(replace(bare, measurements=()), tmp_path) == ()
