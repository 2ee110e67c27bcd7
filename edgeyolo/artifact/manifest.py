"""The manifest: facts of an artifact as one validated JSON document."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from hashlib import sha256 as new_sha256
from pathlib import PurePosixPath
from typing import Any

from edgeyolo.artifact.contract_faults import contract_faults
from edgeyolo.artifact.contracts import InputContract, OutputContract, output_from_json
from edgeyolo.artifact.target import Target
from edgeyolo.errors import DamagedFileError, UsageError
from edgeyolo.support.dataclass_json import field_types, from_plain

SCHEMA = "edgeyolo-artifact/1"
AGAIN = "Copy the whole directory again, or export the weights again."


@dataclass(frozen=True)
class Parity:
    """Deviation of the artifact from torch, as measured when it was made.

    `deviation` is, by raw map, the largest absolute difference over all images divided by the largest absolute value
    of torch's map; `tolerance` is what the target allows. `images` says what was compared on. `agreement` is the
    share of confident detections that have a counterpart on the other side (same class, IoU 0.5), None where there
    were no `detections`; `least_agreement` is what the target demands.
    """

    tolerance: float
    deviation: Mapping[str, float]
    images: str
    agreement: float | None = None
    least_agreement: float = 0.0
    detections: int = 0

    @property
    def worst(self) -> float:
        """The largest deviation of any map."""
        return max(self.deviation.values())

    @property
    def holds(self) -> bool:
        """Return True if deviation and agreement are within the target's budget."""
        agrees = self.agreement is None or self.agreement >= self.least_agreement
        return self.worst <= self.tolerance and agrees


@dataclass(frozen=True)
class Accuracy:
    """AP of the artifact beside that of the network in torch.

    Measured on the same labelled images, when the artifact was made.

    `reference` and `measured` are COCO's AP as fractions of 1; `lost` is their difference in points (hundredths), and
    `interval` holds it with `confidence` (paired bootstrap over images). `allowed` is what was demanded, in points.
    """

    data: str
    images: int
    reference: float
    measured: float
    lost: float
    interval: tuple[float, float]
    confidence: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Return True if no more AP is lost than allowed."""
        return self.lost <= self.allowed


@dataclass(frozen=True)
class Manifest:
    """Manifest of an artifact.

    `files` maps each file's name to its SHA-256; `provenance` says where the weights came from. `parameters` and
    `gflops` (one image of the input size, two operations per multiply-add) are of the re-parameterized network.
    `calibration` is of INT8 targets: `images_sha256`, the number of `images`, what they are (`described`), and the
    layers that were left in float (`floats`) beyond what the target's own rules say. `chip` has the name (`soc`) of the
    one chip that the files were compiled for and what else is known of it; None where they are for any. `unjudged` says
    that nothing judged it: there were too few detections to compare, and the user asked for it all the same. `sha256`
    is of all other values in the file (`content_hash`); None in artifacts that were made before there was one.
    """

    target: Target
    backend: str
    model: str
    spec: Mapping[str, Any]
    class_names: tuple[str, ...]
    input: InputContract
    output: OutputContract
    files: Mapping[str, str]
    parity: Parity | None = None
    accuracy: Accuracy | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    gflops: float | None = None
    calibration: Mapping[str, Any] | None = None
    chip: Mapping[str, str] | None = None
    unjudged: bool = False
    schema: str = SCHEMA
    sha256: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if len(self.class_names) != self.output.classes:
            raise DamagedFileError(
                f"manifest: {len(self.class_names)} class names for {self.output.classes} classes"
            )
        if faults := contract_faults(self.input, self.output):
            raise DamagedFileError(f"manifest: {'; '.join(faults[:4])}")

    def to_json(self) -> str:
        """The manifest as JSON.

        Sorted keys and no time stamp, so equal artifacts have equal bytes.
        """
        data = json.loads(json.dumps(asdict(self) | {"target": str(self.target)}))
        data["sha256"] = content_hash(data)
        return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "manifest.json") -> Manifest:
        """Read a manifest.

        Whatever is not a whole manifest of this schema raises DamagedFileError. Its own hash is compared where it has
        one; those of artifacts that were made before have none.
        """
        data = _parsed(text, where)
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise DamagedFileError(
                f"{where}: schema {str(schema)[:60]!r}, this version of edgeyolo reads {SCHEMA!r}",
                hint="Export the weights again with this version, or install the version that wrote the artifact.",
            )
        known = {item.name for item in fields(cls)}
        required = {item.name for item in fields(cls) if item.default is item.default_factory is MISSING}
        if set(data) - known or required - set(data):
            missing, unknown = sorted(required - set(data)), sorted(set(data) - known)
            raise DamagedFileError(f"{where}: missing fields {missing}, unknown fields {str(unknown)[:200]}")
        try:
            manifest = cls(**{name: _value(name, value, where) for name, value in data.items()})
        except DamagedFileError as error:
            told = error.message if error.message.startswith(where) else f"{where}: {error.message}"
            raise DamagedFileError(told, hint=error.hint or AGAIN) from error
        _check_files(manifest, where)
        if manifest.sha256 not in (None, content_hash(data)):
            raise DamagedFileError(
                f"{where}: it was changed after it was sealed: its SHA-256 is not the one in it", hint=AGAIN
            )
        return manifest


def content_hash(data: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's values but for the hash itself.

    It is of their JSON with sorted keys, in ASCII, without blanks.
    """
    content = {name: value for name, value in data.items() if name != "sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return new_sha256(text.encode()).hexdigest()


def _parsed(text: str | bytes, where: str) -> Any:
    """Parse JSON strictly.

    Refused are NaN, keys that come twice, and text that is no Unicode.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        data = json.loads(decoded, parse_constant=_refuse_constant, object_pairs_hook=_distinct)
        json.dumps(data, ensure_ascii=False).encode()  # lone surrogates pass the parser
    except RecursionError as error:
        raise DamagedFileError(f"{where}: nested too deeply", hint=AGAIN) from error
    except ValueError as error:
        raise DamagedFileError(f"{where}: not JSON ({error})", hint=AGAIN) from error
    return data


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _value(name: str, value: Any, where: str) -> Any:
    """One field from its JSON value, of the type that the dataclass says."""
    place = f"{where}: {name}"
    if name == "output":
        return output_from_json(value, place)
    if name == "target":
        try:
            return Target.parse(from_plain(str, value, place))
        except UsageError as error:
            raise DamagedFileError(f"{place}: {error.message}", hint=AGAIN) from error
    return from_plain(field_types(Manifest)[name], value, place)


def _check_files(manifest: Manifest, where: str) -> None:
    """Refuse files outside the artifact, hashes that are none, empty parity."""
    for name, expected in manifest.files.items():
        path = PurePosixPath(name)
        if (
            path.is_absolute()
            or ".." in path.parts
            or not path.parts
            or not name.isprintable()
            or "\\" in name
        ):
            raise DamagedFileError(
                f"{where}: it names the file {name[:80]!r}, outside the artifact", hint=AGAIN
            )
        if not re.fullmatch("[0-9a-f]{64}", expected):
            raise DamagedFileError(f"{where}: the SHA-256 of {name} is {expected[:80]!r}", hint=AGAIN)
    if manifest.parity is not None and not (manifest.parity.deviation and manifest.parity.tolerance > 0):
        raise DamagedFileError(f"{where}: parity that was measured on nothing", hint=AGAIN)
