"""Artifacts: sealed, verified on opening, refused with a reason."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.artifact.manifest import Manifest, Parity, content_hash
from edgeyolo.artifact.schema import ARTIFACT, artifact_schema
from edgeyolo.artifact.target import Target
from edgeyolo.errors import DamagedFileError, UsageError

ANCHORS = (((10.0, 13.0), (16.0, 30.0)), ((30.0, 61.0), (62.0, 45.0)))
MANIFEST_VALUE = Manifest(
    target=Target("cpu", "onnx", "fp32"),
    backend="onnxruntime",
    model="small",
    spec={"name": "small"},
    class_names=("cat", "dög"),
    input=InputContract(64, 96),
    output=RawMaps(("p3", "p4"), (8, 16), ANCHORS, 2),
    files={},
    parity=Parity(1e-4, {"p3": 2e-6, "p4": 1e-6}, "3 generated pictures"),
    tools={"onnx": "1"},
    provenance={"sha256": "00"},
)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "sub" / "more.bin").write_bytes(b"more weights")
    Artifact.seal(folder, MANIFEST_VALUE)
    return folder


def edit(folder: Path, **changes: object) -> None:
    data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    data.update(changes)
    (folder / MANIFEST).write_text(
        json.dumps({k: v for k, v in data.items() if v != "gone"}), encoding="utf-8"
    )


def test_sealed_artifact_opens_unchanged(sealed: Path) -> None:
    artifact = Artifact.open(sealed)
    assert set(artifact.manifest.files) == {"model.bin", "sub/more.bin"}
    assert replace(artifact.manifest, files={}) == MANIFEST_VALUE
    assert artifact.size == len(b"weights") + len(b"more weights")
    assert artifact.file("model.bin") == sealed / "model.bin"


def test_equal_artifacts_have_equal_hashes_and_others_do_not(sealed: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(sealed, tmp_path / "twin"))
    assert Artifact.open(twin).sha256 == Artifact.open(sealed).sha256
    (twin / "model.bin").write_bytes(b"other")
    (twin / MANIFEST).unlink()
    assert Artifact.seal(twin, MANIFEST_VALUE).sha256 != Artifact.open(sealed).sha256


def test_an_artifact_keeps_its_hash_where_later_versions_know_more_fields(sealed: Path) -> None:
    file = sealed / MANIFEST
    data = json.loads(file.read_text(encoding="utf-8"))
    del data["chip"], data["unjudged"]  # as sealed by a version that knew neither
    data["sha256"] = content_hash(data)
    file.write_text(json.dumps(data), encoding="utf-8")
    assert Artifact.open(sealed).sha256 == data["sha256"]


def without_descriptions(schema: object) -> object:
    """Words may be polished before they are published again; what the schema demands may not differ."""
    if isinstance(schema, dict):
        return {
            name: without_descriptions(item)
            for name, item in schema.items()
            if not isinstance(item, str) or name != "description"
        }
    return [without_descriptions(item) for item in schema] if isinstance(schema, list) else schema


def test_the_published_schema_is_that_of_the_code() -> None:
    published = json.loads(ARTIFACT.read_text(encoding="utf-8"))
    assert without_descriptions(published) == without_descriptions(artifact_schema()), (
        "write it again: python -m edgeyolo.artifact.schema"
    )


def test_sealed_manifest_keeps_the_published_schema(sealed: Path) -> None:
    schema = json.loads(ARTIFACT.read_text(encoding="utf-8"))
    data = json.loads((sealed / MANIFEST).read_text(encoding="utf-8"))
    jsonschema.validate(data, schema)
    for wrong in (
        {"target": "cpu"},
        {"schema": "edgeyolo-artifact/2"},
        {"files": {"model.bin": "short"}},
        {"input": data["input"] | {"height": "64"}},
        {"output": data["output"] | {"kind": "segments"}},
        {"surprise": 1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data | wrong, schema)


def test_a_changed_byte(sealed: Path) -> None:
    (sealed / "model.bin").write_bytes(b"weightz")
    with pytest.raises(DamagedFileError, match=r"model\.bin was changed") as caught:
        Artifact.open(sealed)
    assert caught.value.exit_code == 6


def test_a_missing_file(sealed: Path) -> None:
    (sealed / "sub" / "more.bin").unlink()
    with pytest.raises(DamagedFileError, match=r"sub/more\.bin is missing"):
        Artifact.open(sealed)


def test_a_file_too_many(sealed: Path) -> None:
    (sealed / "notes.txt").write_text("hello")
    with pytest.raises(DamagedFileError, match=r"notes\.txt"):
        Artifact.open(sealed)


def test_a_file_outside(sealed: Path) -> None:
    edit(sealed, files={"../outside": "0" * 64})
    with pytest.raises(DamagedFileError, match="outside the artifact"):
        Artifact.open(sealed)


def test_another_schema(sealed: Path) -> None:
    edit(sealed, schema="edgeyolo-artifact/99")
    with pytest.raises(DamagedFileError, match="edgeyolo-artifact/99"):
        Artifact.open(sealed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": "gone"}, r"missing fields \['input'\]"),
        ({"surprise": 1}, r"unknown fields \['surprise'\]"),
        ({"class_names": ["one"]}, "1 class names for 2 classes"),
        ({"input": {"height": 64}}, "width"),
        ({"output": []}, "expected an object"),
        (
            {"parity": {"tolerance": "low", "deviation": {}, "images": ""}},
            r"parity\.tolerance: expected a number",
        ),
        ({"output": {"kind": "segments"}}, "kind 'segments'"),
    ],
)
def test_a_manifest_that_does_not_fit(sealed: Path, changes: dict[str, object], message: str) -> None:
    edit(sealed, **changes)
    with pytest.raises(DamagedFileError, match=message):
        Artifact.open(sealed)


def test_a_manifest_that_is_not_json(sealed: Path) -> None:
    (sealed / MANIFEST).write_text('{"schema": ')
    with pytest.raises(DamagedFileError, match="not JSON"):
        Artifact.open(sealed)


@pytest.mark.parametrize("path", ["absent", "."])
def test_no_artifact_at_all(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="expected the directory of an exported artifact"):
        Artifact.open(tmp_path / path)


def test_target_names() -> None:
    assert str(Target.parse(" CPU-onnx-FP32 ")) == "cpu-onnx-fp32"
    for wrong in ("", "cpu", "cpu-onnx", "cpu--fp32", "a-b-c-d"):
        with pytest.raises(UsageError, match="device-runtime-precision"):
            Target.parse(wrong)
