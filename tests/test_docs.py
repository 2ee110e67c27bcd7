"""Documentation: the site builds, its Python runs, its commands, options, targets and files exist."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import cv2
import pytest

from edgeyolo.cli import cli, main
from edgeyolo.cli.options import split_targets
from edgeyolo.datasets.scenes import make_scene, write_dataset

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPET = "--8<--"


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of the languages, taken out of tabs and lists that indent them."""
    found, inside, indent = [], None, ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if inside is None and (start := re.match(r"( *)```(\w*)", line)):
            indent, inside = start[1], [] if start[2] in languages else None
            skipping = inside is None
            if skipping:
                inside = ["\0"]
        elif inside is not None and line.strip() == "```":
            if inside[:1] != ["\0"]:
                found.append("\n".join(inside))
            inside = None
        elif inside is not None:
            inside.append(line.removeprefix(indent))
    return [text for text in found if SNIPPET not in text]


def commands(page: Path) -> list[list[str]]:
    """Every `edgeyolo ...` line of a page's plain blocks, as words; also behind ssh, variables and prompts."""
    lines = "\n".join(blocks(page, "", "console", "bash")).splitlines()
    said = [
        found[1]
        for line in lines
        if (found := re.match(r"(?:\$ |ssh \S+ |\w+=\S+ )*edgeyolo ([a-z].*)", line))
    ]
    return [shlex.split(text, comments=True) for text in said]


def test_blocks_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\na\n```\n1. x\n    ```\n    $ edgeyolo detect x  # why\n    ```\n```cpp\nb\n```\n```\nc\n```\n"
    )
    assert blocks(page, "python") == ["a"]
    assert blocks(page, "") == ["$ edgeyolo detect x  # why", "c"]
    assert commands(page) == [["detect", "x"]]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the docs extra")
    pytest.importorskip("mkdocstrings", reason="needs the docs extra")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "site/api/index.html").read_text(encoding="utf-8")
    for anchor in ("edgeyolo.detector.detector.Detector.batch", "edgeyolo.backend.interface.Backend.compile"):
        assert f'id="{anchor}"' in reference
    pages = {path.parent.name for path in (tmp_path / "site/targets").rglob("index.html")}
    assert {"jetson", "apple", "coral", "cpu"} <= pages
    text = re.sub(r"<[^>]*>", "", (tmp_path / "site/targets/android/index.html").read_text(encoding="utf-8"))
    assert "fun decode(levels" in text  # code is taken from the files that the tests know


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_python_of_the_page_runs(
    page: Path,
    small_artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each block on its own, beside an artifact `cells-onnx` and a `photo.jpg`, as the pages assume."""
    (tmp_path / "cells-onnx").symlink_to(small_artifact)
    cv2.imwrite(str(tmp_path / "photo.jpg"), make_scene(1).image)
    monkeypatch.chdir(tmp_path)
    for text in blocks(page, "python"):
        exec(compile(text, name(page), "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_commands_options_and_targets_of_the_page_exist(page: Path) -> None:
    context = click.Context(cli)
    for words in commands(page):
        command = cli.get_command(context, words[0])
        assert command is not None, words
        known = {option for item in command.params for option in (*item.opts, *item.secondary_opts)}
        said = {word for word in words[1:] if re.match(r"--?[a-z]", word)}
        assert said <= {*known, "--help"}, words
        for option, value in pairwise(words):
            if option == "--target" and value not in ("T", "all"):
                split_targets((value,))


def test_every_wing_is_on_the_map() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    wings = {path.parent.name for path in (ROOT / "edgeyolo").glob("*/__init__.py")}
    assert len(wings) >= 11
    assert {wing for wing in wings if f"| `{wing}/` |" not in text} == set()


def test_every_target_has_its_page() -> None:
    from edgeyolo.backend import registry

    index = (ROOT / "docs/targets/index.md").read_text(encoding="utf-8")
    rows = {
        target: row
        for row in index.splitlines()
        for target in re.findall(r"`([a-z0-9]+-[a-z0-9]+-[a-z0-9]+)`", row)
    }
    for profile, _ in registry.profiles():
        target = str(profile.target)
        found = re.search(r"\]\((\w+\.md)\)", rows[target])
        assert found is not None, target
        page = (ROOT / "docs/targets" / found[1]).read_text(encoding="utf-8")
        device, runtime, precision = target.split("-")
        assert f"{device}-{runtime}-" in page
        assert target in page or f"-{precision}`" in page, target
        for file in profile.files[:1]:
            assert file.split("/")[0] in page, (target, file)


def test_tables_quote_what_was_measured() -> None:
    """Figures of the pages on CPUs and INT8 are those of benchmarks/results."""
    measured = (ROOT / "benchmarks/results/targets.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\| `(cpu-[a-z0-9-]+)` \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| (\S+) \|$",
                          (ROOT / "docs/targets/cpu.md").read_text(encoding="utf-8"), re.MULTILINE):  # fmt: skip
        assert re.search(
            rf"^\| {row[0]} \| {row[1]} \|.*\| {row[2]} ms \|.*\| {row[3]} \| {re.escape(row[4])} \|",
            measured,
            re.MULTILINE,
        )
    integers = (ROOT / "benchmarks/results/integers-bccd.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"\| (0\.\d{4}) \| ([+-][\d.]+) \(([^)]*)\)", (ROOT / "docs/int8.md").read_text(encoding="utf-8")
    )
    assert len(rows) == 6
    for ap, lost, interval in rows:
        assert f"| {ap} | {lost} | {interval} |" in integers, (ap, lost, interval)


RUN = ("check", "export", "detect", "verify")
LOCAL = {"cpu-onnx-fp32", "cpu-onnx-fp32,jetson-trt-fp16,ane-coreml-fp16", "all", "jetson-trt-fp16"}


@pytest.mark.slow
@pytest.mark.parametrize("page", ["index.md", "targets/index.md", "targets/jetson.md"])
def test_commands_of_the_page_run(
    page: str, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the page's order, beside the weights and pictures that it assumes; what needs a device is left out."""
    shutil.copy(small_weights, tmp_path / "best.safetensors")
    cv2.imwrite(str(tmp_path / "photo.jpg"), make_scene(1).image)
    write_dataset(tmp_path / "photos", range(4))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEYOLO_CACHE", str(tmp_path / "cache"))
    done = []
    for words in commands(ROOT / "docs" / page):
        targets = words[words.index("--target") + 1] if "--target" in words else ""
        names_a_file = any((tmp_path / word).exists() for word in words[1:])
        if (
            words[0] not in RUN
            or "--calib" in words
            or not names_a_file
            or (targets and targets not in LOCAL)
        ):
            continue
        if words[0] == "detect" and "jetson" in words[1]:
            continue  # on the device
        monkeypatch.setattr(sys, "argv", ["edgeyolo", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0, words
        done.append(words[0])
    assert "export" in done
