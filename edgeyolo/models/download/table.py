"""The published YOLOv7 checkpoints.

Names, addresses, licences, and what is known of the files.

They are data of their authors, which a user brings; nothing of them is part of edgeyolo.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeyolo.errors import UsageError

RELEASE = "https://github.com/WongKinYiu/yolov7/releases/download/v0.1/"
LICENCE = "GPL-3.0"
MIT_RELEASE = "https://github.com/MultimediaTechLab/YOLO/releases/download/v1.0-alpha/"


@dataclass(frozen=True)
class PublishedWeights:
    """One file of a release.

    It is a torch zip archive holding a pickled module or a state dict. `bytes` and `sha256` are None where no
    record of them is known; `certainty` says what the record rests on. `published_as` is the file's name in the
    release where it is not `<name>.pt`.
    """

    name: str
    bytes: int | None = None
    sha256: str | None = None
    certainty: str = "no record is known"
    release: str = RELEASE
    licence: str = LICENCE
    published_as: str = ""

    @property
    def file(self) -> str:
        """The file's name in the cache."""
        return f"{self.name}.pt"

    @property
    def remote(self) -> str:
        """The file's name in the release."""
        return self.published_as or self.file

    @property
    def url(self) -> str:
        """Address at which the authors publish the file."""
        return self.release + self.remote


# `_training` files hold the training form, to fine-tune from. There is none of yolov7-tiny.
PUBLISHED = (
    PublishedWeights(
        "yolov7-tiny",
        bytes=12_639_769,
        sha256="0fa1423606133c06362ec716029dade1169d5631e83195b75d8efa66d2ee0b77",
        certainty="a pointer in one repository and the hash stated in another agree",
    ),
    PublishedWeights(
        "yolov7",
        bytes=75_587_165,
        sha256="d1ac3c74eb96a3eec77949c0f37a06bc272756606ff011d9353f7abff4e0c71d",
        certainty="pointers in two independent repositories agree",
    ),
    PublishedWeights("yolov7x"),
    PublishedWeights("yolov7-w6"),
    PublishedWeights("yolov7-e6"),
    PublishedWeights("yolov7-d6"),
    PublishedWeights("yolov7-e6e"),
    PublishedWeights("yolov7_training"),
    PublishedWeights("yolov7x_training"),
    PublishedWeights("yolov7-w6_training"),
    PublishedWeights("yolov7-e6_training"),
    PublishedWeights("yolov7-d6_training"),
    PublishedWeights("yolov7-e6e_training"),
    PublishedWeights("yolov7-mit", release=MIT_RELEASE, licence="MIT", published_as="v7.pt"),
)


def is_published(name: str) -> bool:
    """Return True if `name` names published weights, with or without `.pt`."""
    return any(name in (weights.name, weights.file) for weights in PUBLISHED)


def published(name: str) -> PublishedWeights:
    """The entry of that name, with or without `.pt`.

    Raises UsageError with the names there are.
    """
    for weights in PUBLISHED:
        if name in (weights.name, weights.file):
            return weights
    names = ", ".join(weights.name for weights in PUBLISHED)
    raise UsageError(f"no published weights are called {name!r}", hint=f"There are {names}.")
