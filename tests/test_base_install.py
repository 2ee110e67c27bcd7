"""The base install holds no torch: a robot that detects must not install it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

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

class Bare:
    'A finder that finds nothing beyond the base install, as where nothing else is installed.'

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        root = name.split(".")[0]
        known = root in allowed or root.startswith("edgeyolo")
        return self.finder.find_spec(name, path, target) if known else None

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Bare(finder) for finder in sys.meta_path]
"""


def in_base_install(
    code: str, *arguments: str, check: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    program = BLOCKER + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=check,
        **{"env": os.environ | {"EDGEYOLO_DEBUG": "1"}} | options,
    )


COMMAND = "from edgeyolo.cli import main; main()"


def test_blocker_is_strict() -> None:
    done = in_base_install("import numpy, cv2, onnxruntime, PIL\nimport torch", check=False)
    assert "No module named 'torch'" in done.stderr


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


def test_tracking_says_what_it_needs_before_a_frame_is_read() -> None:
    done = in_base_install("from edgeyolo import Tracker\nTracker()", check=False)
    assert "RuntimeMissingError: tracking needs the package scipy" in done.stderr


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


HELP = """
    import contextlib, io, sys
    from edgeyolo.cli import cli
    for name in cli.list_commands(None):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            cli.main([name, "--help"], standalone_mode=False)
        assert f"Usage: edgeyolo {name}" in printed.getvalue().replace("-c", "edgeyolo"), name
        print(name)
"""


def test_every_command_has_help_in_the_base_install() -> None:
    from edgeyolo.cli import cli

    assert in_base_install(HELP).stdout.split() == cli.list_commands(None)  # type: ignore[arg-type]


# What each command is first asked, its exit code, and what the last line says to type.
FIRST = {
    "models": ("", 0, ""),
    "targets": ("", 0, ""),
    "doctor": ("", 0, ""),
    "train": ("yolov7-tiny --data data.yaml", 3, "[train]"),
    "ablate": ("--table 3 --data data.yaml", 3, "[train]"),
    "import": ("weights.pt", 3, "[export]"),
    "check": ("yolov7-tiny --target cpu-onnx-fp32", 3, "[export]"),
    "export": ("weights.pt --target cpu-onnx-fp32", 3, "[export]"),
    "calibrate": ("weights.pt --calib photos", 3, "[export]"),
    "bench": ("weights.pt", 3, "[export]"),
    "val": ("weights.pt --data data.json", 3, "[export]"),
    "detect": ("weights.pt photos", 3, "[export]"),
    "adopt": ("weights.pt", 2, ""),
    "verify": ("photos", 2, ""),
    "track": ("photos", 3, "video"),
    "serve": ("nothing", 3, "[serve]"),
    "predict": ("builtin photos -o out.parquet", 3, "[predict]"),
    "recipe": ("photos --for triton -o out", 2, ""),
    "build": ("photos", 2, ""),
}


def test_every_command_is_tried() -> None:
    from edgeyolo.cli import cli

    assert set(FIRST) == set(cli.list_commands(None))  # type: ignore[arg-type]


@pytest.mark.parametrize("command", FIRST)
def test_the_first_error_in_the_base_install_says_what_to_type(command: str, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    arguments, code, extra = FIRST[command]
    (tmp_path / "weights.pt").write_bytes(b"PK")
    (tmp_path / "data.yaml").write_text("names: [a]\ntrain: photos\nval: photos\n")
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), np.full((20, 30, 3), 90, np.uint8))
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
    coco = {"images": [{"id": 1, "file_name": "photos/a.png", "width": 30, "height": 20}], "annotations": [box],
            "categories": [{"id": 1, "name": "a"}]}  # fmt: skip
    (tmp_path / "data.json").write_text(json.dumps(coco))
    env = {**os.environ, "EDGEYOLO_CACHE": str(tmp_path / "cache")}
    env.pop("EDGEYOLO_DEBUG", None)
    done = in_base_install(COMMAND, command, *arguments.split(), check=False, env=env, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr
    if code == 3:
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("pip install ")
        assert extra in last
