"""Read a data set of any of the formats; the path tells which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeyolo.datasets.coco import read_coco
from edgeyolo.datasets.values import Dataset, describe_problems
from edgeyolo.datasets.voc import is_voc, read_voc
from edgeyolo.datasets.yolo import read_yolo
from edgeyolo.errors import DatasetError, MissingDatasetError
from edgeyolo.support.folders import is_hidden
from edgeyolo.support.reading import is_regular

_HINT = "Give a COCO json file, a YOLO data.yaml, or a VOC folder (Annotations, JPEGImages, ImageSets/Main)."
DATA_YAML = ("data.yaml", "data.yml")


def load_dataset(
    path: str | Path,
    split: str | None = None,
    *,
    image_folder: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    polygons: bool = False,
    need_images: bool = True,
    need_objects: bool = True,
) -> Dataset:
    """Read a data set in COCO json, YOLO or Pascal VOC form.

    `path` is an annotation file (.json), a data.yaml, or a folder that holds a data.yaml, VOC's folders or
    COCO's json files. `split` picks one of several; by default the first of val, test, train that exists. A
    COCO file is one split by itself, and none other can be asked for. `image_folder` is where a COCO file's images
    are when not beside it. `class_names` fixes the class order of VOC folders, which have none. `polygons` keeps
    objects' outlines. `need_images=False` reads the annotations alone. `need_objects=False` takes images of which it
    is said that nothing is on them: a part to validate on may be of those.

    Labels that cannot be used are left out and listed in `problems`. Raises DatasetError where none is left, and
    MissingDatasetError where there is no such split, or `image_folder` is given for what is no COCO file.
    """
    source = Path(path)
    if not source.exists():
        raise MissingDatasetError(f"{source}: there is no such file or folder", hint=_HINT)
    if source.is_dir():
        source = _entrance(source, split)
    elif source.suffix.lower() == ".json":
        require_its_split(source, split)
    if image_folder is not None and source.suffix.lower() != ".json":
        raise MissingDatasetError(
            f"{source}: {image_folder} was given for its images; only a COCO json has them elsewhere",
            hint="Leave out the image folder: data.yaml and VOC folders say themselves where images are.",
        )
    if source.is_dir():
        dataset = read_voc(source, split, class_names=class_names, need_images=need_images)
    elif source.suffix.lower() in (".yaml", ".yml"):
        dataset = read_yolo(source, split, polygons=polygons, need_images=need_images)
    elif source.suffix.lower() == ".json":
        folder = Path(image_folder) if image_folder is not None else None
        dataset = read_coco(source, image_folder=folder, polygons=polygons, need_images=need_images)
    else:
        raise DatasetError(
            f"{source}: a data set is not read from {source.suffix or 'such'} files", hint=_HINT
        )
    if dataset.objects == 0 and (need_objects or not _is_empty_on_purpose(dataset)):
        found = "; ".join(describe_problems(dataset.problems)) or "the labels are empty"
        raise DatasetError(f"{source}: none of its {len(dataset)} images has a usable label: {found}")
    return dataset


def require_its_split(file: Path, split: str | None) -> None:
    """Raise MissingDatasetError where another split than a json file's is asked for.

    It holds one, which its own name or that of its folder may tell.
    """
    if split is not None and split not in file.stem and split != file.parent.name:
        raise MissingDatasetError(
            f"{file}: no split {split!r}: a COCO json file is one split by itself, expected the file of that split",
            hint="Leave out the split, or give that file, or the folder of all of them.",
        )


def _is_empty_on_purpose(dataset: Dataset) -> bool:
    """True where no label was lost, and an image has an (empty) label file."""
    missing = sum(problem.kind == "missing label file" for problem in dataset.problems)
    lost = {"malformed label", "degenerate box", "box outside the image", "value not finite", "unknown class"}
    return missing < len(dataset) and not lost & {problem.kind for problem in dataset.problems}


def _entrance(folder: Path, split: str | None) -> Path:
    """The file to read in a folder, or the folder itself where it is VOC's."""
    if all((folder / part).is_dir() for part in ("Annotations", "JPEGImages")):
        return folder
    if yamls := [file for name in DATA_YAML if is_regular(file := folder / name)]:
        return yamls[0]
    if is_voc(folder):
        return folder
    jsons = [
        file
        for place in (folder / (split or "val"), folder / "annotations", folder)
        for file in sorted(place.glob("*.json"))
        if not is_hidden(file.name)
        if split is None or split in file.stem or split == file.parent.name
    ]
    jsons = [file for file in jsons if file.stem.startswith("instances_")] or jsons
    if len(jsons) == 1:
        return jsons[0]
    if jsons:
        raise DatasetError(
            f"{folder}: several json files could be meant: {', '.join(file.name for file in jsons)}",
            hint="Name the one to read.",
        )
    raise MissingDatasetError(f"{folder}: no data set found in this folder", hint=_HINT)
