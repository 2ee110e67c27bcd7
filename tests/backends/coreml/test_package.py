"""The .mlpackage directory: as Apple's tools read it, the same bytes each time, refused when it is something else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.errors import DamagedFileError
from edgeyolo_coreml.package import FILES, read


def test_coremltools_itself_reads_what_was_written(artifacts: dict[str, Artifact]) -> None:
    import coremltools as ct

    for artifact in artifacts.values():
        package = artifact.path / "model.mlpackage"
        model = ct.models.MLModel(str(package), skip_model_load=True)
        assert Path(model.weights_dir).resolve() == (package / "Data/com.apple.CoreML/weights").resolve()
        assert [item.name for item in model.get_spec().description.output] == ["p3", "p4", "p5"]


def test_the_interface_is_an_image_in_and_float32_maps_out(artifacts: dict[str, Artifact]) -> None:
    spec, _ = read(artifacts["fp16"].path / "model.mlpackage")
    (image,) = spec.description.input
    assert (image.name, image.type.WhichOneof("Type")) == ("images", "imageType")
    assert (image.type.imageType.height, image.type.imageType.width) == (64, 96)
    assert image.type.imageType.colorSpace == image.type.imageType.RGB
    for item in spec.description.output:
        assert item.type.multiArrayType.dataType == item.type.multiArrayType.FLOAT32
    assert spec.specificationVersion == 6, "iOS 15"
    assert read(artifacts["w6"].path / "model.mlpackage")[0].specificationVersion == 7, "iOS 16"


def test_the_file_explains_itself(artifacts: dict[str, Artifact]) -> None:
    spec, _ = read(artifacts["int8"].path / "model.mlpackage")
    told = spec.description.metadata.userDefined
    assert json.loads(told["class_names"]) == ["cat", "dog", "bird"]
    assert json.loads(told["strides"]) == [8, 16, 32]
    assert len(json.loads(told["anchors"])) == 3
    assert "8-bit RGB image" in told["input"]
    assert "before the sigmoid" in told["output"]
    assert "96x64" in spec.description.input[0].shortDescription
    assert "stride 16" in spec.description.output[1].shortDescription


def test_nothing_in_it_differs_from_run_to_run(artifacts: dict[str, Artifact]) -> None:
    package = artifacts["fp16"].path / "model.mlpackage"
    spec, _ = read(package)
    assert not [key for key in spec.description.metadata.userDefined if "date" in key]
    manifest = json.loads((package / "Manifest.json").read_text())
    assert manifest["rootModelIdentifier"] in manifest["itemInfoEntries"]
    assert {item["path"] for item in manifest["itemInfoEntries"].values()} == {
        "com.apple.CoreML/model.mlmodel",
        "com.apple.CoreML/weights",
    }
    assert (package / FILES[1]).stat().st_mode & 0o777 == 0o644


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(
    artifacts: dict[str, Artifact], small_weights: Path, tmp_path: Path
) -> None:
    code = """
        import sys
        from pathlib import Path
        from edgeyolo.artifact.contracts import InputContract, RawMaps
        from edgeyolo.export.source import NetworkSource
        from edgeyolo.models.importer import import_checkpoint
        from edgeyolo.models.reparameterize import reparameterize
        from edgeyolo.artifact.target import Target
        from edgeyolo_coreml import CoremlBackend
        loaded = import_checkpoint(sys.argv[1])
        network = reparameterize(loaded.network).network
        spec = network.spec
        output = RawMaps(("p3", "p4", "p5"), spec.strides, spec.anchors, 3)
        source = NetworkSource(network, InputContract(64, 96), output, loaded.class_names, Path(sys.argv[2]))
        CoremlBackend().compile(source, Target("ane", "coreml", "w6"), Path(sys.argv[2]))
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(small_weights), str(tmp_path)],
        env=os.environ | {"PYTHONHASHSEED": "123", "TZ": "Asia/Tokyo"},
        check=True,
        capture_output=True,
    )
    for name in artifacts["w6"].manifest.files:
        assert (tmp_path / name).read_bytes() == (artifacts["w6"].path / name).read_bytes(), name


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["rubbish", "empty", "missing", "half"])
def test_a_package_that_is_none_is_refused(
    artifacts: dict[str, Artifact], tmp_path: Path, name: str, damage: str
) -> None:
    package = Path(shutil.copytree(artifacts["w6"].path / "model.mlpackage", tmp_path / "model.mlpackage"))
    content = (package / name).read_bytes()
    if damage == "missing":
        (package / name).unlink()
    else:
        (package / name).write_bytes(
            {"rubbish": b"this is not a network " * 50, "empty": b"", "half": content[: len(content) // 2]}[
                damage
            ]
        )
    with pytest.raises(DamagedFileError, match="expected a Core ML package") as caught:
        read(package)
    assert str(package) in str(caught.value)


def test_a_manifest_that_names_another_file_is_refused(
    artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    package = Path(shutil.copytree(artifacts["fp16"].path / "model.mlpackage", tmp_path / "model.mlpackage"))
    text = (package / "Manifest.json").read_text()
    (package / "Manifest.json").write_text(text.replace("CoreML/model.mlmodel", "CoreML/../../../passwd"))
    with pytest.raises(DamagedFileError, match="names"):
        read(package)
