"""Text from elsewhere made harmless to print.

File names, class names, other machines' output.
"""

from __future__ import annotations

import codecs
import io
import unicodedata
from typing import TextIO

_KEPT = "\n\t"
# Control characters, and those that turn the direction of what follows or cannot be seen.
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # Persian, Hindi and emoji need them


def printable(text: str) -> str:
    """Text with its control characters written out, as `\\x1b`.

    Direction marks and lone surrogates too; line ends stay.

    A terminal obeys such characters: names with them can set its title, move the cursor over other output, or answer
    for the user.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _shows(character) else _written(character) for character in text)


def printable_line(text: str) -> str:
    """The same on one line: line ends and tabs are written out too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def tolerate(stream: TextIO) -> None:
    """Let a stream write out, as `\\u8eca`, what its encoding lacks.

    A pipe on Windows has no Chinese names and no lines of tables, which become `-`. Streams that are no files stay.
    """
    codecs.register_error("edgeyolo", _write_out)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="edgeyolo")


def _write_out(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join("-" if each == "─" else _written(each) for each in missing), error.end


def _shows(character: str) -> bool:
    return character in _KEPT or character in _JOINERS or unicodedata.category(character) not in _HIDDEN


def _written(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
