"""The package as Python users meet it: its public names, and `python -m edgeyolo`."""

from __future__ import annotations

import subprocess
import sys

import edgeyolo


def test_dir_lists_what_is_loaded_when_first_used() -> None:
    assert set(edgeyolo.__all__) <= set(dir(edgeyolo))
    assert "Detector" in dir(edgeyolo)
    assert all(getattr(edgeyolo, name) is not None for name in edgeyolo.__all__)


def test_dir_loads_nothing() -> None:
    code = "import edgeyolo, sys; dir(edgeyolo); print('edgeyolo.detector' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_python_m_edgeyolo_is_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeyolo", "--version"], capture_output=True, text=True, check=True
    )
    assert edgeyolo.__version__ in done.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", "edgeyolo", "export", "a", "--target", "toaster", "-o", "b"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
