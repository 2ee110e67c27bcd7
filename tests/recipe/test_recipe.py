"""Recipes: whole folders, checks that notice, refusals that name the way out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.registry import profiles
from edgeyolo.cli import recipe_command, serve_command
from edgeyolo.errors import UnsupportedTargetError, UsageError
from edgeyolo.recipe import HOSTS, write_recipe
from edgeyolo.support.hashes import sha256

Exported = Callable[..., Artifact]


def test_the_command_knows_every_host() -> None:
    assert set(recipe_command.HOSTS) == set(HOSTS)


@pytest.mark.parametrize("host", ["triton", "frigate", "ovms", "docker", "web"])
def test_a_recipe_is_whole_and_its_check_notices(host: str, plain: Artifact, tmp_path: Path) -> None:
    folder = write_recipe(plain, host, tmp_path / "recipe")
    names = {path.name for path in folder.iterdir()}
    assert {"README.md", "check.sh", "SHA256SUMS"} <= names
    assert plain.sha256 in (folder / "README.md").read_text()
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sums and all(sha256(folder / name) == digest for name, digest in sums.items())
    assert any(name.endswith("model.onnx") for name in sums)
    model = next(folder / name for name in sums if name.endswith("model.onnx"))
    model.write_bytes(model.read_bytes() + b"\0")
    done = subprocess.run([folder / "check.sh"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "model.onnx" in done.stdout + done.stderr


def test_a_folder_appears_whole_or_not_at_all(
    plain: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("edgeyolo.recipe.triton.write_client", end)
        with pytest.raises(KeyboardInterrupt):
            write_recipe(plain, "triton", tmp_path / "recipe")
    assert list(tmp_path.iterdir()) == []
    folder = write_recipe(plain, "triton", tmp_path / "recipe")
    with pytest.raises(UsageError, match="already exists"):
        write_recipe(plain, "ovms", folder)
    write_recipe(plain, "ovms", folder, overwrite=True)
    assert (folder / "models/config.json").is_file()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep")
    with pytest.raises(UsageError, match="holds other things"):
        write_recipe(plain, "ovms", mine, overwrite=True)


TAKEN = {
    "triton": {"onnx", "openvino", "trt"},
    "deepstream": {"trt"},
    "frigate": {"onnx", "tflite"},
    "ovms": {"onnx", "openvino"},
    "trtexec": {"trt"},
    "docker": {"onnx", "openvino", "tflite", "trt"},
    "web": {"onnx"},
}


@pytest.mark.parametrize("host", HOSTS)
def test_hosts_take_the_targets_of_their_runtimes(host: str) -> None:
    targets = [profile.target for profile, _ in profiles()]
    assert {target.runtime for target in targets if HOSTS[host].takes(target)} == TAKEN[host]
    assert not any(HOSTS[host].takes(target) for target in targets if target.device in ("ncs", "ane"))


@pytest.mark.parametrize("host", ["deepstream", "trtexec"])
def test_a_target_that_a_host_cannot_take_is_refused(host: str, plain: Artifact, tmp_path: Path) -> None:
    words = [str(plain.path), "--for", host, "-o", str(tmp_path / "recipe")]
    error = CliRunner().invoke(recipe_command.command, words).exception
    assert isinstance(error, UnsupportedTargetError) and error.exit_code == 5
    assert str(plain.manifest.target) in error.message and "gpu-trt-fp16" in error.hint
    assert not (tmp_path / "recipe").exists()


def test_contracts_that_a_host_cannot_take_are_refused(exported: Exported, tmp_path: Path) -> None:
    pixels = exported("gpu-trt-fp16", graph=True, pixels=True)
    with pytest.raises(UnsupportedTargetError, match="nvinfer prepares float planes") as caught:
        write_recipe(pixels, "deepstream", tmp_path / "recipe")
    assert "--input float" in caught.value.hint
    graph = exported("cpu-onnx-fp32", graph=True, pixels=True, dynamic=True)
    with pytest.raises(UnsupportedTargetError, match="not suppressed") as caught:
        write_recipe(graph, "frigate", tmp_path / "recipe")
    assert "--nms host" in caught.value.hint
    with pytest.raises(UsageError, match="expected one of triton"):
        write_recipe(graph, "tritn", tmp_path / "recipe")


def test_ovms_serves_the_files_that_are_there(plain: Artifact, exported: Exported, tmp_path: Path) -> None:
    for number, artifact in enumerate((plain, exported("cpu-openvino-fp32", dynamic=True))):
        folder = write_recipe(artifact, "ovms", tmp_path / str(number))
        (entry,) = json.loads((folder / "models/config.json").read_text())["model_config_list"]
        model = folder / entry["config"]["base_path"].removeprefix("/")
        assert entry["config"]["name"] == (folder / "MODEL").read_text().strip() == model.name
        files = {path.name: sha256(path) for path in (model / "1").iterdir()}
        assert files and files.items() <= artifact.manifest.files.items()
        assert entry["config"]["target_device"] == "CPU"


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, continued lines joined; anything else is an error."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    found = [tuple(line.split(" ", 1)) for line in lines]
    known = {"FROM", "ARG", "RUN", "COPY", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    known |= {"EXPOSE", "HEALTHCHECK", "STOPSIGNAL"}
    assert all(len(each) == 2 and each[0] in known for each in found), lines
    return found  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("target", "package"),
    [(None, None), ("cpu-openvino-fp32", "openvino"), ("jetson-trt-fp16", "cuda-python")],
)
def test_the_image_has_the_runtime_and_no_torch(
    target: str | None, package: str | None, plain: Artifact, exported: Exported, tmp_path: Path
) -> None:
    artifact = exported(target) if target else plain
    folder = write_recipe(artifact, "docker", tmp_path / "recipe")
    if linter := shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"):
        files = [folder / "Dockerfile", folder / "Dockerfile.serve"]
        done = subprocess.run([linter, "--no-color", *files], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    server = instructions((folder / "Dockerfile.serve").read_text())
    assert any("edgeyolo[serve]==" in words for name, words in server if name == "ARG")
    (words,) = (json.loads(words) for name, words in server if name == "CMD")
    with serve_command.command.make_context("serve", words[1:]) as context:  # options that there are
        assert context.params["host"] == "0.0.0.0" and context.params["models"] == ("model=/model",)
    probe = json.loads(next(words for name, words in server if name == "HEALTHCHECK").partition("CMD ")[2])
    assert probe[0] == "python3"
    compile(probe[2], "HEALTHCHECK", "exec")
    said = instructions((folder / "Dockerfile").read_text())
    assert said[0][0] == "FROM" and ":" in said[0][1] and ":latest" not in said[0][1]
    installed = [words for name, words in said if name == "RUN" and "pip install" in words]
    assert len(installed) == 1 and "torch" not in installed[0] and "[" not in installed[0]
    assert package is None or package in installed[0]
    assert [words for name, words in said if name == "USER"] == ["1000:1000"]
    for name, words in said:
        if name == "COPY":
            assert Artifact.open(folder / words.split()[0]).sha256 == artifact.sha256
        if name in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(word, str) for word in json.loads(words))
