"""The data of a run.

It settles the files to learn from and those to be judged on, and how a resumed run finds them again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgeyolo.datasets import Dataset, align_classes, load_dataset
from edgeyolo.datasets.load import DATA_YAML
from edgeyolo.datasets.voc import is_voc
from edgeyolo.errors import DamagedFileError, DatasetError, UsageError
from edgeyolo.support.files import atomic_file
from edgeyolo.training.config import TrainConfig
from edgeyolo.training.loop.listener import Listener
from edgeyolo.training.loop.schedule import Schedule
from edgeyolo.training.loop.state import Position

FILE = "data.json"


@dataclass(frozen=True)
class Data:
    """Data that `DataSource.load` found.

    `notes` are sentences on the choice of validation images.
    """

    training: Dataset
    validation: Dataset | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSource:
    """Places of the data.

    Paths and splits are as in `load_dataset`.

    val_path: by default `path`. val_split: by default val, else test. image_folder, val_image_folder: where
    the images of a COCO json are, if not beside it. validate: False learns without validation.
    """

    path: str
    split: str | None = "train"
    val_path: str | None = None
    val_split: str | None = None
    image_folder: str | None = None
    val_image_folder: str | None = None
    validate: bool = True

    def load(self) -> Data:
        """Read both parts.

        DatasetError where one cannot be read or their classes contradict each other.
        """
        split = None if self.split == "train" and _is_json(self.path) else self.split  # one split by itself
        training = load_dataset(self.path, split, image_folder=self.image_folder, polygons=True)
        if not self.validate:
            return Data(training, None)
        if self.val_path is None and _is_json(self.path):
            advice = "no validation data: a json file holds one split. --val-data names another"
            return Data(training, None, (advice,))
        validation = load_dataset(
            self.val_path or self.path,
            self._validation_split(),
            image_folder=self.val_image_folder,
            class_names=training.class_names if self.val_path is None else None,
            need_objects=False,
        )
        try:
            validation = align_classes(validation, training.class_names)
        except DatasetError as error:
            raise DatasetError(
                f"the validation data does not have the classes of the training data: {error.message}",
                hint=f"Training classes: {', '.join(training.class_names)}.",
            ) from error
        if validation.objects == 0:
            what = f"none of the {len(validation)} validation images has an object"
            return Data(training, None, (f"no AP: {what}; the last weights count as the best",))
        return Data(training, validation, _overlap(training, validation))

    def absolute(self) -> DataSource:
        """The same with absolute paths."""
        paths = ("path", "val_path", "image_folder", "val_image_folder")
        made: dict[str, Any] = {
            key: str(Path(path).absolute()) for key in paths if (path := getattr(self, key)) is not None
        }
        return replace(self, **made)

    def save(self, folder: Path) -> None:
        """Write it into the folder of a run, with absolute paths."""
        with atomic_file(folder / FILE) as draft:
            draft.write_text(json.dumps(asdict(self.absolute()), indent=2))

    @classmethod
    def read(cls, folder: Path) -> DataSource:
        """The source of the run in `folder`."""
        file = folder / FILE
        try:
            values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return cls(**values)
        except FileNotFoundError as error:
            raise UsageError(
                f"{folder} does not say what data its run learns from: no {FILE}",
                hint="Name the folder of a run that `edgeyolo train` made, or start a new one.",
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise DamagedFileError(f"{file}: expected what `edgeyolo train` wrote there: {error}") from error

    def _validation_split(self) -> str | None:
        """Name of the validation split.

        A folder of COCO json files needs a name; the other formats know what comes first.
        """
        folder = Path(self.val_path or self.path)
        named = folder.is_file() or (folder.is_dir() and is_voc(folder))
        named = named or any((folder / name).is_file() for name in DATA_YAML)
        return self.val_split or (None if named or self.val_path else "val")


class SourceListener(Listener):
    """Writes a run's source into its folder when the run begins."""

    def __init__(self, folder: Path, source: DataSource) -> None:
        self.folder, self.source = folder, source

    def start(self, config: TrainConfig, schedule: Schedule, position: Position) -> None:
        self.source.save(self.folder)


def _is_json(path: str) -> bool:
    """Tell a single COCO file, which is one split, by its name."""
    return Path(path).suffix.lower() == ".json"


def _overlap(training: Dataset, validation: Dataset) -> tuple[str, ...]:
    """A warning where images are both learned from and judged on."""
    known = {sample.path.resolve() for sample in training.images}
    shared = sum(sample.path.resolve() in known for sample in validation.images)
    if not shared:
        return ()
    return (f"{shared} of the {len(validation)} validation images are training images: AP is too good there",)
