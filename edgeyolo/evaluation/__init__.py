"""Evaluation of detectors.

The COCO numbers, precision and recall curves, the confusion matrix.

`validate` runs a detector over a data set; `coco_ap` and `measure_curves` judge detections that exist
already.
"""

from edgeyolo.evaluation.ap import METRIC_NAMES, ApResult, ClassAp, coco_ap
from edgeyolo.evaluation.curves import Confusion, Curves, count_confusion, measure_curves
from edgeyolo.evaluation.predictions import Predictions, read_predictions, write_predictions

__all__ = [
    "METRIC_NAMES",
    "ApResult",
    "ClassAp",
    "Confusion",
    "Curves",
    "Predictions",
    "coco_ap",
    "count_confusion",
    "measure_curves",
    "read_predictions",
    "write_predictions",
]
