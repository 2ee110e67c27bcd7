"""Sizes from headers: quickly as stored, and upright."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgeyolo.datasets.image_size import read_image_size, read_stored_size


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {}),
        ("a.jpg", {"progressive": True}),
        ("a.jpg", {"subsampling": 2, "restart_marker_blocks": 1}),
        ("a.jpg", {"icc_profile": bytes(200_000), "comment": b"\xff\xc0" * 400}),
        ("a.png", {}),
        ("a.png", {"icc_profile": bytes(70_000)}),
    ],
)
def test_the_stored_size_is_read(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    Image.new("RGB", (123, 45)).save(tmp_path / name, **options)
    assert read_stored_size(tmp_path / name) == (123, 45)


def test_an_image_on_its_side_is_stored_so(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (123, 45)).save(tmp_path / "a.jpg", exif=exif)
    assert read_stored_size(tmp_path / "a.jpg") == (123, 45)
    assert read_image_size(tmp_path / "a.jpg") == (45, 123)


def test_what_is_not_told_quickly_is_not_guessed(tmp_path: Path) -> None:
    Image.new("RGB", (123, 45)).save(tmp_path / "a.webp")
    Image.new("RGB", (123, 45)).save(tmp_path / "a.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:30])
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("a.webp", "cut.jpg", "empty.jpg", "pipe.jpg", "nothing.jpg", "."):
        assert read_stored_size(tmp_path / name) is None
