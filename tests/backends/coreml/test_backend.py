"""Answers of the backend about itself and the machine."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.interface import Backend, ParityBackend
from edgeyolo.errors import DamagedFileError, RuntimeMissingError
from edgeyolo.export.source import NetworkSource
from edgeyolo_coreml import CoremlBackend, backend, toolkit
from edgeyolo_coreml.package import FILES


def test_asking_imports_neither_torch_nor_coremltools() -> None:
    code = """
        import sys
        from edgeyolo_coreml import CoremlBackend
        backend = CoremlBackend()
        assert backend.can_compile().ok, backend.can_compile()
        backend.can_run()
        import edgeyolo_coreml.session  # what a Mac needs to run, too
        print(*(name for name in ("torch", "coremltools", "onnx") if name in sys.modules))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_it_keeps_both_protocols_and_offers_three_targets() -> None:
    ours = CoremlBackend()
    assert isinstance(ours, Backend)
    assert isinstance(ours, ParityBackend)
    assert ours.parity_runtime == "the MIL interpreter"
    assert [str(profile.target) for profile in ours.profiles] == [
        "ane-coreml-fp16",
        "ane-coreml-int8",
        "ane-coreml-w6",
    ]
    assert all(
        profile.files == tuple(f"model.mlpackage/{name}" for name in FILES) for profile in ours.profiles
    )


def test_elsewhere_than_on_a_mac_it_says_where_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.mac_ver", lambda: ("", ("", "", ""), ""))
    found = CoremlBackend().can_run()
    assert not found.ok
    assert "Apple" in found.reason
    assert "Mac" in found.hint


def test_an_old_mac_is_told_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.mac_ver", lambda: ("11.7.10", ("", "", ""), "arm64"))
    found = CoremlBackend().can_run()
    assert (found.ok, found.reason) == (False, "ML programs need macOS 12; this is macOS 11")


def test_a_new_mac_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.mac_ver", lambda: ("14.5", ("", "", ""), "arm64"))
    found = CoremlBackend().can_run()
    assert found.ok
    assert found.version == CoremlBackend().can_compile().version != ""


@pytest.mark.parametrize("missing", ["coremltools", "torch"])
def test_a_missing_package_comes_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real = backend.find_spec
    monkeypatch.setattr(backend, "find_spec", lambda name: None if name == missing else real(name))
    found = CoremlBackend().can_compile()
    assert not found.ok
    assert missing in found.reason
    assert "[coreml]" in found.hint


def test_coremltools_without_its_native_part_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """coremltools built from source, without wheels: it imports and cannot write a package."""
    (tmp_path / "__init__.py").touch()
    bare = ModuleSpec("coremltools", None, origin=str(tmp_path / "__init__.py"))
    real = backend.find_spec
    monkeypatch.setattr(backend, "find_spec", lambda name: bare if name == "coremltools" else real(name))
    found = CoremlBackend().can_compile()
    assert not found.ok
    assert "no native part" in found.reason


def test_a_coremltools_that_does_not_load_is_a_missing_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(RuntimeMissingError, match="does not load") as caught:
        toolkit.coremltools()
    assert caught.value.exit_code == 3


def test_the_contract_says_what_the_file_takes(
    artifacts: dict[str, Artifact], small_source: NetworkSource
) -> None:
    for artifact in artifacts.values():
        contract = artifact.manifest.input
        assert (contract.layout, contract.dtype, contract.color_order) == ("NHWC", "uint8", "RGB")
        assert contract.shape() == (1, 64, 96, 3)
        assert artifact.manifest.output == small_source.output
        assert {*artifact.manifest.files} == {f"model.mlpackage/{name}" for name in FILES}


@pytest.mark.slow
def test_compiling_again_is_silent_and_gives_the_same_bytes(
    artifacts: dict[str, Artifact],
    small_source: NetworkSource,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    CoremlBackend().compile(small_source, artifacts["w6"].manifest.target, tmp_path)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    for name in artifacts["w6"].manifest.files:
        assert (tmp_path / name).read_bytes() == (artifacts["w6"].path / name).read_bytes(), name


def test_an_artifact_without_a_package_is_refused(artifacts: dict[str, Artifact], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    foreign = Artifact.seal(tmp_path, artifacts["fp16"].manifest)
    for opener in (CoremlBackend().open, CoremlBackend().open_for_parity):
        with pytest.raises(DamagedFileError, match=r"lists no model\.mlpackage"):
            opener(foreign)


def test_pictures_are_not_flat(pictures: np.ndarray) -> None:
    """Parity on a grey picture would prove nothing."""
    assert pictures.dtype == np.uint8
    assert all(each.std() > 20 for each in pictures)
