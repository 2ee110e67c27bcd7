"""Options of a runtime's own quantizer, and the judge of its results.

It may ask the judge while it works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeyolo.artifact.contracts import InputContract, RawMaps
from edgeyolo.backend.interface import Session
from edgeyolo.backend.quantizer_options import QuantizerOptions
from edgeyolo.datasets import Dataset
from edgeyolo.errors import UsageError
from edgeyolo.runtime.pipeline import Pipeline


@dataclass(frozen=True)
class ApJudge:
    """AP of a session on labelled images; `allowed` AP points may be lost."""

    output: RawMaps
    class_names: tuple[str, ...]
    data: Dataset
    allowed: float

    def __len__(self) -> int:
        return len(self.data)

    def image(self, index: int) -> Path:
        """The file of one labelled image."""
        return self.data.images[index].path

    def __call__(self, session: Session, contract: InputContract, images: Sequence[int]) -> float:
        """COCO's AP (a fraction of 1) on the images with these indices.

        0 where they show nothing.
        """
        from edgeyolo.evaluation.validate import validate

        part = replace(self.data, images=tuple(self.data.images[i] for i in images))
        pipeline = Pipeline(session, contract, self.output, self.class_names)
        return float(validate(pipeline, part).metrics["AP"] or 0.0)


def judge_for(
    asked: QuantizerOptions,
    output: RawMaps,
    class_names: tuple[str, ...],
    data: Dataset | None,
    allowed: float,
) -> ApJudge | None:
    """The judge that `asked` needs, None where it needs none.

    Raises UsageError where there is nothing to judge by.
    """
    if not asked.accuracy_aware:
        return None
    if data is None:
        raise UsageError("a quantizer can only be aware of AP that it can measure", hint="Add --data DATA.")
    return ApJudge(output, class_names, data, allowed)
