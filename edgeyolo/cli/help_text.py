"""Help for a terminal of any width.

Commands by what one does with them, and examples that can be copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

SECTIONS = {
    "Detect and measure": ("detect", "track", "predict", "val", "bench"),
    "Carry a network to a device": ("import", "check", "export", "calibrate", "build", "adopt", "verify"),
    "Serve and hand on": ("serve", "recipe"),
    "Train": ("train", "ablate"),
    "Look up": ("models", "targets", "doctor"),
}
"""Headings of the commands; those of third parties stand under `OTHERS`."""

OTHERS = "Others"

_EXAMPLE = re.compile(r"(?:edgeyolo|torchrun|curl) ")
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")
_DEEPER = "    "


class Formatter(click.HelpFormatter):
    """Writes examples so that no line of them is longer than the terminal is wide."""

    def write_text(self, text: str) -> None:
        room = max(self.width - self.current_indent, 20)
        super().write_text("\n".join(line for given in text.split("\n") for line in _folded(given, room)))


class Context(click.Context):
    """The context of every command; its help is written by `Formatter`."""

    formatter_class = Formatter


def write_commands(group: click.Group, context: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the commands under their headings, each with its whole summary."""
    names = group.list_commands(context)
    known = {name for section in SECTIONS.values() for name in section}
    others = tuple(name for name in names if name not in known)
    for heading, wanted in {**SECTIONS, OTHERS: others}.items():
        rows = []
        for name in wanted:
            command = group.get_command(context, name) if name in names else None
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(limit=1000)))
        if rows:
            with formatter.section(heading):
                formatter.write_dl(rows)


def _folded(line: str, room: int) -> Iterator[str]:
    """An example that is too long, as lines that a shell reads as one.

    Other lines as they are.
    """
    bare = line.lstrip()
    if len(line) <= room or not _EXAMPLE.match(bare):
        yield line
        return
    indent = line[: len(line) - len(bare)]
    parts = re.split(r" (?=--?[a-zA-Z])", bare)  # before every option, else before every word
    parts = [word for part in parts for word in (_WORD.findall(part) if len(part) + 3 > room else [part])]
    current = indent + parts[0]
    for part in parts[1:]:
        if len(current) + len(part) + 3 > room:
            yield current + " \\"
            current = indent + _DEEPER + part
        else:
            current += " " + part
    yield current
