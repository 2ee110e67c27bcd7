"""The base install holds no torch: a robot that detects must not install it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# Lets through the standard library, edgeyolo, and what `pip install .` brings: edgeyolo's unconditional
# requirements and theirs, read from the installed metadata. Anything else is not there, as in a bare environment.
BLOCKER = """
import sys
from importlib.metadata import distribution, distributions, PackageNotFoundError
import re

def closure(name, seen):
    if name in seen:
        return seen
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return seen
    seen.add(name)
    for line in found.requires or []:
        if "extra ==" not in line:
            closure(re.match(r"[A-Za-z0-9._-]+", line)[0].lower(), seen)
    return seen

allowed = set(sys.stdlib_module_names)
for name in closure("edgeyolo", set()):
    for file in distribution(name).files or []:
        allowed.add(file.parts[0].split(".")[0])

class Blocker:
    def find_spec(self, name, path=None, target=None):
        root = name.split(".")[0]
        if root not in allowed and not root.startswith("edgeyolo"):
            raise ModuleNotFoundError(f"No module named {name!r} (not in the base install)", name=name)
        return None

sys.meta_path.insert(0, Blocker())
"""


def in_base_install(code: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    program = BLOCKER + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=check,
        env=os.environ | {"EDGEYOLO_DEBUG": "1"},
    )


def test_blocker_is_strict() -> None:
    done = in_base_install("import numpy, cv2, onnxruntime, PIL\nimport torch", check=False)
    assert "No module named 'torch' (not in the base install)" in done.stderr


@pytest.mark.parametrize("module", ["edgeyolo", "edgeyolo.cli"])
def test_import_is_light(module: str) -> None:
    code = f"import {module}, sys, json; print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    loaded = set(
        json.loads(
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        )
    )
    assert "edgeyolo" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "cv2", "numpy", "PIL", "matplotlib", "rich", "yaml"}


def test_help_loads_no_more_than_it_prints() -> None:
    code = (
        "import atexit, json, sys\n"
        "heavy = ('numpy', 'cv2', 'torch', 'onnxruntime', 'matplotlib', 'rich')\n"
        "atexit.register(lambda: print(json.dumps([name for name in heavy if name in sys.modules]), file=sys.stderr))\n"
        "sys.argv = ['edgeyolo', '--help']\nfrom edgeyolo.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == []


def test_help_needs_only_the_base_install() -> None:
    done = in_base_install(
        "import sys\nsys.argv = ['edgeyolo', '--help']\nfrom edgeyolo.cli import main\nmain()"
    )
    for command in ("import", "export", "detect", "val", "models", "targets", "doctor"):
        assert f"\n  {command} " in done.stdout


def test_every_core_module_imports_or_belongs_to_an_extra() -> None:
    """Outside the parts that build networks, nothing needs more than the base install at import time."""
    import edgeyolo

    root = Path(edgeyolo.__file__).parent
    extras = (
        "edgeyolo.models",
        "edgeyolo.training",
        "edgeyolo.export",
        "edgeyolo.backend.conformance",
        "edgeyolo.serve",
    )
    names = sorted(
        ".".join(("edgeyolo", *path.relative_to(root).with_suffix("").parts)) for path in root.rglob("*.py")
    )
    names = [name.removesuffix(".__init__") for name in names if not name.startswith(extras)]
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\nprint('all imported')"
    assert len(names) > 20
    assert in_base_install(code, *names).stdout.strip() == "all imported"


def test_detecting_in_a_photo_needs_the_base_install_only(tmp_path: Path) -> None:
    """`edgeyolo detect photo.jpg` on a fresh machine: the model that comes with the package, no network, no torch."""
    code = """
    import socket, sys
    import cv2, numpy as np
    def refuse(*arguments, **options):
        raise OSError("there is no network")
    socket.socket.connect = refuse
    cv2.imwrite(sys.argv[1], np.full((90, 120, 3), 114, np.uint8))
    sys.argv = ["edgeyolo", "detect", sys.argv[1], "--json"]
    from edgeyolo.cli import main
    main()
    """
    done = in_base_install(code, str(tmp_path / "photo.jpg"))
    assert json.loads(done.stdout) == [{"image": str(tmp_path / "photo.jpg"), "detections": []}]
