"""Tables as lines of text for a terminal of any width.

Numbers, names and targets are never broken. Prose is wrapped between its words; what does not fit beside the rest
stands below its row, under the name of its column.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_GAP = 2
_INDENT = 1
_BELOW = 5  # of what stands below a row
_PROSE_WIDTH = 24  # a column of prose that is narrower reads badly
_PROSE_WORDS = 4


@dataclass(frozen=True)
class Column:
    """One column: its name, its texts, and how they may be set."""

    name: str
    texts: tuple[str, ...]
    right: bool

    @property
    def width(self) -> int:
        """Cells that the widest text takes, or the name."""
        return max(map(cells, (self.name, *self.texts)))

    @property
    def prose(self) -> bool:
        """True for texts that may be wrapped: sentences.

        Not values such as `12.3 (11.9 to 12.8)`.
        """
        words = (sum(word.strip(".,:;()").isalpha() for word in text.split()) for text in self.texts)
        return any(count >= _PROSE_WORDS for count in words)

    @property
    def least(self) -> int:
        """Cells that it needs at least."""
        if not self.prose:
            return self.width
        words = [cells(word) for text in (self.name, *self.texts) for word in text.split()]
        return min(self.width, max(_PROSE_WIDTH, *words))


def cells(text: str) -> int:
    """Cells that a text takes on a terminal; Chinese characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def lay_out(columns: Sequence[Column], width: int | None) -> list[str]:
    """The lines of a table for a terminal of `width` cells.

    None is longer but where a single word is; a width of None sets no limit.
    """
    inside = [None] * len(columns) if width is None else _fit(columns, width - _INDENT)
    widths = {
        number: columns[number].width if room is None else room
        for number, room in enumerate(inside)
        if room != 0
    }
    below = [column for number, column in enumerate(columns) if number not in widths]
    head = [(columns[number].name, room, columns[number].right) for number, room in widths.items()]
    lines = [_line(head), " " * _INDENT + "─" * (sum(widths.values()) + _GAP * (len(widths) - 1))]
    for row in range(len(columns[0].texts) if columns else 0):
        parts = [
            (_wrap(columns[number].texts[row], room), room, columns[number].right)
            for number, room in widths.items()
        ]
        for line in range(max(len(texts) for texts, _, _ in parts)):
            lines.append(
                _line(
                    [(texts[line] if line < len(texts) else "", room, right) for texts, room, right in parts]
                )
            )
        lines += _lines_below([(column, column.texts[row]) for column in below], width or 0)
    return lines


def _fit(columns: Sequence[Column], width: int) -> list[int]:
    """The cells of each column, 0 for those that stand below.

    From the left, as many as there is room for.
    """
    rooms = [0] * len(columns)
    left = width
    for number, column in enumerate(columns):
        needed = column.least + (_GAP if number else 0)
        if number == 0 or needed <= left:
            rooms[number] = column.least
            left -= needed
    for number, column in enumerate(columns):  # what is left goes to the prose
        if rooms[number] and column.prose and left > 0:
            more = min(left, column.width - rooms[number])
            rooms[number] += more
            left -= more
    return rooms


def _line(parts: Sequence[tuple[str, int, bool]]) -> str:
    texts = [
        " " * (room - cells(text)) + text if right else text + " " * (room - cells(text))
        for text, room, right in parts
    ]
    return (" " * _INDENT + (" " * _GAP).join(texts)).rstrip()


def _wrap(text: str, width: int) -> list[str]:
    """Lines of whole words."""
    if cells(text) <= width:
        return [text]
    return textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False) or [""]


def _lines_below(left: Sequence[tuple[Column, str]], width: int) -> list[str]:
    """Short values side by side, prose in lines of its own."""
    short = [f"{column.name} {text}".strip() for column, text in left if text and not column.prose]
    lines, current = [], ""
    for item in short:
        if current and _BELOW + cells(current) + _GAP + cells(item) > width:
            lines.append(current)
            current = item
        else:
            current = f"{current}{' ' * _GAP}{item}" if current else item
    lines += [current] if current else []
    for column, text in left:
        if text and column.prose:
            lines += _wrap(f"{column.name}: {text}" if column.name else text, width - _BELOW)
    return [" " * _BELOW + line for line in lines]
