"""Our own weights file.

Safetensors, numbers and text only, with all it takes to rebuild a network.

The text: format and version, the network's spec (anchors included), form, class count and names, where the
weights came from, and a SHA-256 over the tensors. `read_info` reads it without torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from edgeyolo.artifact.learned_ranges import LearnedRanges
from edgeyolo.artifact.trained_size import Size, as_size, size_of_provenance
from edgeyolo.errors import DamagedFileError, EdgeYoloError, UsageError
from edgeyolo.models.network_spec import Spec, spec_from_json
from edgeyolo.models.topology import MAX_CLASSES, Form
from edgeyolo.support.files import atomic_file

if TYPE_CHECKING:
    from torch import Tensor

    from edgeyolo.models.network import Network

FORMAT, VERSION = "edgeyolo-weights", "1"

_HEADER_LIMIT = 16 << 20  # the largest network's header is 150 kB
_AGAIN = "Import the checkpoint again, or copy the file again."


@dataclass(frozen=True)
class WeightsInfo:
    """Metadata of a weights file."""

    spec: Spec
    form: Form
    class_names: tuple[str, ...]
    provenance: dict[str, Any]
    sha256: str
    ranges: LearnedRanges | None = None
    size: Size | None = None

    @property
    def classes(self) -> int:
        """The class count."""
        return len(self.class_names)


@dataclass(frozen=True)
class Weights:
    """A network with its weights (float32, in inference mode) and their metadata.

    `sha256` is over the tensors as stored: equal weights have equal hashes, whatever their names or origin. `size` is
    the (height, width) that the network was trained at, None where nothing says it.
    """

    network: Network
    class_names: tuple[str, ...]
    provenance: dict[str, Any]
    sha256: str
    ranges: LearnedRanges | None = None
    size: Size | None = None


def save(
    path: str | Path,
    network: Network,
    class_names: Sequence[str],
    provenance: Mapping[str, Any],
    *,
    half: bool = False,
    ranges: LearnedRanges | None = None,
    size: Size | None = None,
) -> None:
    """Write a network of any form, atomically.

    `provenance` is any JSON object; `half` stores float16; `ranges` are those that quantization-aware
    training learned; `size` is the (height, width) in pixels that the network was trained at.

    Raises UsageError for class names that do not fit, EdgeYoloError for weights that `half` cannot hold.
    """
    from safetensors.torch import save_file

    if len(class_names) != network.classes:
        raise UsageError(f"{len(class_names)} class names for a network of {network.classes} classes")
    tensors = _stored(network, half)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "spec": json.dumps(network.spec.to_json()),
        "form": network.form,
        "classes": str(network.classes),
        "class_names": json.dumps(list(class_names), ensure_ascii=False),
        "provenance": json.dumps(dict(provenance), ensure_ascii=False),
        "sha256": _content_hash(tensors),
    }
    if size := size or size_of_provenance(provenance):
        metadata["image_size"] = json.dumps(size)
    if ranges:
        metadata["ranges"] = json.dumps(ranges.to_json(), ensure_ascii=False, separators=(",", ":"))
    with atomic_file(path) as draft:
        draft.touch()
        readable = draft.stat().st_mode
        save_file(tensors, draft, metadata)
        _sort_metadata(draft)
        draft.chmod(readable)  # safetensors makes files that only their owner can read


def _sort_metadata(file: Path) -> None:
    """Put a file's metadata into one order, so that equal weights are equal files.

    safetensors writes it in another order each time. The header keeps its length: the same JSON, in the same form.
    """
    with file.open("r+b") as handle:
        length = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(length))
        metadata = dict(sorted(header.pop("__metadata__").items()))
        text = json.dumps(
            {"__metadata__": metadata, **header}, ensure_ascii=False, separators=(",", ":")
        ).encode()
        if len(text) <= length:
            handle.seek(8)
            handle.write(text.ljust(length))


def load(path: str | Path) -> Weights:
    """Read a weights file.

    DamagedFileError for anything that is not one, whole and unchanged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from edgeyolo.models.build import build
    from edgeyolo.models.network import load_state

    info = read_info(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{path}: the tensors cannot be read ({error})", hint=_AGAIN) from error
    if {value.dtype for value in tensors.values()} - {torch.float32, torch.float16}:
        raise DamagedFileError(f"{path}: expected tensors of float32 or float16", hint=_AGAIN)
    if _content_hash(tensors) != info.sha256:
        raise DamagedFileError(f"{path}: the tensors are not those that were written", hint=_AGAIN)
    network = build(info.spec, info.classes, info.form, device="meta")
    _check_shapes(path, network, tensors)
    # Copied out of the mapped file, which may change later.
    values = {key: value.to(torch.float32, copy=True) for key, value in tensors.items()}
    return Weights(
        load_state(network, values), info.class_names, info.provenance, info.sha256, info.ranges, info.size
    )


def is_weights(path: str | Path) -> bool:
    """Return True if a file is safetensors with our metadata.

    What it holds may still be damaged.
    """
    try:
        return _metadata(Path(path)).get("format") == FORMAT
    except DamagedFileError:
        return False


def read_info(path: str | Path) -> WeightsInfo:
    """Read a weights file's metadata, without torch and without its tensors.

    Raises UsageError where there is no file, DamagedFileError where it is not a whole weights file of ours.
    """
    metadata = _metadata(Path(path))
    if metadata.get("format") != FORMAT:
        raise DamagedFileError(
            f"{path}: a safetensors file, but not one of edgeyolo's", hint="`edgeyolo import` may convert it."
        )
    if metadata.get("version") != VERSION:
        raise DamagedFileError(
            f"{path}: weights of version {metadata.get('version')!r}, this edgeyolo reads {VERSION!r}",
            hint="Update edgeyolo, or import the checkpoint again.",
        )
    try:
        spec = spec_from_json(_json(metadata["spec"]), f"{path}: the network spec")
        names, provenance = _json(metadata["class_names"]), _json(metadata["provenance"])
        form, classes, sha256 = metadata["form"], metadata["classes"], metadata["sha256"]
    except (KeyError, ValueError) as error:
        raise DamagedFileError(f"{path}: broken metadata ({error!r})", hint=_AGAIN) from error
    well_named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not well_named or not 1 <= len(names) <= MAX_CLASSES or str(len(names)) != classes:
        raise DamagedFileError(f"{path}: the class names do not fit {classes} classes", hint=_AGAIN)
    if form not in get_args(Form) or not isinstance(provenance, dict):
        raise DamagedFileError(f"{path}: broken metadata (form {form!r})", hint=_AGAIN)
    text = metadata.get("ranges")
    ranges = LearnedRanges.from_json(text, str(path)) if text else None
    size = _size(path, metadata.get("image_size"), provenance)
    return WeightsInfo(spec, cast(Form, form), tuple(names), provenance, sha256, ranges, size)


def _size(path: str | Path, text: str | None, provenance: Mapping[str, Any]) -> Size | None:
    """Size of the training.

    Files that were written before it was noted have it in the account of their training.
    """
    if text is None:
        return size_of_provenance(provenance)
    try:
        size = as_size(_json(text))
    except ValueError:
        size = None
    if size is None:
        raise DamagedFileError(f"{path}: broken metadata (image_size {text[:40]!r})", hint=_AGAIN)
    return size


def _metadata(path: Path) -> dict[str, str]:
    """The text part of a safetensors file; its tensors must end where the file ends."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(size - 8, _HEADER_LIMIT):
                raise DamagedFileError(f"{path}: not a safetensors file, or cut short", hint=_AGAIN)
            header = _json(file.read(length).decode())
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except OSError as error:
        raise EdgeYoloError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DamagedFileError(f"{path}: not a safetensors file ({error})", hint=_AGAIN) from error
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise DamagedFileError(f"{path}: the header is not of a safetensors file", hint=_AGAIN)
    try:
        offsets = [(start, end) for start, end in (entry["data_offsets"] for entry in header.values())]
    except (TypeError, ValueError, KeyError) as error:
        raise DamagedFileError(f"{path}: the header is not of a safetensors file", hint=_AGAIN) from error
    if not all(type(start) is type(end) is int and 0 <= start <= end for start, end in offsets):
        raise DamagedFileError(f"{path}: the header is not of a safetensors file", hint=_AGAIN)
    end = max((end for _, end in offsets), default=0)
    if end != size - 8 - length:
        raise DamagedFileError(f"{path}: {size:,} bytes, expected {8 + length + end:,}", hint=_AGAIN)
    return metadata


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _stored(network: Network, half: bool) -> dict[str, Tensor]:
    """The learned values on the CPU.

    Batch norm counters are left out, nothing reads them.
    """
    import torch

    dtype = torch.float16 if half else torch.float32
    values = {k: v.detach() for k, v in network.state_dict().items() if v.is_floating_point()}
    for key, value in values.items() if half else ():
        if value.abs().max() > torch.finfo(dtype).max:
            raise EdgeYoloError(f"{key} has values beyond float16", hint="Store the weights as float32.")
    return {key: value.to("cpu", dtype).contiguous() for key, value in values.items()}


def _content_hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = tensors[key]
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _check_shapes(path: str | Path, network: Network, tensors: Mapping[str, Tensor]) -> None:
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items() if v.is_floating_point()}
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) != found.get(key):
            raise DamagedFileError(
                f"{path}: {key} is {found.get(key, 'missing')}, "
                f"{network.spec.name} in {network.form} form has {expected.get(key, 'no such entry')}",
                hint=_AGAIN,
            )
