"""Opening a checkpoint file.

It tells the kind of file, and reads a torch zip archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeyolo.errors import DamagedFileError, EdgeYoloError, UntrustedFileError, UsageError
from edgeyolo.models.checkpoint.allowlist import allowed_names
from edgeyolo.models.checkpoint.archive import ACCEPTED, AGAIN, open_archive
from edgeyolo.models.checkpoint.foreign import foreign_file, foreign_pickle
from edgeyolo.models.checkpoint.graph import check_graph
from edgeyolo.models.checkpoint.limits import Limits
from edgeyolo.models.checkpoint.machine import PickleMachine
from edgeyolo.models.checkpoint.tensors import TensorReader

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number of torch < 1.6, pickled


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint file as inert values.

    `root` is usually a dict; tensors can be read while it is open.
    """

    path: Path
    root: Any
    sha256: str
    stored_bytes: int  # of all tensor storages


@contextmanager
def open_checkpoint(path: Path | str, limits: Limits | None = None) -> Iterator[Checkpoint]:
    """Read a torch zip checkpoint without running any of it.

    Raises UntrustedFileError for anything outside the allow-list (named in the message), DamagedFileError for
    files that are truncated or contradict themselves, ForeignFileError for other projects' (by name), UsageError
    where there is no such file.
    """
    path, limits = Path(path), limits or Limits()
    if sniff(path, limits) != "torch":
        raise DamagedFileError(f"{path}: a safetensors file, expected a torch checkpoint", hint=ACCEPTED)
    with open_archive(path, limits) as archive:
        tensors = TensorReader(archive, limits)
        where = f"{path} ({archive.folder}/data.pkl)"
        machine = PickleMachine(allowed_names(tensors.rebuild), tensors.storage, where, limits)
        pickled = archive.pickle()
        try:
            root = machine.run(pickled)
        except UntrustedFileError as refusal:
            raise foreign_pickle(archive, pickled, limits) or refusal from refusal
        check_graph(root, where, limits)
        yield Checkpoint(path, root, archive.sha256, archive.stored_bytes())


def sniff(path: Path, limits: Limits | None = None) -> Literal["torch", "safetensors"]:
    """Tell a torch zip archive from a safetensors file by its first bytes.

    Refuse everything else.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file", hint=ACCEPTED)
    most, size = (limits or Limits()).file_bytes, path.stat().st_size
    if size > most:
        raise UntrustedFileError(f"{path}: {size:,} bytes, at most {most:,} are read", hint=ACCEPTED)
    with path.open("rb") as file:
        head = file.read(32)
    if head.startswith(_ZIP):
        return "torch"
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return "safetensors"
    raise _refusal(path, head)


def _refusal(path: Path, head: bytes) -> EdgeYoloError:
    if head.startswith(_LEGACY):
        return UntrustedFileError(
            f"{path}: a checkpoint in torch's old format (before 1.6), a bare pickle that is not read here",
            hint="Where you trust the file: `torch.save(torch.load(FILE, weights_only=True), NEW)` writes a "
            "state dict as a zip file; a whole pickled model must be saved again with the code it came from.",
        )
    if head[:1] == b"\x80":
        return UntrustedFileError(
            f"{path}: a bare pickle, not a torch checkpoint; it is not read", hint=ACCEPTED
        )
    if not head:
        return DamagedFileError(f"{path}: the file is empty", hint=AGAIN)
    if foreign := foreign_file(path, head, path.stat().st_size):
        return foreign
    return DamagedFileError(
        f"{path}: neither a torch checkpoint (zip) nor safetensors: {head[:8]!r}...", hint=ACCEPTED
    )
