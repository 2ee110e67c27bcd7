"""`edgetpu_compiler`, where there is one: its file is kept, its words are passed on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeyolo.errors import UnsupportedTargetError
from edgeyolo_tflite.compiler import compile_for_edge_tpu

# What the program is called with, prints and writes (compiler 16.0); `{result}` is its file, or nothing.
PROGRAM = """#!{python}
import pathlib, sys
print("Edge TPU Compiler version 16.0.384591198")
if sys.argv[1:] == ["--version"]:
    sys.exit()
flag, option, folder, model = sys.argv[1:]
assert (flag, option) == ("--show_operations", "--out_dir")
assert pathlib.Path(model).read_bytes() == b"integers"
stem = pathlib.Path(folder) / pathlib.Path(model).stem
{result}
"""
COMPILES = """
print("Model compiled successfully in 812 ms.")
stem.with_name(stem.name + "_edgetpu.tflite").write_bytes(b"... edgetpu-custom-op ...")
stem.with_name(stem.name + "_edgetpu.log").write_text("CONV_2D 58 Mapped to Edge TPU")
"""
MAPS_NOTHING = COMPILES.replace("edgetpu-custom-op", "CONV_2D")
ABORTS = 'print("Internal compiler error. Aborting! "); sys.exit(1)'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "artifact" / "model.tflite"
    path.parent.mkdir()
    path.write_bytes(b"integers")
    return path


def install(folder: Path, result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "edgetpu_compiler"
    program.write_text(PROGRAM.format(python=sys.executable, result=result))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_its_file_lies_beside_the_model(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, COMPILES, monkeypatch)
    assert compile_for_edge_tpu(model) == "16.0.384591198"
    assert sorted(path.name for path in model.parent.iterdir()) == ["model.tflite", "model_edgetpu.tflite"]


def test_nothing_happens_without_it(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compile_for_edge_tpu(model) is None
    assert [path.name for path in model.parent.iterdir()] == ["model.tflite"]


@pytest.mark.parametrize(("result", "words"), [(ABORTS, "Internal compiler error"), (MAPS_NOTHING, "812 ms")])
def test_its_words_are_passed_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str, words: str
) -> None:
    install(tmp_path, result, monkeypatch)
    with pytest.raises(UnsupportedTargetError, match=words) as caught:
        compile_for_edge_tpu(model)
    assert "--imgsz" in caught.value.hint
