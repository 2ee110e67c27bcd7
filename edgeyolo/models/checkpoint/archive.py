"""The outside of a torch checkpoint.

A zip file with one folder, held to what `torch.save` writes.

torch stores every entry uncompressed. With nothing compressed, nothing encrypted and no two entries sharing
bytes, what is read can never be larger than the file: a zip bomb is impossible. Nothing is ever extracted.
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edgeyolo.errors import DamagedFileError, ForeignFileError, UntrustedFileError
from edgeyolo.models.checkpoint.limits import Limits

AGAIN = "Copy or download the file again and compare its SHA-256 with the one its publisher gives."
ACCEPTED = "Import takes .pt files of the YOLOv7 family, state dicts (.pt, .pth) and .safetensors files."
NOT_TORCH = "torch.save never writes this; get the checkpoint again from a source you trust."
_DIRECTORY_ENTRY = b"PK\x01\x02"
_CHUNK = 1 << 20
_LOCAL_HEADER = 30


class Archive:
    """An open, checked archive.

    `entries` maps names below the top folder to their sizes in bytes.
    """

    def __init__(self, path: Path, file: BinaryIO, limits: Limits) -> None:
        self.path = path
        self._limits = limits
        self.sha256, signatures = _survey(file)
        if signatures > limits.entries:
            raise UntrustedFileError(
                f"{path}: its zip directory seems to hold {signatures:,} entries, "
                f"at most {limits.entries:,} are read",
                hint=NOT_TORCH,
            )
        with _zip_errors(path, "its zip directory"):
            self._zip = zipfile.ZipFile(file)
        infos = [info for info in self._zip.infolist() if not info.is_dir()]
        _check_program(path, [info.filename for info in infos])
        _check_entries(path, self._zip.infolist(), file.seek(0, 2))
        self.folder = _folder_of(path, infos)
        self._infos = {info.filename[len(self.folder) + 1 :]: info for info in infos}
        self.entries = {name: info.file_size for name, info in self._infos.items()}
        self.big_endian = self._read_byteorder()

    def read(self, name: str) -> bytes:
        """The bytes of one entry, checked against its CRC-32."""
        info = self._infos.get(name)
        if info is None:
            raise DamagedFileError(f"{self.path}: its entry {self.folder}/{name} is missing", hint=AGAIN)
        with _zip_errors(self.path, f"its entry {self.folder}/{name}"):
            return self._zip.read(info)

    def pickle(self) -> bytes:
        """The pickled object graph, `data.pkl`."""
        size = self.entries.get("data.pkl", 0)
        if size > self._limits.pickle_bytes:
            raise UntrustedFileError(
                f"{self.path}: data.pkl is {size:,} bytes, at most {self._limits.pickle_bytes:,} are read",
                hint=NOT_TORCH,
            )
        return self.read("data.pkl")

    def stored_bytes(self) -> int:
        """The bytes of all tensor storages together."""
        return sum(size for name, size in self.entries.items() if name.startswith("data/"))

    def _read_byteorder(self) -> bool:
        # Files older than torch 2.1 have no such entry; torch itself then assumes little-endian.
        if "byteorder" not in self.entries:
            return False
        order = self.read("byteorder") if self.entries["byteorder"] <= 16 else b"(too long)"
        if order not in (b"little", b"big"):
            raise DamagedFileError(
                f"{self.path}: its byteorder entry says {order!r}, expected little or big", hint=AGAIN
            )
        return order == b"big"


@contextmanager
def open_archive(path: Path, limits: Limits) -> Iterator[Archive]:
    """Open a torch zip checkpoint and check its structure.

    Raises one of the FileRefusedError family.
    """
    with path.open("rb") as file:
        yield Archive(path, file, limits)


@contextmanager
def _zip_errors(path: Path, what: str) -> Iterator[None]:
    """Turn zipfile's errors into ones that name the unreadable part of the file."""
    try:
        yield
    except (zipfile.BadZipFile, EOFError, struct.error, ValueError, OverflowError, OSError) as error:
        raise DamagedFileError(
            f"{path}: {what} cannot be read: {error or 'it ends early'}", hint=AGAIN
        ) from error
    except (NotImplementedError, RuntimeError) as error:  # zip features that torch does not use
        raise UntrustedFileError(f"{path}: {what} is not read: {error}", hint=NOT_TORCH) from error


