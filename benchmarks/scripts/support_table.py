"""The support table: proofs of each network on each target, how and when.

    python benchmarks/scripts/support_table.py [ARTIFACT_FOLDER...]

It is written from records alone: manifests of artifacts below the folders given, which hold what the gates of their
export measured, and what the scripts here and `edgeyolo bench` left in benchmarks/results. Rows of artifacts stay in
the table when their folders are gone. Writes benchmarks/results/support.json and .md, and the short form of the table
between the marks in README.md where they are.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import result_files
from support_sources import Proof, artifact_proofs, dated, record_proofs

from edgeyolo.backend import registry
from edgeyolo.cli.console import say
from edgeyolo.support.files import atomic_file
from edgeyolo_bench.render.markdown import table_lines

SCHEMA = "edgeyolo-support/1"
NAME = "support"
README = Path(__file__).parents[2] / "README.md"
MARKS = ("<!-- support-table -->", "<!-- /support-table -->")
COLUMNS = ("network", "target", "input", "proof", "found", "run by", "when", "record")


@dataclass(frozen=True)
class Summary:
    """One target in the short form.

    `maps` are networks whose raw maps lie within the target's tolerance of torch's, `judged` those with an AP, `lost`
    the least and the most of it lost, in points, `timed` networks with a latency of the target's own device.
    """

    target: str
    maps: tuple[str, ...]
    judged: tuple[str, ...]
    lost: tuple[float, float] | None
    timed: tuple[str, ...]
    run_by: tuple[str, ...]
    refused: tuple[str, ...]


def gather(results: Path, folders: Iterable[Path]) -> list[Proof]:
    """Every proof there is, sorted; those of artifacts seen earlier included."""
    earlier = load(results / f"{NAME}.json")
    found = [*record_proofs(results, but=NAME), *artifact_proofs(folders)]
    given = {(proof.artifact, proof.proof) for proof in found if proof.source == "artifact"}
    found += [
        proof
        for proof in earlier
        if proof.source == "artifact" and (proof.artifact, proof.proof) not in given
    ]
    order = {str(profile.target): number for number, (profile, _) in enumerate(registry.profiles())}
    found = dated(found, earlier, results)
    return sorted(
        dict.fromkeys(found),
        key=lambda each: (
            each.network,
            order.get(each.target, len(order)),
            each.proof,
            each.source,
            each.size,
        ),
    )


def load(path: Path) -> list[Proof]:
    """Proofs of a table that was written earlier; none where there is no file."""
    if not path.is_file():
        return []
    return [Proof(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def summaries(proofs: Sequence[Proof]) -> list[Summary]:
    """The short form: a line for each target of the registry."""
    return [_summary(str(profile.target), proofs) for profile, _ in registry.profiles()]


def _summary(target: str, proofs: Sequence[Proof]) -> Summary:
    mine = [proof for proof in proofs if proof.target == target]

    def networks(kind: str, *, holds: bool | None = None) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                each.network for each in mine if each.proof == kind and (holds is None or each.holds is holds)
            )
        )

    losses = [each.lost for each in mine if each.proof == "accuracy" and each.lost is not None]
    return Summary(
        target,
        networks("maps", holds=True),
        networks("accuracy"),
        (min(losses), max(losses)) if losses else None,
        networks("latency"),
        tuple(dict.fromkeys(each.by for each in mine if each.proof == "accuracy" and each.by)),
        tuple(dict.fromkeys((*networks("refused"), *networks("maps", holds=False)))),
    )


def short_lines(proofs: Sequence[Proof]) -> list[str]:
    """The short form in Markdown."""
    heads = (
        "target",
        "maps within tolerance of torch's",
        "AP measured",
        "AP lost, points",
        "run by",
        "timed",
        "refused",
    )
    rows = []
    for each in summaries(proofs):
        lost = each.lost
        rows.append(
            (
                f"`{each.target}`", _listed(each.maps), _listed(each.judged),
                f"{lost[0]:+.2f} to {lost[1]:+.2f}" if lost else "-", "; ".join(each.run_by) or "-",
                _listed(each.timed), _listed(each.refused),
            )
        )  # fmt: skip
    return table_lines(heads, rows)


def _listed(networks: Sequence[str]) -> str:
    """Up to three names, more of them as a number."""
    return ", ".join(networks) or "-" if len(networks) <= 2 else f"{len(networks)} networks"


def lines(proofs: Sequence[Proof]) -> list[str]:
    """The whole table in Markdown, the short form first."""
    rows = [
        (
            each.network, each.target, f"{each.size}" if each.size else "-", _spoken(each), each.found,
            each.by or "-", each.when[:10] or "-", each.record,
        )
        for each in proofs
    ]  # fmt: skip
    return [
        "# Support",
        "",
        "Written by `make support-table` from the manifests that the gates of exports left and from the records beside "
        "this file, never by hand. *maps*: the raw maps of the artifact lie within the target's tolerance of torch's. "
        "*AP*: on labelled images, by what `run by` says; a stand-in has the device's arithmetic, not its speed. "
        "*latency*: measured on the target's own kind of device.",
        "",
        *short_lines(proofs),
        "",
        "## Every proof",
        "",
        *table_lines(COLUMNS, rows),
    ]


def _spoken(proof: Proof) -> str:
    words = {"accuracy": "AP"}.get(proof.proof, proof.proof)
    return words if proof.holds is not False else f"{words}: not within its limit"


def plain(proofs: Sequence[Proof]) -> dict[str, Any]:
    """The table for machines."""
    return {"schema": SCHEMA, "rows": [asdict(proof) for proof in proofs]}


def into_readme(text: str, table: Sequence[str]) -> str:
    """README with the short form between its marks; unchanged where there are none."""
    begin, end = MARKS
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    return pattern.sub(lambda _: "\n".join([begin, "", *table, "", end]), text)


def main() -> None:
    """Gather, write and say how much was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, help="folders with artifacts, at any depth")
    options = parser.parse_args()
    proofs = gather(result_files.RESULTS, options.folders)
    result_files.write(NAME, plain(proofs), lines(proofs))
    text = README.read_text(encoding="utf-8")
    if (changed := into_readme(text, short_lines(proofs))) != text:
        with atomic_file(README) as draft:
            draft.write_text(changed, encoding="utf-8")
    pairs = {(each.network, each.target) for each in proofs}
    say(f"{len(proofs)} proofs of {len(pairs)} pairs of a network and a target in {NAME}.json and {NAME}.md")


if __name__ == "__main__":
    main()
