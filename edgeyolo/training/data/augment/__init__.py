"""Augmentation: mosaics, warps, mixing, colour.

Pictures in, pictures out; all chance from an explicit Generator.
"""

from edgeyolo.training.data.augment.hook import albumentations_hook, load_albumentations
from edgeyolo.training.data.augment.picture import Picture
from edgeyolo.training.data.augment.pipeline import Augmenter

__all__ = ["Augmenter", "Picture", "albumentations_hook", "load_albumentations"]
