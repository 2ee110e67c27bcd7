"""Checkpoints made by hand: an assembler for pickle streams, and zip files right and wrong."""

from __future__ import annotations

import struct
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeyolo.errors import FileRefusedError, UntrustedFileError
from edgeyolo.models.checkpoint import Limits, open_checkpoint

Entries = Sequence[tuple[str | zipfile.ZipInfo, bytes]]


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    size = max(1, (value.bit_length() + 8) // 8)
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def name(dotted: str) -> bytes:
    module, _, attribute = dotted.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def many(*values: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def call(dotted: str, *arguments: bytes) -> bytes:
    return name(dotted) + many(*arguments) + b"R"


def stream(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def mapping(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def storage(key: str = "0", kind: str = "FloatStorage", device: str = "cpu", numel: int = 4) -> bytes:
    return many(text("storage"), name(f"torch.{kind}"), text(key), text(device), integer(numel)) + b"Q"


def tensor(offset: int, shape: Sequence[int], strides: Sequence[int], data: bytes | None = None) -> bytes:
    hooks = call("collections.OrderedDict")
    sizes = [many(*map(integer, values)) for values in (shape, strides)]
    return call("torch._utils._rebuild_tensor_v2", data or storage(), integer(offset), *sizes, b"\x89", hooks)


def module(dotted: str, **state: bytes) -> bytes:
    parts = {"_parameters": b"}", "_buffers": b"}", "_modules": b"}"} | state
    return name(dotted) + b")\x81" + mapping(**parts) + b"b"


@pytest.fixture(scope="session")
def asm() -> SimpleNamespace:
    """The assembler: each function gives a piece of a pickle, `stream` a whole one."""
    pieces = (text, integer, name, many, call, stream, mapping, storage, tensor, module)
    return SimpleNamespace(**{piece.__name__: piece for piece in pieces})


@pytest.fixture
def forge(tmp_path: Path) -> Callable[..., Path]:
    """`forge(pickle, *entries)`: a torch archive with that data.pkl, a storage of four floats, and more."""

    def write(pickled: bytes, *entries: tuple[str | zipfile.ZipInfo, bytes], storages: bool = True) -> Path:
        path = tmp_path / "forged.pt"
        standard: list[tuple[str, bytes]] = [("archive/data.pkl", pickled), ("archive/byteorder", b"little")]
        if storages:
            standard.append(("archive/data/0", struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)))
        with zipfile.ZipFile(path, "w") as archive:
            for entry, data in (*standard, *entries):
                archive.writestr(entry, data)
        return path

    return write


@pytest.fixture
def refuse() -> Callable[..., str]:
    """`refuse(path, error, **limits)`: the message with which a file is refused, by exactly that error, quickly."""

    def attempt(path: Path, error: type[FileRefusedError] = UntrustedFileError, **limits: int) -> str:
        start = time.process_time()
        with pytest.raises(FileRefusedError) as caught, open_checkpoint(path, Limits(**limits)):
            pass
        assert time.process_time() - start < 5.0
        assert type(caught.value) is error
        assert caught.value.exit_code == 6
        assert caught.value.hint
        assert path.name in str(caught.value)
        return str(caught.value)

    return attempt
