"""Zip files that are not what torch.save writes, files of other kinds, and broken ones."""

from __future__ import annotations

import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.models.checkpoint import Limits, open_checkpoint, read_tensor

Forge = Callable[..., Path]
Refuse = Callable[..., str]
NOTHING = b"\x80\x02}."


def rewrite(path: Path, change: Callable[[bytearray], None]) -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def directory_entry(data: bytearray, name: str) -> int:
    """Offset of the central directory's record of `name`: its name comes 46 bytes later."""
    return data.index(name.encode(), data.index(b"PK\x01\x02")) - 46


def test_the_forged_archive_itself_is_fine(forge: Forge) -> None:
    with open_checkpoint(forge(NOTHING)) as checkpoint:
        assert checkpoint.root == {}
        assert checkpoint.stored_bytes == 16


@pytest.mark.parametrize(
    "name",
    [
        "archive/../../etc/cron.d/job",
        "../archive/data/1",
        "/etc/passwd",
        "archive//etc/passwd",
        "archive/./data/1",
        "archive\\..\\data",
        "C:/windows/system.ini",
    ],
)
def test_paths_out_of_the_archive(name: str, forge: Forge, refuse: Refuse) -> None:
    message = refuse(forge(NOTHING, (name, b"x")))
    assert "points outside the archive" in message
    assert repr(name) in message


def test_an_entry_without_a_name(tmp_path: Path) -> None:
    """zipfile ends names at a NUL and then looks at the last character of nothing."""
    path = tmp_path / "nameless.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("Xfoo", b"x")
        file.writestr("a/data.pkl", b"\x80\x02N.")
    path.write_bytes(path.read_bytes().replace(b"Xfoo", b"\0foo"))
    with pytest.raises(DamagedFileError, match="no name"), open_checkpoint(path):
        pytest.fail("it was opened")


def test_an_entry_outside_the_folder(forge: Forge, refuse: Refuse) -> None:
    assert "'elsewhere/data/1'" in refuse(forge(NOTHING, ("elsewhere/data/1", b"x")))


def test_a_second_pickle_in_another_folder(forge: Forge, refuse: Refuse) -> None:
    assert "found 2" in refuse(forge(NOTHING, ("other/data.pkl", NOTHING)), DamagedFileError)


def test_the_same_name_twice(forge: Forge, refuse: Refuse) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Python warns about writing such a file
        path = forge(NOTHING, ("archive/data.pkl", b"\x80\x02cos\nsystem\n."))
    assert "'archive/data.pkl' is there twice" in refuse(path)


def test_a_compressed_entry_that_would_grow_a_thousandfold(forge: Forge, refuse: Refuse) -> None:
    path = forge(NOTHING)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/1", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    message = refuse(path)
    assert "'archive/data/1' is compressed" in message
    assert "50,000,000" in message


def test_a_size_that_the_file_does_not_have(forge: Forge, refuse: Refuse) -> None:
    def claim(data: bytearray) -> None:
        at = directory_entry(data, "archive/data/0")
        struct.pack_into("<II", data, at + 20, 1 << 30, 1 << 30)

    message = refuse(rewrite(forge(NOTHING), claim), DamagedFileError)
    assert "'archive/data/0' reaches beyond the end" in message


def test_two_entries_over_the_same_bytes(forge: Forge, refuse: Refuse) -> None:
    def overlap(data: bytearray) -> None:
        first, second = (directory_entry(data, f"archive/data/{key}") for key in (1, 2))
        data[second + 42 : second + 46] = data[first + 42 : first + 46]

    path = forge(NOTHING, ("archive/data/1", bytes(100)), ("archive/data/2", bytes(100)))
    assert "overlap" in refuse(rewrite(path, overlap))


def test_many_entries(forge: Forge, refuse: Refuse) -> None:
    path = forge(NOTHING, *((f"archive/data/{key}", b"") for key in range(1, 300)))
    message = refuse(path, entries=200)
    assert "302 entries" in message
    with open_checkpoint(path, Limits(entries=302)) as checkpoint:
        assert checkpoint.root == {}


