"""README: its commands, options, files, targets and figures of networks exist."""

from __future__ import annotations

import re
from pathlib import Path

import click

from edgeyolo.backend import registry
from edgeyolo.cli import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.findall(r"@[A-Z]+@|TODO|TBD", README)


def test_commands_and_options_exist() -> None:
    context = click.Context(cli)
    lines = re.findall(r"(?:^\$ |`)edgeyolo ([a-z]+)([^`\n]*)", README, re.MULTILINE)
    assert len(lines) > 8
    for name, rest in lines:
        command = cli.get_command(context, name)
        assert command is not None, name
        known = {option for item in command.params for option in item.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= known, (name, rest)


def test_make_targets_and_linked_files_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make ([a-z][a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"\]\(([^)h][^)]*)\)", README):
        assert (ROOT / path).exists(), path


def test_every_target_is_listed() -> None:
    for profile, _ in registry.profiles():
        assert str(profile.target) in README, profile.target


def test_the_networks_table_is_ours() -> None:
    from edgeyolo.models.complexity import describe
    from edgeyolo.models.specs import names

    for name in names():
        row = re.search(rf"^ *{name} .*$", README, re.MULTILINE)
        assert row is not None, name
        assert f"{describe(name).params / 1e6:.2f} M" in row[0]
