"""Backends come through entry points, ours and third parties' alike."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgeyolo.backend import registry
from edgeyolo.backend.interface import Backend, Hint, TunableBackend
from edgeyolo.errors import UsageError

EXAMPLE = Path(__file__).parents[2] / "examples/edgeyolo-opencv"


def install(site: Path, entry_points: str) -> None:
    """Metadata of an installed package, from which entry points are read."""
    info = site / "thirdparty-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[edgeyolo.backends]\n{entry_points}\n")


def python(site: Path, code: str, *arguments: str) -> str:
    path = os.pathsep.join([str(site), str(EXAMPLE)])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_third_partys_backend_exports_and_runs(tmp_path: Path, small_weights: Path) -> None:
    install(tmp_path / "site", "opencv = edgeyolo_opencv:OpencvBackend")
    code = """
        import sys
        from edgeyolo.export import export
        from edgeyolo.runtime.verify import verify
        artifact = export(sys.argv[1], "cpu-opencv-fp32", sys.argv[2])
        print(artifact.manifest.backend, verify(artifact.path).deviation < 1e-4)
    """
    assert python(tmp_path / "site", code, str(small_weights), str(tmp_path / "out")).split() == [
        "opencv",
        "True",
    ]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("hailo = not_there:Backend", "ModuleNotFoundError: No module named 'not_there'"),
        ("hailo = json:JSONDecoder", "TypeError: json:JSONDecoder lacks a part"),
    ],
)
def test_a_broken_backend_lists_itself_with_the_reason(tmp_path: Path, entry: str, reason: str) -> None:
    install(tmp_path / "site", entry)
    code = """
        from edgeyolo.backend import registry
        print(*[f"{item.name}|{item.reason}" for item in registry.broken()], sep="\\n")
        assert "onnxruntime" in registry.backends()
    """
    printed = python(tmp_path / "site", code)
    assert printed.startswith("hailo|")
    assert reason in printed


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="cpu-onnx-fp23") as caught:
        registry.find_target("cpu-onnx-fp23")
    assert "cpu-onnx-fp32" in caught.value.hint


def test_every_target_is_offered_once() -> None:
    targets = [str(profile.target) for profile, _ in registry.profiles()]
    assert len(targets) == len(set(targets)) >= 2


def test_a_hint_is_taken_or_passed_over_by_every_backend() -> None:
    hints: tuple[Hint, ...] = ("latency", "throughput", "shared")
    taking = set()
    for backend in registry.backends().values():
        assert isinstance(backend, Backend) and registry.tuned(backend, None) is backend
        found = [registry.tuned(backend, hint) for hint in hints]
        assert all(isinstance(each, type(backend)) for each in found)
        if isinstance(backend, TunableBackend):
            taking.add(backend.name)
        else:
            assert all(each is backend for each in found)
    assert taking == {"onnxruntime", "openvino", "openvino-gpu", "openvino-npu"}
    with pytest.raises(UsageError, match="expected latency or throughput or shared"):
        registry.tuned(backend, "speed")  # type: ignore[arg-type]
