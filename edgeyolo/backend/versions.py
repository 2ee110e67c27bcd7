"""The runtime that is here beside the one that an artifact was made with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.interface import Backend
from edgeyolo.errors import DamagedFileError, EdgeYoloError, RuntimeMissingError


@dataclass(frozen=True)
class Apart:
    """Two versions of one package.

    The one that made an artifact, and the one that is installed here.
    """

    package: str
    made: str
    here: str

    @property
    def older(self) -> bool:
        """Return True if the runtime here is older than the one of the artifact."""
        return numbers(self.here) < numbers(self.made)

    def sentence(self) -> str:
        """One sentence for people."""
        than = "older than" if self.older else "newer than"
        return f"{self.package} {self.here} is {than} {self.made}, which made the artifact"


def apart(artifact: Artifact, backend: Backend) -> Apart | None:
    """Two different versions of the backend's package.

    The package is its attribute `package`. None where they are one or not known.
    """
    package = str(getattr(backend, "package", ""))
    made = artifact.manifest.tools.get(package, "")
    try:
        here = version(package) if made else ""
    except PackageNotFoundError:  # another build of the runtime, under another name
        return None
    return Apart(package, made, here) if here and numbers(made) != numbers(here) else None


def explained(error: DamagedFileError, artifact: Artifact, backend: Backend) -> EdgeYoloError:
    """Error of a runtime that does not load an artifact whose files are whole.

    It says that the runtime is older than the one that made the artifact, or else it is `error`.
    """
    found = apart(artifact, backend)
    if found is None or not found.older:
        return error
    return RuntimeMissingError(
        f"{artifact.path}: {found.sentence()}, and cannot load it: {error.message}",
        hint=f"pip install '{found.package}>={found.made}', or export the weights again with {found.here}.",
    )


def numbers(text: str) -> tuple[int, ...]:
    """ "2026.4.1+cpu" -> (2026, 4, 1): the leading numbers, without zeros at the end.

    () where there is none.
    """
    match = re.match(r"\d+(\.\d+)*", text.strip())
    parts = [int(part) for part in match.group().split(".")] if match else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
