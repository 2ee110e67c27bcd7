"""Artifacts in the cache, made once for all processes.

The first one that wants an artifact makes it; the others wait and take it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.errors import DamagedFileError, EdgeYoloError
from edgeyolo.support.locks import locked


def made_once(
    place: Path, make: Callable[[], Artifact], step: Callable[[str], None] = lambda _: None
) -> Artifact:
    """Artifact at `place`, made by `make` where there is no whole one.

    Of several processes and threads that want the same one at once, one makes it and the others wait and take it. Where
    making it fails, the next in line tries. `make` must replace what is at `place`.

    Raises EdgeYoloError where the cache cannot be written, and whatever `make` raises.
    """
    if (found := _whole(place, step)) is not None:
        return found

    def tell() -> None:
        step("another process is making it; waiting")

    lock = place.parent.with_name("locks") / f"{place.name}.lock"  # what lists artifacts meets no locks
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        hint = "Set EDGEYOLO_CACHE to a directory that may be written, or export to a directory of your own."
        raise EdgeYoloError(f"cannot write {lock}: {error.strerror or error}", hint=hint) from error
    with locked(lock, waiting=tell):
        if (found := _whole(place, step)) is not None:
            return found
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)  # the cache is ours: what lies there is what is left of a damaged one
        return make()


def _whole(place: Path, step: Callable[[str], None]) -> Artifact | None:
    if not (place / MANIFEST).is_file():
        return None
    try:
        return Artifact.open(place)
    except DamagedFileError:
        step("the cached artifact is damaged; making it again")
        return None
