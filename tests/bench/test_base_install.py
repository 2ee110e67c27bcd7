"""A device that is measured needs the base install only: no torch, no matplotlib, no YAML."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import edgeyolo_bench

ROOT = Path(__file__).parents[2]
# Needs torch, and is imported only where networks are built.
EXTRAS = {"edgeyolo_bench.measure.random_weights"}


@pytest.fixture(scope="module")
def base() -> ModuleType:
    """tests/test_base_install.py, which keeps everything else from being imported."""
    spec = importlib.util.spec_from_file_location("base_install", ROOT / "tests/test_base_install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_module_imports_in_the_base_install(base: ModuleType) -> None:
    root = Path(edgeyolo_bench.__file__).parent
    names = sorted(
        ".".join(("edgeyolo_bench", *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        for path in root.rglob("*.py")
    )
    names = [name for name in names if name not in EXTRAS]
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\nprint('all imported')"
    assert len(names) > 20
    assert base.in_base_install(code, *names).stdout.strip() == "all imported"


# find_spec says None for what is not installed; the blocker raises, as an import would.
LOOKED_UP = """
import importlib.util
_find_spec = importlib.util.find_spec

def find_spec(name, package=None):
    try:
        return _find_spec(name, package)
    except ModuleNotFoundError:
        return None

importlib.util.find_spec = find_spec
"""


@pytest.mark.slow
def test_an_artifact_is_measured_in_the_base_install(
    base: ModuleType, small_artifact: Path, tmp_path: Path
) -> None:
    """The blocker is a sitecustomize, so that it holds in the measuring processes too."""
    (tmp_path / "sitecustomize.py").write_text(base.BLOCKER + LOOKED_UP)
    arguments = [
        "bench",
        str(small_artifact),
        "--scenario",
        "paper",
        "--min-duration",
        "0.05",
        "--min-count",
        "40",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "from edgeyolo.cli import main; main()", *arguments, "--json"],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["measurements"][0]["artifact"]["parameters"] > 1000
    assert set(report["devices"][0]["runtimes"]) == {"onnxruntime"}  # the blocker was there
    limits = report["limits"][0]  # the physics check too: numpy and ONNX Runtime tell what the machine can
    assert {found["by"] for found in limits["peaks"]["gemm"]["fp32"]} == {"numpy", "onnxruntime"}
    stages = {stage["name"]: stage for stage in report["measurements"][0]["stages"]}
    p50 = next(item for item in stages["inference"]["quantiles"] if item["q"] == 0.5)
    # 40 queries are too few for a p50 where the machine is busy; then there is nothing to place.
    assert len(limits["placements"]) == p50["reportable"]
    for milliseconds, verdict in (("1e6", "possible"), ("1e-9", "impossible")):
        done = base.in_base_install(PLACED, str(small_artifact), json.dumps(limits["peaks"]), milliseconds)
        found, layers = done.stdout.split()
        assert found == verdict and int(layers) > 40


# A latency of an artifact, placed under the limits without torch.
PLACED = """
import json, sys
from edgeyolo.artifact.artifact import Artifact
from edgeyolo.support.dataclass_json import from_plain
from edgeyolo_bench.limits.peaks import Peaks
from edgeyolo_bench.limits.roofline import place
manifest = Artifact.open(sys.argv[1]).manifest
peaks = from_plain(Peaks, json.loads(sys.argv[2]), "peaks")
found = place(manifest, peaks, device="here", label="small", latency_ms=float(sys.argv[3]))
print(found.verdict, len(found.layers))
"""


@pytest.mark.slow
def test_the_wheel_holds_the_harness_and_nothing_else_of_benchmarks(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {"edgeyolo", "edgeyolo_bench", "edgeyolo_calib", "edgeyolo_onnxruntime"} <= tops
    assert not tops & {"benchmarks", "backends", "calib", "docs", "examples", "tests", "results", "weights"}
    for name in ("py.typed", "values/report.schema.json", "paper/paper_tables.csv", "remote/launcher.py"):
        assert f"edgeyolo_bench/{name}" in names
    documents = {"edgeyolo/detector/builtin/MODEL_CARD.md"}  # of the package itself
    assert {name for name in names if name.endswith((".safetensors", ".md"))} == documents
