"""Published weights by name.

Fetched once into the cache, resumed if broken off, checked at every use.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError
from edgeyolo.models.download.table import (
    PUBLISHED,
    PublishedWeights,
    is_published,
    published,
)
from edgeyolo.models.download.transfer import NotServedError, Patience, discard, place, transfer
from edgeyolo.support.files import atomic_file, user_cache
from edgeyolo.support.hashes import sha256
from edgeyolo.support.locks import locked

__all__ = [
    "PUBLISHED",
    "Fetched",
    "Patience",
    "PublishedWeights",
    "fetch",
    "fetch_weights",
    "is_published",
    "published",
    "weights_path",
]

Progress = Callable[[int, "int | None"], None]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Fetched:
    """Published weights on this machine.

    `notice` is what their user should be told now: the licence when they were just downloaded, and that they
    could not be checked where that is so; empty when there is nothing new to say.
    """

    path: Path
    sha256: str
    notice: str = ""


def fetch_weights(
    name: str,
    *,
    cache: Path | None = None,
    base_url: str | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Published weights called `name`, downloaded unless the cache has them.

    Names are those of PUBLISHED.

    They lie at `weights_path(name, cache)`. `base_url` replaces the release's address, as does
    $EDGEYOLO_WEIGHTS_URL: the file's name is added to it. `progress` is called with (bytes done, bytes in all
    or None); `tell` with sentences about waiting, resuming and trying again. A download that breaks off, or
    is ended with Ctrl-C, is taken up the next time. Where the table has a SHA-256 the file must have it, at
    every use; elsewhere that of the first download is written down beside the file, and later ones must
    equal it.

    Raises UsageError for an unknown name, DamagedFileError for a file that is not the published one, and
    EdgeYoloError where it cannot be had; the hint then says where to put it by hand.
    """
    return fetch(
        published(name), cache=cache, base_url=base_url, progress=progress, tell=tell, patience=patience
    )


def fetch(
    weights: PublishedWeights,
    *,
    cache: Path | None = None,
    base_url: str | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """`fetch_weights` for an entry that need not be in the table."""
    path = weights_path(weights, cache)
    url = _address(weights, base_url)
    say = tell or (lambda _: None)
    show = progress or (lambda done, total: None)
    try:
        if path.is_file():
            return _checked(weights, path, path)
        lock = path.with_name(f".{path.name}.lock")
        with locked(lock, waiting=lambda: say(f"waiting for another process that downloads {path}")):
            if path.is_file():  # that other process has placed it
                return _checked(weights, path, path)
            return _download(weights, url, path, progress=show, tell=say, patience=patience or Patience())
    except NotServedError as error:
        raise EdgeYoloError(f"{weights.file}: {error}", hint=_by_hand(weights, path)) from error
    except OSError as error:
        message = f"cannot keep {weights.file} at {path}: {error.strerror or error}"
        hint = "Set EDGEYOLO_CACHE to a directory that has room and may be written."
        raise EdgeYoloError(message, hint=hint) from error


def weights_path(weights: str | PublishedWeights, cache: Path | None = None) -> Path:
    """Cached file of published weights.

    It is `weights/<name>.pt` in `cache`, else in `user_cache()`.
    """
    entry = published(weights) if isinstance(weights, str) else weights
    return (cache or user_cache()).absolute() / "weights" / entry.file


def _address(weights: PublishedWeights, base_url: str | None) -> str:
    base = base_url or os.environ.get("EDGEYOLO_WEIGHTS_URL") or weights.release
    if not base.lower().startswith(("https://", "http://")):
        hint = "Give base_url or EDGEYOLO_WEIGHTS_URL the address that the file name is added to."
        raise UsageError(f"expected an address starting with https:// or http://, not {base!r}", hint=hint)
    return f"{base.rstrip('/')}/{weights.remote}"


def _download(
    weights: PublishedWeights, url: str, path: Path, *, progress: Progress, tell: Tell, patience: Patience
) -> Fetched:
    part = path.with_name(f"{path.name}.part")
    try:
        transfer(url, part, size=weights.bytes, progress=progress, tell=tell, patience=patience)
        found = _checked(weights, part, path)
    except DamagedFileError:
        discard(part)
        raise
    place(part, path)
    licence = (
        f"{weights.file} is published under {weights.licence} ({weights.release}): it is your own data to use "
        "under that."
    )
    return Fetched(path, found.sha256, "\n".join(filter(None, (licence, found.notice))))


def _checked(weights: PublishedWeights, file: Path, path: Path) -> Fetched:
    """Check `file`, which lies or will lie at `path`.

    The hash of an unknown file is written down.
    """
    hint = f"It was not kept: try again, or put the published file at {path} yourself."
    if file == path:
        hint = (
            f"Remove {path} to have it downloaded again; a file of your own is better given by its own path."
        )
    size = file.stat().st_size
    if weights.bytes is not None and size != weights.bytes:
        raise DamagedFileError(f"{path} has {size} bytes; the published file has {weights.bytes}", hint=hint)
    record = _record(path)
    expected = weights.sha256
    if expected is None and record.is_file():
        expected = (record.read_text(encoding="utf-8", errors="replace").split() or ["nothing"])[0]
        hint += f" If its authors have replaced the file, remove {record} too."
    if expected is None and not zipfile.is_zipfile(file):
        raise DamagedFileError(f"{path} is not a whole zip archive, as published weights are", hint=hint)
    found = sha256(file)
    if expected is None:
        return Fetched(path, found, _write_down(found, weights, path))
    if found != expected:
        raise DamagedFileError(f"{path} has SHA-256 {found}; expected {expected}", hint=hint)
    return Fetched(path, found)


def _write_down(found: str, weights: PublishedWeights, path: Path) -> str:
    unknown = f"No SHA-256 of the published {weights.file} is known, so it was trusted as it came"
    try:
        with atomic_file(_record(path)) as draft:
            draft.write_text(f"{found}  {path.name}\n", encoding="utf-8")
    except EdgeYoloError as error:  # a cache that may only be read
        return f"{unknown} (SHA-256 {found}), and later uses cannot be compared: {error.message}."
    return f"{unknown}; later uses must have the same SHA-256 {found}, written down in {_record(path)}."


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _by_hand(weights: PublishedWeights, path: Path) -> str:
    facts = f" ({weights.bytes} bytes, SHA-256 {weights.sha256})" if weights.sha256 else ""
    return (
        f"Try again later (what has come is kept), or download {weights.url} on any machine and put it at "
        f"{path}{facts}."
    )
