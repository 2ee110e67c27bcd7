"""Manifests with any byte and any value: refused with a sentence, before anything is allocated."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeyolo import Detector
from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.artifact.manifest import Manifest, content_hash
from edgeyolo.errors import DamagedFileError, EdgeYoloError

HUGE = 10**400
VALUES: list[tuple[tuple[str | int, ...], Any]] = [
    (("input", "height"), 0), (("input", "height"), -64), (("input", "height"), 65), (("input", "height"), HUGE),
    (("input", "width"), 1 << 40), (("input", "batch"), 0), (("input", "batch"), -1), (("input", "batch"), 10**9),
    (("input", "name"), ""), (("input", "name"), "a\x1b[31m"), (("input", "layout"), "NWHC"), (("input", "dtype"), "O"),
    (("input", "dtype"), "int8"), (("input", "color_order"), "GRB"), (("input", "scale"), 0), (("input", "scale"), -1),
    (("input", "scale"), HUGE), (("input", "pad_value"), 256), (("input", "quantization"), {"scale": 0.0}),
    (("backend",), []), (("class_names",), None), (("class_names",), [1, 2, 3]), (("files",), []),
    (("files",), {"../x": "0" * 64}), (("files",), {"/etc/passwd": "0" * 64}), (("files",), {"model.onnx": 1}),
    (("files",), {"model.onnx": "zz"}), (("files",), {"a\0b": "0" * 64}), (("files",), {"x" * 5000: "0" * 64}),
    (("target",), "cpu"), (("target",), 7), (("target",), ["cpu-onnx-fp32"]), (("schema",), {}), (("spec",), []),
    (("output", "strides"), [0, 16, 32]), (("output", "strides"), [8, 16]), (("output", "strides"), [8, 16, -32]),
    (("output", "strides"), [8, 16, HUGE]), (("output", "kind"), []), (("output", "kind"), {}),
    (("output", "kind"), "detections"), (("output", "classes"), 0), (("output", "classes"), 2),
    (("output", "names"), ["p3", "p3", "p5"]), (("output", "names"), []), (("output", "anchors"), [[], [], []]),
    (("output", "anchors"), [[[1, 2]], [[1, 2], [3, 4]], [[1, 2]]]), (("output", "anchors", 0, 0, 0), 0),
    (("output", "anchors", 0, 0, 0), -5.0), (("output", "layout"), None), (("output", "dtype"), "int8"),
    (("parity",), []), (("parity", "deviation"), {}), (("parity", "tolerance"), -1), (("parity", "tolerance"), "a"),
    (("accuracy",), {"lost": 1}), (("tools",), {"onnx": 1}), (("provenance",), "x"), (("gflops",), "x"),
    (("calibration",), []), (("unjudged",), 1), (("sha256",), "0" * 64), (("sha256",), 3),
]  # fmt: skip


@pytest.fixture
def copied(small_artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_artifact, tmp_path / "artifact"))


@pytest.fixture
def changed(copied: Path) -> Callable[..., Path]:
    """The small artifact with one value of its manifest changed and, unless told otherwise, without its hash."""

    def change(path: tuple[str | int, ...], value: Any, *, hashed: bool = False) -> Path:
        data = json.loads((copied / MANIFEST).read_bytes())
        if not hashed:
            del data["sha256"]
        place = data
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        (copied / MANIFEST).write_text(json.dumps(data), encoding="utf-8")
        return copied

    return change


@pytest.mark.parametrize(
    ("path", "value"), VALUES, ids=[f"{'.'.join(map(str, p))}-{i}" for i, (p, _) in enumerate(VALUES)]
)
def test_a_value_that_cannot_be_is_refused(
    changed: Callable[..., Path], path: tuple[str | int, ...], value: Any
) -> None:
    with pytest.raises(DamagedFileError):
        Detector(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("class_names",), ["bird", "dog", "cat"]),
        (("output", "strides"), [32, 16, 8]),
        (("input", "color_order"), "BGR"),
    ],
)
def test_a_value_that_could_be_is_refused_by_the_hash(
    changed: Callable[..., Path], path: Any, value: Any
) -> None:
    with pytest.raises(DamagedFileError, match="changed after it was sealed"):
        Artifact.open(changed(path, value, hashed=True))
    Artifact.open(changed(path, value))  # as before there was a hash; `verify` says so


def test_the_hash_is_of_everything_else(copied: Path) -> None:
    data = json.loads((copied / MANIFEST).read_bytes())
    assert data["sha256"] == content_hash(data) == Artifact.open(copied).manifest.sha256
    assert content_hash(data | {"gflops": 1.0}) != data["sha256"]


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\xff", b"null", b"[]", b"{", b"[" * 100_000, b'{"schema": NaN}', b'{"a": 1, "a": 2}',
        b'{"schema": "\\ud800"}', b"1" * 10_000, b'{"schema": "edgeyolo-artifact/1", "\\ud800": 1}',
    ],
)  # fmt: skip
def test_text_that_is_no_manifest(copied: Path, text: bytes) -> None:
    (copied / MANIFEST).write_bytes(text)
    with pytest.raises(DamagedFileError):
        Artifact.open(copied)


def test_a_manifest_of_a_gigabyte_is_not_read(copied: Path) -> None:
    with (copied / MANIFEST).open("r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(DamagedFileError, match="no manifest is"):
        Artifact.open(copied)


def test_any_flipped_bit_is_refused_or_changes_nothing(copied: Path) -> None:
    whole = (copied / MANIFEST).read_bytes()
    expected = Manifest.from_json(whole)
    rng = random.Random(0)
    for _ in range(600):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            assert Manifest.from_json(bytes(data)) == expected
        except DamagedFileError:
            continue


def test_any_damage_to_the_golden_vectors_is_refused(copied: Path) -> None:
    from edgeyolo.runtime.golden import read_golden

    manifest = Artifact.open(copied).manifest
    path = copied / "golden.npz"
    whole = path.read_bytes()
    rng = random.Random(1)
    for _ in range(300):
        data = bytearray(whole)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.randrange(1, 4)):
            if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            read_golden(path, manifest.input, manifest.output)
        except EdgeYoloError as error:
            assert error.exit_code == 6


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image", np.zeros((4, 4), np.uint8)), ("image", np.zeros((0, 4, 3), np.uint8)), ("image", None),
        ("input", np.zeros((8, 8, 3), np.uint8)), ("p3.index", np.array([10**9])), ("p3.index", np.array([-1])),
        ("p3.value", np.array([np.nan])), ("p3.value", np.array(["a"])), ("weak.class_id", np.array([9])),
        ("weak.xyxy", np.zeros((3, 5), np.float32)), ("p3.value", np.array([{}], dtype=object)),
    ],
)  # fmt: skip
def test_golden_values_that_cannot_be(copied: Path, name: str, value: Any) -> None:
    from edgeyolo.runtime.golden import read_golden

    manifest = Artifact.open(copied).manifest
    with np.load(copied / "golden.npz") as golden:
        arrays = dict(golden)
    arrays = {key: array for key, array in (arrays | {name: value}).items() if array is not None}
    np.savez(copied / "golden.npz", **arrays)
    with pytest.raises(DamagedFileError):
        read_golden(copied / "golden.npz", manifest.input, manifest.output)


def test_a_header_that_promises_terabytes_allocates_nothing(tmp_path: Path) -> None:
    import zipfile

    from edgeyolo.runtime.golden_file import read_arrays

    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999999,), }".ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "golden.npz", "w") as archive:
        archive.writestr("image.npy", data)
    with pytest.raises(DamagedFileError):
        read_arrays(tmp_path / "golden.npz")
