"""Versions and entry points, read from the metadata of distributions as importlib.metadata reads them."""

from __future__ import annotations

import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from edgeyolo.support import installed

INFO = "third_party-1.2.3+cpu.dist-info"
ENTRIES = "[other]\nname = wrong:Wrong\n\n[edgeyolo.backends]\nname = package.module:Kind\n"


@pytest.mark.parametrize("name", ["numpy", "onnxruntime", "opencv-python-headless", "pytest"])
def test_versions_are_those_of_importlib(name: str) -> None:
    assert installed.version(name) == metadata.version(name)


def test_a_distribution_that_is_not_there() -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        installed.version("no-such-distribution")
    assert installed.entry_point("no-such-distribution", "group", "name") is None


@pytest.mark.parametrize("name", ["third-party", "Third.Party", "third_party"])
def test_a_folder_on_the_path(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / INFO).mkdir()
    (tmp_path / INFO / "METADATA").write_text("Name: third-party\nVersion: 1.2.3+cpu\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "absent"), str(tmp_path)])
    assert installed.entry_point(name, "edgeyolo.backends", "name") is None
    (tmp_path / INFO / "entry_points.txt").write_text(ENTRIES)
    assert installed.version(name) == metadata.version(name) == "1.2.3+cpu"
    assert installed.entry_point(name, "edgeyolo.backends", "name") == "package.module:Kind"
    assert installed.entry_point(name, "edgeyolo.backends", "other") is None
    assert installed.entry_point(name, "group", "name") is None


def test_an_archive_on_the_path_is_left_to_importlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as archive:
        archive.writestr(f"{INFO}/METADATA", "Name: third-party\nVersion: 1.2.3+cpu\n")
        archive.writestr(f"{INFO}/entry_points.txt", ENTRIES)
    monkeypatch.syspath_prepend(tmp_path / "site.zip")
    assert installed.version("third-party") == "1.2.3+cpu"
    assert installed.entry_point("third-party", "edgeyolo.backends", "name") is None
