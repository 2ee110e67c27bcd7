"""The manifest: facts of an artifact as one validated JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from edgeyolo.artifact.contracts import InputContract, OutputContract, RawMaps, output_from_json
from edgeyolo.artifact.target import Target
from edgeyolo.errors import DamagedFileError
from edgeyolo.support.dataclass_json import from_plain

SCHEMA = "edgeyolo-artifact/1"


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
    layers that were left in float (`floats`) beyond what the target's own rules say.
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
    schema: str = SCHEMA

    def __post_init__(self) -> None:
        if len(self.class_names) != self.output.classes:
            raise DamagedFileError(
                f"manifest: {len(self.class_names)} class names for {self.output.classes} classes"
            )
        maps = self.output
        if isinstance(maps, RawMaps) and not len(maps.names) == len(maps.strides) == len(maps.anchors):
            raise DamagedFileError("manifest: output names, strides and anchors differ in number")

    def to_json(self) -> str:
        """The manifest as JSON.

        Sorted keys and no time stamp, so equal artifacts have equal bytes.
        """
        data = asdict(self) | {"target": str(self.target)}
        return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "manifest.json") -> Manifest:
        """Read a manifest.

        Anything missing, unknown or of another schema raises DamagedFileError.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise DamagedFileError(f"{where}: not JSON ({error})") from error
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise DamagedFileError(
                f"{where}: schema {schema!r}, this version of edgeyolo reads {SCHEMA!r}",
                hint="Export the weights again with this version, or install the version that wrote the artifact.",
            )
        known = {item.name for item in fields(cls)}
        required = known - {
            "parity",
            "accuracy",
            "tools",
            "provenance",
            "parameters",
            "gflops",
            "calibration",
        }
        if set(data) - known or required - set(data):
            raise DamagedFileError(
                f"{where}: missing fields {sorted(required - set(data))}, unknown fields {sorted(set(data) - known)}"
            )
        parity, accuracy = data.get("parity"), data.get("accuracy")
        return cls(
            **data
            | {
                "target": Target.parse(str(data["target"])),
                "class_names": tuple(str(name) for name in data["class_names"]),
                "input": from_plain(InputContract, data["input"], f"{where}: input"),
                "output": output_from_json(data["output"], f"{where}: output"),
                "parity": from_plain(Parity, parity, f"{where}: parity") if parity else None,
                "accuracy": from_plain(Accuracy, accuracy, f"{where}: accuracy") if accuracy else None,
            }
        )
