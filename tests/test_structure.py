"""The plan of the code: no circles of files, the names at the root, and a Detector that loads what it runs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE_ROOTS = (ROOT, ROOT / "backends", ROOT / "calib", ROOT / "benchmarks")
WINGS = {
    "artifact", "backend", "cli", "datasets", "detector", "evaluation", "export", "models", "predict", "recipe",
    "runtime", "serve", "stream", "support", "tracking", "training",
}  # fmt: skip
FILES = {"__init__.py", "__main__.py", "errors.py", "py.typed", "version.py"}


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for root in SOURCE_ROOTS:
        for package in sorted(root.glob("edgeyolo*")):
            for file in package.rglob("*.py"):
                name = ".".join(file.relative_to(root).with_suffix("").parts)
                found[name.removesuffix(".__init__")] = file
    return found


def imports(text: str, known: dict[str, Path]) -> Iterator[str]:
    """The known modules that a file imports: at its top, in functions and for types only."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                yield from [name for name in (deeper, str(node.module)) if name in known][:1]


def circles(graph: dict[str, set[str]]) -> list[str]:
    """One path through each circle: depth first, a module that is still open closes one."""
    done: set[str] = set()
    found = []

    def walk(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for other in sorted(graph[name]):
                walk(other, (*path, name))
            done.add(name)

    for name in sorted(graph):
        walk(name, ())
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a -> b -> c -> a"]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    known = {"edgeyolo.a": Path(), "edgeyolo.b": Path()}
    hidden = "if TYPE_CHECKING:\n    from edgeyolo.a import A\ndef f():\n    from edgeyolo import b\n"
    assert list(imports(hidden, known)) == ["edgeyolo.a", "edgeyolo.b"]


def test_no_circle_of_files() -> None:
    known = modules()
    assert len(known) > 300
    graph = {name: set(imports(file.read_text(), known)) - {name} for name, file in known.items()}
    assert circles(graph) == []


def test_the_suite_for_backends_is_imported_by_tests_only() -> None:
    """It stands in the wing of backends and uses the wings above: what imported it would turn the house round."""
    suite = "edgeyolo.backend.conformance"
    known = modules()
    assert suite in known
    assert [name for name, file in known.items() if suite in imports(file.read_text(), known)] == []


def test_the_root_of_the_core_has_its_wings_and_nothing_else() -> None:
    names = {path.name for path in (ROOT / "edgeyolo").iterdir() if path.name != "__pycache__"}
    assert names - FILES == WINGS


LOADED = """
import json, sys
import numpy as np
from edgeyolo import Detector
Detector(sys.argv[1])(np.full((40, 60, 3), 114, np.uint8))
print(json.dumps([name for name in sys.modules if name.startswith("edgeyolo")]))
"""
BUILTIN = """
import json, sys
import cv2, numpy, onnxruntime, PIL.Image
before = set(sys.modules)
from edgeyolo import Detector
Detector()
print(json.dumps(sorted(set(sys.modules) - before)))
"""
COSTLY = {"concurrent.futures", "difflib", "email", "importlib.metadata", "logging", "shutil", "socket"}
COSTLY |= {"edgeyolo.backend.profile", "edgeyolo.backend.capabilities", "edgeyolo.support.files"}


def test_starting_a_detector_loads_nothing_that_it_does_without() -> None:
    """Start-up is measured by `make bench-core`; here is what once took half of it."""
    done = subprocess.run([sys.executable, "-c", BUILTIN], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert "edgeyolo_onnxruntime.session" in loaded
    assert not COSTLY & set(loaded)


@pytest.mark.parametrize("target", ["cpu-onnx-fp32", "cpu-openvino-fp32", "cpu-tflite-fp32"])
def test_a_detector_loads_what_it_runs(target: str, small_weights: Path, tmp_path: Path) -> None:
    from edgeyolo.backend import registry
    from edgeyolo.export import export

    profile, backend = registry.find_target(target)
    registry.require(backend.can_run(), "needs its runtime")
    artifact = export(small_weights, str(profile.target), tmp_path / "artifact").path
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(artifact)], capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    own = type(backend).__module__.partition(".")[0]
    wings = {"edgeyolo.export", "edgeyolo.datasets", "edgeyolo.training", "edgeyolo.models", "edgeyolo.cli"}
    assert not [name for name in loaded if ".".join(name.split(".")[:2]) in wings]
    assert {name.partition(".")[0] for name in loaded} == {"edgeyolo", own}


def test_a_broken_backend_does_not_touch_the_artifact_of_another(
    small_artifact: Path, tmp_path: Path
) -> None:
    package = tmp_path / "broken-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[edgeyolo.backends]\nbroken = broken_backend:Backend\n")
    (tmp_path / "broken_backend.py").write_text("raise SystemExit('the broken backend was loaded')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{LOADED}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(small_artifact)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
