"""The Python 3.9 environment with OpenVINO 2021.4.

It is the last release on a package index that drives the stick.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from edgeyolo.errors import RuntimeMissingError, UsageError
from edgeyolo.support.files import atomic_directory, user_cache

REQUIREMENTS = ("openvino==2021.4.2", "numpy==1.19.5", "libusb-package==1.0.30.0")
SETUP = "`make ncs-check` or `python -m edgeyolo_openvino.ncs setup` makes it."


def find(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Find the interpreter of OpenVINO 2021.4.

    It is EDGEYOLO_NCS_PYTHON (`none`: do without), else the one that `create` made, else None.
    """
    given = environment.get("EDGEYOLO_NCS_PYTHON", "").strip()
    if given.lower() == "none":
        return None
    if given:
        if not Path(given).is_file():
            raise UsageError(
                f"EDGEYOLO_NCS_PYTHON={given}: there is no such file",
                hint="Give the interpreter of an environment with OpenVINO 2021.4, or `none`.",
            )
        return Path(given)
    python = _folder() / "bin" / "python"
    return python if python.is_file() else None


def create(python: str | None = None) -> Path:
    """Make the environment in the cache and return its interpreter.

    One that is there is kept.

    `python` is a Python 3.9, by default `python3.9` on the path or of pyenv. Raises RuntimeMissingError where there
    is none, or where pip cannot install into it.
    """
    if (kept := _folder() / "bin" / "python").is_file():
        return kept
    base = python or _python39()
    with atomic_directory(_folder()) as folder:
        _run([base, "-m", "venv", str(folder)], "make an environment")
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        _run([*pip, *REQUIREMENTS], "install OpenVINO 2021.4")
    return kept


def _folder() -> Path:
    return user_cache() / "ncs-openvino-2021.4.2"


def _python39() -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which("python3.9"), *map(str, sorted(pyenv.glob("3.9.*/bin/python"), reverse=True))]
    for candidate in filter(None, candidates):
        # A version manager's `python3.9` on the path may only say that none is chosen.
        done = subprocess.run([candidate, "-V"], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.startswith("Python 3.9."):
            return candidate
    raise RuntimeMissingError(
        "OpenVINO 2021.4 needs Python 3.9, which is not here",
        hint="Install it (pyenv install 3.9), or give one: python -m edgeyolo_openvino.ncs setup --python PATH",
    )


def _run(command: list[str], purpose: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeMissingError(f"cannot {purpose}: {command[0]}: {error.strerror}") from error
    if done.returncode:
        told = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise RuntimeMissingError(f"cannot {purpose}: {' '.join(told)}", hint=" ".join(command))
