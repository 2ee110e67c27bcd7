"""Data sets: images with ground-truth boxes.

They are read from COCO json, YOLO `data.yaml` or Pascal VOC folders.

`load_dataset` tells the three apart by itself; training, evaluation and calibration all read through it.
"""

from edgeyolo.datasets.classes import align_classes
from edgeyolo.datasets.load import load_dataset
from edgeyolo.datasets.values import Dataset, Problem, Sample, describe_problems

__all__ = ["Dataset", "Problem", "Sample", "align_classes", "describe_problems", "load_dataset"]
