"""The last tflite-runtime itself, in an environment of its own: it needs numpy below 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("tflite-runtime==2.14.0", "numpy<2", "opencv-python-headless", "pillow", "click", "rich")
RUN = """
import json, sys
import numpy as np
from edgeyolo.artifact.artifact import Artifact
from edgeyolo_tflite import TfliteBackend
artifact, backend = Artifact.open(sys.argv[1]), TfliteBackend()
from edgeyolo.runtime.preprocess import preprocess
golden = np.load(artifact.path / "golden.npz")
maps = backend.open(artifact, threads=2).run(preprocess([golden["image"]], artifact.manifest.input)[0])
names = artifact.manifest.output.names
apart = [np.abs(maps[n].ravel()[golden[n + ".index"]] - golden[n + ".value"]).max() for n in names]
print(json.dumps([backend.can_run().version, float(max(apart))]))
"""


@pytest.mark.slow
def test_the_artifact_runs_in_tflite_runtime(small_weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="needs the tflite extra")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("tflite-runtime 2.14 has wheels up to Python 3.11")
    from edgeyolo.export import export

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "-q", *PACKAGES], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"tflite-runtime cannot be installed here: {done.stderr[-300:]}")
    artifact = export(small_weights, "cpu-tflite-fp32", tmp_path / "made")
    path = os.pathsep.join(str(ROOT / each) for each in ("", "backends", "calib"))
    told = subprocess.run(
        [python, "-c", RUN, artifact.path],
        env=os.environ | {"PYTHONPATH": path},
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    version, apart = json.loads(told.stdout.splitlines()[-1])
    assert version == "tflite-runtime 2.14.0"
    assert apart < 1e-4
