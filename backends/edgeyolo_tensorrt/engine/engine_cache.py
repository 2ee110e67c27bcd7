"""Cache of built engines.

It has one directory for each network, GPU and TensorRT version, in the user's cache.

<cache>/tensorrt/engines/<network>-<gpu>-<architecture>-trt<version>[-dla0]/
    model.engine     TensorRT's own bytes, nothing before or behind them: `trtexec --loadEngine` takes the file
    engine.json      what it was built from, with and for
<cache>/tensorrt/timing/<gpu>-<architecture>-trt<version>.cache      how long TensorRT's kernels took, for all networks
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.errors import DamagedFileError
from edgeyolo.support.files import user_cache
from edgeyolo.support.hashes import sha256 as file_sha256
from edgeyolo_tensorrt.facts import version_text

if TYPE_CHECKING:
    from edgeyolo_tensorrt.cuda.interface import Gpu

SCHEMA = "edgeyolo-tensorrt-engine/1"
ENGINE = "model.engine"
RECORD = "engine.json"


@dataclass(frozen=True)
class EngineRecord:
    """Conditions under which an engine was built.

    It runs nowhere else.
    """

    network: str  # SHA-256 over the hashes of the ONNX files and build.json
    engine_sha256: str
    tensorrt: str
    gpu: str
    compute_capability: str
    driver: str
    dla_core: int | None
    strongly_typed: bool
    seconds: float
    schema: str = SCHEMA

    def to_json(self) -> str:
        """The record as JSON."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> EngineRecord:
        """Read a record.

        Anything missing, unknown or of another schema raises DamagedFileError.
        """
        again = "Delete its directory; `edgeyolo build` makes the engine again."
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DamagedFileError(f"{path}: cannot be read ({error})", hint=again) from error
        if not isinstance(data, dict) or set(data) != {item.name for item in fields(cls)}:
            raise DamagedFileError(f"{path}: not the record of an engine of this version", hint=again)
        if data["schema"] != SCHEMA:
            raise DamagedFileError(f"{path}: schema {data['schema']!r}, expected {SCHEMA!r}", hint=again)
        return cls(**data)


def network_hash(artifact: Artifact) -> str:
    """Hash of the graph and the recipe, on which the engine depends.

    It is not the manifest's notes of parity and provenance.
    """
    names = sorted(name for name in artifact.manifest.files if name.endswith((".onnx", "build.json")))
    text = "".join(f"{name} {artifact.manifest.files[name]}\n" for name in names)
    return sha256(text.encode()).hexdigest()


def engine_folder(network: str, gpu: Gpu, tensorrt: str, dla_core: int | None) -> Path:
    """The directory of an engine; it may not exist."""
    dla = "" if dla_core is None else f"-dla{dla_core}"
    return user_cache() / "tensorrt" / "engines" / f"{network[:16]}-{_machine(gpu, tensorrt)}{dla}"


def timing_file(gpu: Gpu, tensorrt: str) -> Path:
    """The timing cache of a GPU and a TensorRT version; it may not exist."""
    return user_cache() / "tensorrt" / "timing" / f"{_machine(gpu, tensorrt)}.cache"


def _machine(gpu: Gpu, tensorrt: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', gpu.name).strip('-')}-{gpu.architecture}-trt{tensorrt}"


def stored(folder: Path, network: str) -> EngineRecord | None:
    """The record of a whole engine in `folder`.

    None where there is none, or where it is damaged.
    """
    try:
        record = EngineRecord.read(folder / RECORD)
        whole = record.network == network and file_sha256(folder / ENGINE) == record.engine_sha256
    except (DamagedFileError, OSError):
        return None
    return record if whole else None


def misfits(record: EngineRecord, gpu: Gpu, tensorrt: str) -> list[str]:
    """Reasons why an engine does not run here, as phrases."""
    found = []
    if record.tensorrt != tensorrt:
        found.append(f"it was built with TensorRT {record.tensorrt}, this is TensorRT {tensorrt}")
    here = (gpu.name, version_text(gpu.compute_capability))
    if (record.gpu, record.compute_capability) != here:
        found.append(
            f"it was built on {record.gpu} ({record.compute_capability}), this is {here[0]} ({here[1]})"
        )
    return found
