"""The contract between the recipes and a host, and what recipes share."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.errors import UnsupportedTargetError

GOLDEN, MANIFEST = "golden.npz", "manifest.json"


@dataclass(frozen=True)
class Host:
    """A program that runs artifacts' files.

    Attributes:
        name: as `--for` takes it.
        title: its own name.
        takes: tells for which targets it runs the files.
        fill: writes the recipe of an artifact into an empty folder.
        misfit: the reason why it cannot take this artifact although its target fits, with a hint; or None.
        edited: names of configuration files that a user may change, so that no check compares them.
    """

    name: str
    title: str
    takes: Callable[[Target], bool]
    fill: Callable[[Artifact, Path], None]
    misfit: Callable[[Manifest], tuple[str, str] | None] = lambda _: None
    edited: tuple[str, ...] = ()


def model_name(manifest: Manifest) -> str:
    """Name of the model on a server: letters, digits, `-` and `_`."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", manifest.model).strip("-") or "model"


def place(artifact: Artifact, folder: Path, *suffixes: str) -> list[Path]:
    """Copy the artifact's files with these suffixes into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    copied = []
    for suffix in suffixes:
        source = artifact.file(suffix)
        copied.append(Path(shutil.copyfile(source, folder / source.name)))
    return copied


def place_golden(artifact: Artifact, folder: Path) -> None:
    """Copy what a check needs: the manifest and the golden vectors."""
    shutil.copyfile(artifact.path / MANIFEST, folder / MANIFEST)
    place(artifact, folder, GOLDEN)


def write_script(path: Path, text: str) -> None:
    """Write a script that may be run."""
    path.write_text(text, encoding="utf-8", newline="\n")
    path.chmod(0o755)


def write_check(folder: Path, lines: str) -> None:
    """Write check.sh: it compares the recipe's files, then runs `lines`."""
    write_script(
        folder / "check.sh",
        "#!/bin/sh\n"
        "# Fails where a file is not the one that the recipe was written with, or the host has another answer.\n"
        'set -eu\ncd "$(dirname "$0")"\nsha256sum -c --quiet SHA256SUMS\n' + lines,
    )


def write_labels(folder: Path, manifest: Manifest, name: str = "labels.txt") -> None:
    """Write one class name a line, in the order of the class ids.

    Raises UnsupportedTargetError where a name has a line break, which such a file cannot hold.
    """
    if broken := [each for each in manifest.class_names if each.splitlines() not in ([each], [])]:
        raise UnsupportedTargetError(
            f"the class name {broken[0]!r} has a line break, which {name} cannot hold",
            hint="Rename the class and export the weights again.",
        )
    (folder / name).write_text("".join(f"{each}\n" for each in manifest.class_names), encoding="utf-8")


def described(artifact: Artifact) -> str:
    """Markdown lines on the artifact, for a README."""
    manifest = artifact.manifest
    height, width = manifest.input.size
    batch = "1 to 32 images" if manifest.input.dynamic_batch else f"{manifest.input.batch} image(s)"
    return (
        f"Model {manifest.model} for {manifest.target}: {width} x {height} pixels, {batch} at a time, "
        f"{len(manifest.class_names)} classes.\n\nArtifact: SHA-256 `{artifact.sha256}`.\n"
    )
