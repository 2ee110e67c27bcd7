"""The artifact: a directory of the runtime's own files and `manifest.json`.

The files are untouched.

model.onnx        whatever the runtime loads; any other tool can load it too
golden.npz        a picture, its input tensor and the values a port in another language must reproduce
manifest.json     contracts, provenance, parity as measured, SHA-256 of every other file
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256 as new_sha256
from pathlib import Path

from edgeyolo.artifact.manifest import AGAIN, Manifest
from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError
from edgeyolo.support.hashes import sha256

MANIFEST = "manifest.json"
LARGEST = 16 << 20


@dataclass(frozen=True)
class Artifact:
    """A sealed directory. `path` is the directory, `manifest` what it says of itself."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> Artifact:
        """Read and verify an artifact: schema, the presence of every file and its SHA-256.

        Raises:
            UsageError: there is no artifact at `path`.
            DamagedFileError: the manifest is of another schema, or a file is missing, added or changed.
        """
        folder = Path(path)
        if not (folder / MANIFEST).is_file():
            found = "nothing is there" if not folder.exists() else f"it has no {MANIFEST}"
            raise UsageError(
                f"{folder}: expected the directory of an exported artifact, but {found}",
                hint="Make one: edgeyolo export WEIGHTS --target cpu-onnx-fp32 -o DIR",
            )
        artifact = cls(folder, Manifest.from_json(_read(folder / MANIFEST), str(folder / MANIFEST)))
        artifact._check_files()
        return artifact

    @classmethod
    def seal(cls, folder: Path, manifest: Manifest) -> Artifact:
        """Write the manifest with the hash of every file that `folder` holds now."""
        text = replace(manifest, files={name: sha256(folder / name) for name in _files_in(folder)}).to_json()
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        return cls(folder, Manifest.from_json(text))

    @cached_property
    def sha256(self) -> str:
        """One hash for the whole artifact.

        It is the one in the manifest, which holds the hash of every file, and stays as it was sealed where later
        versions know more fields.
        """
        return self.manifest.sha256 or new_sha256(self.manifest.to_json().encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of the runtime's own files, without golden vectors and manifest."""
        return sum((self.path / name).stat().st_size for name in self.manifest.files if name != "golden.npz")

    def file(self, suffix: str) -> Path:
        """The one file of the artifact whose name ends with `suffix`."""
        found = [name for name in self.manifest.files if name.endswith(suffix)]
        if len(found) != 1:
            raise DamagedFileError(f"{self.path}: expected one file *{suffix}, the manifest lists {found}")
        return self.path / found[0]

    def _check_files(self) -> None:
        for name, expected in self.manifest.files.items():
            try:
                actual = sha256(self.path / name) if (self.path / name).is_file() else None
            except OSError as error:  # a name that is too long for any file, or one that may not be read
                raise DamagedFileError(
                    f"{self.path}: {name[:80]} cannot be read ({error.strerror})", hint=AGAIN
                ) from error
            if actual is None:
                raise DamagedFileError(f"{self.path}: {name} is missing", hint=AGAIN)
            if actual != expected:
                raise DamagedFileError(
                    f"{self.path}: {name} was changed: SHA-256 {actual[:16]}..., the manifest says {expected[:16]}...",
                    hint=AGAIN,
                )
        if extra := set(_files_in(self.path)) - set(self.manifest.files):
            raise DamagedFileError(
                f"{self.path}: files that the manifest does not list: {', '.join(sorted(extra))}",
                hint="Move them elsewhere; an artifact holds only what was sealed.",
            )


def _read(manifest: Path) -> bytes:
    try:
        if manifest.stat().st_size > LARGEST:
            raise DamagedFileError(
                f"{manifest}: larger than {LARGEST >> 20} MiB, which no manifest is", hint=AGAIN
            )
        return manifest.read_bytes()
    except OSError as error:
        raise EdgeYoloError(f"{manifest}: cannot be read ({error.strerror or error})") from error


def _files_in(folder: Path) -> list[str]:
    """Every file below `folder` but the manifest, as sorted POSIX paths.

    Hidden files of desktops are passed over.
    """
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        name.as_posix() for name in names if name.as_posix() != MANIFEST and name.name != ".DS_Store"
    )
