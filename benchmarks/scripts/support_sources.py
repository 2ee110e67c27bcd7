"""Proofs for the support table: manifests of artifacts, kept records."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from edgeyolo.artifact.artifact import MANIFEST, Artifact
from edgeyolo.models.specs import known
from edgeyolo_bench.values.measurement import Measurement
from edgeyolo_bench.values.report import load_report

Kind = Literal["maps", "accuracy", "latency", "refused", "unjudged"]
WEIGHTS = Path(__file__).parents[1] / "weights"
OURS = (None, "float", "calibrated", "trained (QAT)")
"""Ways of a row that are the project's own; integers.py measures other quantizers beside them."""


@dataclass(frozen=True)
class Proof:
    """One thing that was shown of a network on a target.

    Attributes:
        network, target: the pair.
        size: height of the input in pixels, 0 where the record does not say.
        proof: maps (raw maps beside torch's), accuracy (AP on labelled images), latency, refused (the export refuses
            with a reason), unjudged (made by demand though nothing judged it).
        holds: within the limit of the gate; None where there was no limit.
        found: the figures in words.
        by: what ran it: a runtime, or the stand-in for an absent device; "" where the record does not say.
        when: date and time, ISO 8601: of the report, of the artifact's manifest, of the record's commit.
        source: "artifact" or "record"; `record` names the file in benchmarks/results, or the manifest.
        artifact: its SHA-256, "" where the record does not have it.
        deviation, tolerance: relative to torch's largest value, of maps.
        ap, lost: AP as a fraction of 1, and points (hundredths) lost against the float network.
        ms: median latency in milliseconds.
    """

    network: str
    target: str
    size: int
    proof: Kind
    holds: bool | None
    found: str
    by: str
    when: str
    source: str
    record: str
    artifact: str = ""
    deviation: float | None = None
    tolerance: float | None = None
    ap: float | None = None
    lost: float | None = None
    ms: float | None = None


def artifact_proofs(folders: Iterable[Path]) -> Iterator[Proof]:
    """Proofs in the manifests of all artifacts below some folders.

    A damaged artifact raises DamagedFileError: its manifest proves nothing.
    """
    for folder in folders:
        for path in sorted(folder.rglob(MANIFEST)):
            artifact = Artifact.open(path.parent)
            changed = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
            yield from _of_manifest(artifact, changed.isoformat(timespec="seconds"))


def _of_manifest(artifact: Artifact, when: str) -> Iterator[Proof]:
    manifest, sha = artifact.manifest, artifact.sha256
    base = Proof(
        manifest.model, str(manifest.target), manifest.input.height, "unjudged", None, "made by demand", "", when,
        "artifact", "manifest.json", sha,
    )  # fmt: skip
    if manifest.unjudged or manifest.parity is None:
        yield base
    if (parity := manifest.parity) is not None:
        agreed = (
            f", {parity.agreement:.1%} of {parity.detections} detections"
            if parity.agreement is not None
            else ""
        )
        yield replace(
            base, proof="maps", holds=parity.holds, found=_maps(parity.worst, parity.tolerance) + agreed,
            by=parity.images.partition("run by ")[2], deviation=parity.worst, tolerance=parity.tolerance,
        )  # fmt: skip
    if (accuracy := manifest.accuracy) is not None:
        yield replace(
            base, proof="accuracy", holds=accuracy.holds, ap=accuracy.measured, lost=accuracy.lost,
            found=_accuracy(accuracy.measured, accuracy.lost, accuracy.data, accuracy.images),
        )  # fmt: skip


def record_proofs(results: Path, but: str) -> Iterator[Proof]:
    """Proofs in records: reports in folders of devices, and what the scripts left."""
    for path in sorted(results.glob("*/*.json")):
        report = load_report(path)
        for item in report.measurements:
            yield from _of_measurement(item, report.created, path.relative_to(results).as_posix())
    for path in sorted(results.glob("*.json")):
        if path.stem == but:
            continue
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = data.get("rows", []) if isinstance(data, dict) else data
        facts: Mapping[str, Any] = data if isinstance(data, dict) else {}
        pairs = [row for row in rows if isinstance(row, dict) and _is_proof(row, facts)]
        for row in pairs:
            yield from _of_row(row, facts, path.name, _reference(pairs))


