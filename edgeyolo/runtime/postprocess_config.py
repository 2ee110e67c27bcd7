"""Thresholds of detections.

The three usual sets of them, and what an artifact leaves to choose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgeyolo.artifact.contracts import GraphDetections, OutputContract
from edgeyolo.errors import UsageError


@dataclass(frozen=True)
class PostprocessConfig:
    """Thresholds that settle what becomes a detection.

    Attributes:
        conf: a detection's confidence must be above this (0..1).
        iou: of two boxes of a class that overlap by more than this, the weaker one goes (0..1).
        max_det: at most this many detections per image, the best ones.
        multi_label: a box gives one detection for every class above `conf`; otherwise its best class only.
        agnostic: boxes suppress each other across classes.
        classes: keep detections of these class ids only; None keeps all. A box whose best class is not among
            them goes, even if its second best is (unless `multi_label`).
        max_candidates: at most this many candidates, the best ones, enter the suppression.
        class_conf: by class id, the confidence that a class must be above besides `conf`; None for no more than that.
    """

    conf: float = 0.25
    iou: float = 0.45
    max_det: int = 300
    multi_label: bool = False
    agnostic: bool = False
    classes: tuple[int, ...] | None = None
    max_candidates: int = 30_000
    class_conf: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        shares = [
            ("conf", self.conf),
            ("iou", self.iou),
            *(("class_conf", each) for each in self.class_conf or ()),
        ]
        for name, value in shares:
            if not isinstance(value, (int, float, np.number)) or not 0 <= value <= 1:  # refuses NaN too
                raise UsageError(f"{name}={value!r}: expected a number from 0 to 1")
        for name in ("max_det", "max_candidates"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise UsageError(f"{name}={value!r}: expected a whole number from 1")
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(sorted({int(index) for index in self.classes})))


DISPLAY = PostprocessConfig()
"""Thresholds for people: confidence 0.25, IoU 0.45, the best class of each box."""

EVALUATION = PostprocessConfig(conf=0.001, iou=0.65, multi_label=True)
"""The protocol behind the paper's AP: confidence 0.001, IoU 0.65, every class, at most 300 detections."""

TRACKING = PostprocessConfig(conf=0.1)
"""For trackers that use weak detections in a second round (ByteTrack): DISPLAY with scores down to 0.1."""


def settle(
    output: OutputContract,
    base: PostprocessConfig = DISPLAY,
    *,
    conf: float | None = None,
    iou: float | None = None,
    max_det: int | None = None,
    multi_label: bool | None = None,
    agnostic: bool = False,
    class_conf: tuple[float, ...] | None = None,
) -> PostprocessConfig:
    """The thresholds for an artifact.

    They are those asked for, and otherwise `base`, or the artifact's own where it suppresses in its graph.
    `class_conf` is the network's own default by class id, for where no `conf` is asked for.

    Raises UsageError where a graph that suppresses cannot give what was asked for; `conf` may be raised and `max_det`
    lowered.
    """
    if isinstance(output, GraphDetections):
        base = replace(base, conf=output.conf, iou=output.iou, max_det=output.max_det, multi_label=False)
    if conf is None and class_conf:
        least = output.conf if isinstance(output, GraphDetections) else 0.0
        base = replace(base, conf=max(min(class_conf), least), class_conf=class_conf)
    given = {"conf": conf, "iou": iou, "max_det": max_det, "multi_label": multi_label, "agnostic": agnostic}
    config = replace(base, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    require_possible(config, output)
    return config


def require_possible(config: PostprocessConfig, output: OutputContract) -> None:
    """Raise UsageError where suppression in the graph cannot follow `config`.

    It was suppressed by thresholds settled when the artifact was made; see `output`.
    """
    if not isinstance(output, GraphDetections):
        return
    wrong = [
        *([f"conf={config.conf:g} where {output.conf:g} is the least"] if config.conf < output.conf else []),
        *([f"iou={config.iou:g} where it is {output.iou:g}"] if config.iou != output.iou else []),
        *(
            [f"max_det={config.max_det} where {output.max_det} is the most"]
            if config.max_det > output.max_det
            else []
        ),
        *(["several classes a box"] if config.multi_label else []),
        *(["suppression across classes"] if config.agnostic else []),
    ]
    if wrong:
        raise UsageError(
            f"this artifact suppresses in its graph, by thresholds settled at export; asked for: {', '.join(wrong)}",
            hint="Leave these out, or export again: --nms graph with other --conf, --iou, --max-det, or --nms host.",
        )