@pytest.mark.parametrize("name", ["archive/data.pkl", "archive/data/0"])
def test_encrypted_entries(name: str, forge: Forge, refuse: Refuse) -> None:
    def encrypt(data: bytearray) -> None:
        data[directory_entry(data, name) + 8] |= 1

    message = refuse(rewrite(forge(NOTHING), encrypt))
    assert f"{name!r} is encrypted" in message


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices(kind: int, forge: Forge, refuse: Refuse) -> None:
    link = zipfile.ZipInfo("archive/data/1")
    link.external_attr = (kind | 0o777) << 16
    assert "'archive/data/1' is a link or a device" in refuse(forge(NOTHING, (link, b"/etc/passwd")))


def test_a_zip_without_a_pickle(tmp_path: Path, refuse: Refuse) -> None:
    path = tmp_path / "photos.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photos/1.jpg", b"x")
    assert "expected one <name>/data.pkl" in refuse(path, DamagedFileError)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9, 0.99, 0.999])
def test_truncated_files(share: float, shared: Path, tmp_path: Path, refuse: Refuse) -> None:
    whole = (shared / "data/checkpoints/yolov7-tiny-bccd-256.pt").read_bytes()
    path = tmp_path / "part.pt"
    path.write_bytes(whole[: int(len(whole) * share)])
    refuse(path, DamagedFileError)


def test_every_truncation_of_a_small_file(forge: Forge, refuse: Refuse) -> None:
    path = forge(NOTHING)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refuse(path, DamagedFileError)


def test_a_changed_byte_in_a_storage_is_noticed(asm: SimpleNamespace, forge: Forge) -> None:
    path = forge(asm.stream(asm.tensor(0, [4], [1])))

    def flip(data: bytearray) -> None:
        data[data.index(struct.pack("<f", 3.0))] ^= 1

    with open_checkpoint(rewrite(path, flip)) as checkpoint, pytest.raises(DamagedFileError, match="data/0"):
        read_tensor(checkpoint.root)


def test_a_changed_byte_in_the_pickle_is_noticed(forge: Forge, refuse: Refuse) -> None:
    message = refuse(
        rewrite(forge(NOTHING), lambda data: data.__setitem__(data.index(NOTHING), 0x81)), DamagedFileError
    )
    assert "archive/data.pkl" in message


def test_an_unknown_byte_order(tmp_path: Path, refuse: Refuse) -> None:
    path = tmp_path / "odd.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", NOTHING)
        archive.writestr("archive/byteorder", b"middle")
    assert "middle" in refuse(path, DamagedFileError)


def test_files_of_the_old_format_are_refused_unread(tmp_path: Path, refuse: Refuse) -> None:
    marker, path = tmp_path / "marker", tmp_path / "old.pt"
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    path.write_bytes(magic + b"\x80\x02M\xe9\x03." + f"cos\nsystem\n(S'echo > {marker}'\ntR.".encode())
    message = refuse(path)
    assert "old format" in message
    assert "torch.save" in message
    assert not marker.exists()


def test_a_bare_pickle_is_refused_unread(tmp_path: Path, refuse: Refuse) -> None:
    marker, path = tmp_path / "marker", tmp_path / "bare.pt"
    path.write_bytes(b"\x80\x04" + f"cos\nsystem\n(S'echo > {marker}'\ntR.".encode())
    assert "bare pickle" in refuse(path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n" + bytes(40), bytes(100)])
def test_files_of_other_kinds(content: bytes, tmp_path: Path, refuse: Refuse) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    refuse(path, DamagedFileError)


def test_a_file_above_the_limit(forge: Forge, refuse: Refuse) -> None:
    assert "at most 100 are read" in refuse(forge(NOTHING), file_bytes=100)


def test_missing_files_and_folders_are_usage_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(UsageError, match="no such file"), open_checkpoint(path):
            pass


def test_nothing_is_written(forge: Forge, tmp_path: Path) -> None:
    path = forge(NOTHING)
    before = sorted(tmp_path.iterdir())
    with open_checkpoint(path):
        assert sorted(tmp_path.iterdir()) == before
