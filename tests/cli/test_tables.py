"""Tables and help on terminals of 60, 80 and 120 columns: nothing is broken that must be read or copied whole."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeyolo.backend import registry
from edgeyolo.cli import cli, main
from edgeyolo.cli.tables import Column, cells, lay_out
from edgeyolo.models.specs import names

WIDTHS = (60, 80, 120)


def printed(*arguments: str, width: int, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        patch.setattr(sys, "argv", ["edgeyolo", *arguments])
        with pytest.raises(SystemExit):
            main()
    return capsys.readouterr().out


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", ["models", "targets", "doctor", "doctor --variables"])
def test_no_line_is_longer_than_the_terminal(
    command: str, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in printed(*command.split(), width=width, capsys=capsys).splitlines():
        # A path or a web address is one word, which is not broken; the facts of the machine are no table.
        assert (
            cells(line) <= width or max(map(cells, line.split())) > width // 2 or not line.startswith(" ")
        ), line


@pytest.mark.parametrize("width", WIDTHS)
def test_targets_and_numbers_are_whole(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    targets = printed("targets", width=width, capsys=capsys).split()
    assert {str(profile.target) for profile, _ in registry.profiles()} <= set(targets)
    models = printed("models", width=width, capsys=capsys)
    for name in names():
        assert re.search(rf"^ {name} ", models, re.MULTILINE), name
    for figure in ("133.76 M", "842.2", "56.8%", "1280", "161"):
        assert figure in models


@given(st.lists(st.lists(st.sampled_from(
    ["", "cpu-onnx-fp32", "12.34 (11.9 to 12.8)", "yolov7-e6e", "1280", "Core ML is part of Apple's systems",
     "what a long sentence says of a thing that does not fit into one line of a narrow terminal", "名前"]
), min_size=5, max_size=5), min_size=1, max_size=4), st.integers(30, 200))  # fmt: skip
def test_every_value_stays_whole_at_every_width(rows: list[list[str]], width: int) -> None:
    columns = [Column(f"c{index}", tuple(row[index] for row in rows), index == 2) for index in range(5)]
    lines = lay_out(columns, width)
    text = "\n".join(lines)
    assert all(cells(line) <= width for line in lines), text
    for value in {value for row in rows for value in row if len(value.split()) < 4}:
        assert value in text  # a number with its interval is one value
    words = {word for row in rows for value in row for word in value.split()}
    assert words <= set(text.split())


def test_without_a_width_a_row_is_a_line() -> None:
    column = Column("why", ("a sentence of many words " * 20,), False)
    assert len(lay_out([column, Column("n", ("1",), True)], None)) == 3


def test_wide_columns_move_below_the_row() -> None:
    columns = [
        Column("name", ("x" * 20,), False),
        Column("AP", ("0.5",), True),
        Column("size", ("y" * 30,), False),
    ]
    lines = lay_out(columns, 40)
    assert lines[0].split() == ["name", "AP"]
    assert lines[-1] == "     size " + "y" * 30


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", ["", *cli.list_commands(None)])  # type: ignore[arg-type]
def test_help_fits_and_its_examples_can_be_copied(
    command: str, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(*([command] if command else []), "--help", width=width, capsys=capsys)
    assert all(cells(line) <= width for line in text.splitlines())
    found = cli.get_command(click.Context(cli), command) if command else cli
    assert found is not None
    examples = re.findall(
        r"^    ((?:edgeyolo|torchrun|curl) .*)$", found.callback.__doc__ or "", re.MULTILINE
    )  # type: ignore[union-attr]
    joined = [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines()]
    for example in examples:
        assert " ".join(example.split()) in joined, example
        assert shlex.split(example)


@pytest.mark.parametrize("width", WIDTHS)
def test_commands_stand_under_headings_with_whole_summaries(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed("--help", width=width, capsys=capsys)
    flat = " ".join(text.split())
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert f" {name} {command.get_short_help_str(limit=1000)}" in flat
    assert "..." not in text.partition("Detect and measure:")[2]
    assert text.count("Detect and measure:") == text.count("Train:") == 1
    assert "Others:" not in text


def test_a_command_of_a_third_party_is_listed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edgeyolo.cli.help_text import Formatter, write_commands

    group = click.Group(commands={"mine": click.Command("mine", help="Do what I want.")})
    formatter = Formatter(width=60)
    write_commands(group, click.Context(group), formatter)
    assert "Others:" in formatter.getvalue()
    assert "Do what I want." in formatter.getvalue()


def test_a_command_that_two_distributions_bring_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "another-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[edgeyolo.commands]\nbuild = another:build\ndetect = another:detect\nmine = another:mine\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    names = cli.list_commands(click.Context(cli))
    assert len(names) == len(set(names))
    assert "mine" in names