def _of_measurement(item: Measurement, when: str, record: str) -> Iterator[Proof]:
    facts, stage = item.artifact, item.stage(item.scenario.judged)
    middle = stage.quantile(0.5) if stage else None
    if not item.reportable or middle is None or not middle.reportable:
        return
    yield Proof(
        facts.model, facts.target, facts.size[0], "latency", None,
        f"{middle.value:.1f} ms a query of {item.scenario.query_images}, {item.scenario.judged}, on {item.device}",
        facts.backend, when, "record", record, facts.sha256, ms=middle.value,
    )  # fmt: skip


def _network(row: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Network of a row.

    As the record says, else of the weights that it names: those of the project are read, others begin with the name.
    """
    if "network" in row or "network" in facts:
        return str(row.get("network", facts.get("network")))
    weights = str(facts.get("weights", ""))
    if (WEIGHTS / weights).is_file() and weights.endswith(".safetensors"):
        return Path(weights).stem
    return max((name for name in known() if weights.startswith(name)), key=len, default="")


def _is_proof(row: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Tell whether a row speaks of a network on a target, made by the project itself."""
    return "target" in row and row.get("how") in OURS and bool(_network(row, facts))


def _reference(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """AP of the float network, which is that of the first row."""
    return rows[0].get("AP") if rows else None


def _of_row(
    row: Mapping[str, Any], facts: Mapping[str, Any], record: str, reference: float | None
) -> Iterator[Proof]:
    size = int(row.get("imgsz", facts.get("imgsz", 0)))
    base = Proof(
        _network(row, facts), row["target"], size, "refused", None, "", row.get("run_by", ""), "", "record", record,
        row.get("artifact", ""),
    )  # fmt: skip
    if (reason := row.get("refused") or row.get("failed")) is not None:
        yield replace(base, holds=False if "failed" in row else None, found=" ".join(reason.split()))
        return
    if (deviation := row.get("deviation")) is not None:
        tolerance = row.get(
            "tolerance"
        )  # an export that went beyond it wrote nothing, so there would be no row
        yield replace(
            base, proof="maps", holds=True if tolerance is None else deviation <= tolerance,
            found=_maps(deviation, tolerance), deviation=deviation, tolerance=tolerance,
        )  # fmt: skip
    if (found := row.get("AP")) is not None:
        lost = row.get("lost", None if reference is None else 100 * (reference - found))
        how = f", {row['how']}" if row.get("how") else ""
        yield replace(
            base, proof="accuracy", ap=found, lost=lost,
            found=_accuracy(found, lost, facts.get("data", ""), row.get("images") or facts.get("images", 0)) + how,
        )  # fmt: skip
    if (ms := row.get("latency_ms")) is not None:
        yield replace(base, proof="latency", found=f"{ms:.1f} ms an image, inference", ms=ms)


def _maps(deviation: float, tolerance: float | None) -> str:
    return f"{deviation:.1e} from torch" + (f", {tolerance:g} allowed" if tolerance is not None else "")


def _accuracy(found: float, lost: float | None, data: str, images: int) -> str:
    points = f" ({lost:+.2f} points lost)" if lost is not None else ""
    return f"AP {found:.4f}{points} on {images} images of {data}"


def dated(proofs: Iterable[Proof], earlier: Iterable[Proof], results: Path) -> list[Proof]:
    """Proofs of records with a date.

    One that an earlier table has keeps its date; else it is that of the record's last commit, or of the file.
    """
    known = {replace(proof, when=""): proof.when for proof in earlier}
    dates: dict[str, str] = {}
    found = []
    for proof in proofs:
        if not proof.when:
            when = known.get(proof) or dates.setdefault(proof.record, _date(results / proof.record))
            proof = replace(proof, when=when)  # noqa: PLW2901 - the same proof, dated
        found.append(proof)
    return found


def _date(path: Path) -> str:
    words = ["git", "log", "-1", "--format=%cI", "--", path.name]
    try:
        asked = subprocess.run(words, cwd=path.parent, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        asked = None
    if asked is not None and asked.stdout.strip():
        return asked.stdout.strip()
    changed = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    return changed.isoformat(timespec="seconds")