def _survey(file: BinaryIO) -> tuple[str, int]:
    """The file's SHA-256, and how often a zip directory entry could start in it.

    zipfile parses the whole directory before anything can be checked; the count bounds that beforehand.
    """
    digest, signatures, tail = hashlib.sha256(), 0, b""
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        signatures += (tail + chunk).count(_DIRECTORY_ENTRY)
        tail = chunk[-(len(_DIRECTORY_ENTRY) - 1) :]
    return digest.hexdigest(), signatures


def _check_program(path: Path, names: list[str]) -> None:
    """Name the archives of traced programs; none of their entries is read.

    They are often compressed, which a checkpoint never is.
    """
    program = {"constants.pkl": "TorchScript", "archive_format": "torch.export"}
    for name in names:
        folder, _, entry = name.partition("/")
        if folder and entry in program:
            raise ForeignFileError(
                f"{path}: a {program[entry]} program ({name}), which holds code to run, expected a checkpoint",
                hint="Import the .pt checkpoint it was traced from; or export that to ONNX with its own project's "
                "tool, for `edgeyolo adopt`.",
            )


def _check_entries(path: Path, infos: list[zipfile.ZipInfo], file_bytes: int) -> None:
    seen: set[str] = set()
    for info in infos:
        _check_name(path, info.orig_filename)
        if info.orig_filename in seen:
            raise UntrustedFileError(f"{path}: the entry {info.filename!r} is there twice", hint=NOT_TORCH)
        seen.add(info.orig_filename)
        _check_kind(path, info)
    _check_disjoint(path, infos, file_bytes)


def _check_name(path: Path, name: str) -> None:
    parts = name.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\\\x00]|^[A-Za-z]:", name):
        raise UntrustedFileError(
            f"{path}: the entry {name!r} points outside the archive (absolute, `..` or not a plain path)",
            hint=NOT_TORCH,
        )


def _check_kind(path: Path, info: zipfile.ZipInfo) -> None:
    found = ""
    if info.flag_bits & 0x41:
        found = "encrypted"
    elif info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        found = f"compressed ({info.compress_size:,} to {info.file_size:,} bytes)"
    elif stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        found = "a link or a device"
    if found:
        raise UntrustedFileError(
            f"{path}: the entry {info.filename!r} is {found}; expected a plain stored file", hint=NOT_TORCH
        )


def _check_disjoint(path: Path, infos: list[zipfile.ZipInfo], file_bytes: int) -> None:
    """Two entries that share bytes are how small zip files pretend to hold much."""
    end, before = 0, ""
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise UntrustedFileError(
                f"{path}: the entries {before!r} and {info.filename!r} overlap", hint=NOT_TORCH
            )
        end = info.header_offset + _LOCAL_HEADER + len(info.orig_filename) + info.compress_size
        before = info.filename
        if end > file_bytes:
            raise DamagedFileError(
                f"{path}: the entry {before!r} reaches beyond the end of the file", hint=AGAIN
            )


def _folder_of(path: Path, infos: list[zipfile.ZipInfo]) -> str:
    names = [info.filename for info in infos]
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise DamagedFileError(
            f"{path}: a zip file but no torch checkpoint: expected one <name>/data.pkl, found {len(pickles)}",
            hint=ACCEPTED,
        )
    folder = pickles[0].partition("/")[0]
    stray = next((name for name in names if not name.startswith(folder + "/")), None)
    if stray is not None:
        raise UntrustedFileError(
            f"{path}: the entry {stray!r} lies outside the folder {folder!r}", hint=NOT_TORCH
        )
    return folder
