"""The line to type to install a missing package."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

# Modules whose package is called otherwise.
_PACKAGES = {"yaml": "pyyaml", "cv2": "opencv-python-headless", "PIL": "pillow", "litert_torch": "litert-torch",
             "ai_edge_litert": "ai-edge-litert", "ai_edge_quantizer": "ai-edge-quantizer",
             "faster_coco_eval": "faster-coco-eval"}  # fmt: skip
_FIRST = ("eval", "export", "train")  # before the extras of single runtimes


def package_of(module: str) -> str:
    """The name by which pip knows an imported module."""
    return _PACKAGES.get(module, module.replace("_", "-"))


def install_hint(extra: str = "", *, for_module: str = "") -> str:
    """The line to type for an extra, or for the extra that brings a module.

    It works from a checkout too.

    Quoted: zsh takes bare brackets for a pattern.
    """
    extra = extra or _extra_of(package_of(for_module))
    if not extra and package_of(for_module) not in _base():
        return f"pip install {package_of(for_module)}"
    suffix = f"[{extra}]" if extra else ""
    root = Path(__file__).parents[2]
    if (root / "pyproject.toml").is_file():
        return f"pip install -e '{root}{suffix}'"
    return f"pip install 'edgeyolo{suffix}'"


def _extra_of(package: str) -> str:
    found = [extra for extra, packages in _extras().items() if package in packages]
    return min(found, key=lambda extra: (extra not in _FIRST, extra), default="")


@cache
def _requirements() -> tuple[tuple[str, str], ...]:
    """(package, extra) of everything that edgeyolo requires.

    The extra is "" in the base install.
    """
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("edgeyolo") or []
    except PackageNotFoundError:  # run from a checkout that was never installed
        return ()
    found = []
    for line in lines:
        package = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", line)
        if package:
            found.append((package[0].lower(), extra[1] if extra else ""))
    return tuple(found)


def _base() -> set[str]:
    return {package for package, extra in _requirements() if not extra}


def _extras() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for package, extra in _requirements():
        if extra and extra not in ("all", "dev"):
            found.setdefault(extra, set()).add(package)
    return found
