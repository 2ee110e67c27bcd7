"""Inputs of the fuzz job.

For each kind there is a good one, a way to damage it, and what reads it. Every input follows from its kind and its
seed alone.
"""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeyolo.datasets import load_dataset
from edgeyolo.datasets.scenes import make_scene
from edgeyolo.runtime.images import read_image

Damage = Callable[[bytes, random.Random], bytes]

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 1e308, float("nan"), float("inf"), 2**31, 2**53 + 1, 2**70, 10**400),
    *("", "0", "1", "no", "x" * 5000, "\ud800", "\0", "../../x", "1e999", [], {}, [[]], {"": None}),
)
_TOKENS = (
    *(
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"nan",
        b"1e999",
        b"-1",
        b"9" * 400,
        b"[" * 300,
        b"{" * 300,
        b"&a *a ",
        b"!!set ",
    ),
    *(
        b"\r",
        b"\n\n",
        b" ",
        b"\t",
        b"<a>",
        b"</annotation>",
        b"&lol;",
        b"\xed\xa0\x80",
        b"\xff\xd9",
        b"'",
        b'"',
        b": ",
        b"%",
    ),
)
_YAML = (
    b"path: .\ntrain: &t images\nval: [images, list.txt, 'images/*.png']\nnc: 3\n"
    b"names: {0: cat, 1: dog, '2': bird}\nx: *t\n"
)
_RECIPE = b"base: tiny\nlr0: 0.01\nbox: 0.02\nmosaic: 1.0\nloss_ota: 0\nname: mine\nplain_epochs: 2\n"
_LABELS = b"0 0.5 0.5 0.25 0.5\n1 0.9 0.9 0.1 0.1\n2 0.25 0.5 0.5 0.25 0.75 0.75\n"
_XML = (
    b'<?xml version="1.0" encoding="UTF-8"?><annotation><filename>a.png</filename><size><width>80</width><height>60'
    b"</height></size><object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30"
    b"</xmax><ymax>40</ymax></bndbox></object></annotation>"
)


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    `good` bytes, `damage` to them, and `read`, which takes them or raises.
    """

    good: bytes
    damage: Damage
    read: Callable[[bytes], object]


def flip(data: bytes, rng: random.Random) -> bytes:
    """Damage bytes up to five times: bits, cuts, repeats, tokens, other parts."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        at = rng.randrange(len(changed) + 1)
        length = rng.choice((1, 1, 2, 4, 16, 200))
        way = rng.randrange(7)
        if way == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif way == 1 and at < len(changed):
            changed[at : at + length] = rng.randbytes(min(length, len(changed) - at))
        elif way == 2:
            del changed[at : at + length]
        elif way == 3:
            changed[at:at] = changed[at : at + length] * rng.choice((1, 2, 50))
        elif way == 4:
            changed[at:at] = rng.choice(_TOKENS)
        elif way == 5:
            changed = changed[:at]
        else:
            other = rng.randrange(len(changed) + 1)
            changed[at:at] = changed[other : other + length]
    return bytes(changed)


def flip_png(data: bytes, rng: random.Random) -> bytes:
    """Damage a PNG; in half of the cases its checksums are made to fit."""
    changed = flip(data, rng)
    if rng.random() < 0.5:
        return changed
    made, at = changed[:8], 8
    while at + 12 <= len(changed):
        length = min(int.from_bytes(changed[at : at + 4], "big"), len(changed) - at - 12)
        body = changed[at + 4 : at + 8 + length]
        made += changed[at : at + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        at += 12 + length
    return made


def flip_zip(data: bytes, rng: random.Random) -> bytes:
    """Damage a zip archive, or a file in an archive that is whole."""
    if rng.random() < 0.5:
        return flip(data, rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as good, zipfile.ZipFile(stream, "w") as made:
        names = good.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = good.read(name)
            made.writestr(name, flip(content, rng) if name == chosen else content)
    return stream.getvalue()


def change_json(data: bytes, rng: random.Random) -> bytes:
    """Damage values and keys of JSON; in one of five cases its bytes."""
    if rng.random() < 0.2:
        return flip(data, rng)
    value = copy.deepcopy(json.loads(data))
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change_somewhere(value, rng)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _change_somewhere(value: Any, rng: random.Random) -> None:
    here = value
    for _ in range(rng.randrange(1, 8)):
        keys = list(here) if isinstance(here, dict) else range(len(here))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(here[key], dict | list) and here[key] and rng.random() < 0.8:
            here = here[key]
            continue
        way = rng.randrange(5)
        if way == 0:
            del here[key]
        elif way == 1 and isinstance(here, dict):
            here[str(rng.choice(_VALUES))] = here.pop(key)
        elif way == 2 and isinstance(here[key], int | float):
            here[key] = here[key] * rng.choice((-1, 0, 2, 1000, 1e18)) + rng.choice((0, 1, 0.5))
        else:
            here[key] = copy.deepcopy(rng.choice(_VALUES))
        return


def data_kinds(folder: Path) -> dict[str, Kind]:
    """Kinds of data sets, recipes and images; files lie in `folder`."""
    kinds = {"coco": _coco(folder / "coco"), **_yolo(folder / "yolo"), "voc": _voc(folder / "voc")}
    kinds["recipe"] = Kind(_RECIPE, flip, lambda data: _recipe(folder / "recipe.yaml", data))
    picture = make_scene(3, (48, 64)).image
    for suffix in (".jpg", ".png", ".webp", ".bmp", ".tiff"):
        good = cv2.imencode(suffix, picture)[1].tobytes()
        kinds[f"image {suffix[1:]}"] = Kind(good, flip_png if suffix == ".png" else flip, read_image)
    kinds["image gif"] = Kind(_gif(picture), flip, read_image)
    return kinds


def _gif(picture: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture[..., ::-1]).save(stream, "GIF")
    return stream.getvalue()


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((60, 80, 3), np.uint8))


def _use(path: Path, split: str | None = None) -> None:
    """Read a data set and ask for everything in it."""
    dataset = load_dataset(path, split, polygons=True, need_objects=False)
    for sample in dataset.images:
        _ = sample.boxes, sample.area, sample.polygons, sample.file_id


def _coco(folder: Path) -> Kind:
    for name in ("a", "b"):
        _picture(folder / f"{name}.png")
    boxes = [
        {"id": i, "image_id": 1 + i % 2, "category_id": 7, "bbox": [1 + i, 2, 30, 20], "area": 600.0, "iscrowd": 0,
         "segmentation": [[1, 1, 5, 1, 5, 5]]}
        for i in range(4)
    ]  # fmt: skip
    images = [
        {"id": i, "file_name": f"{name}.png", "width": 80, "height": 60} for i, name in ((1, "a"), (2, "b"))
    ]
    good = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    file = folder / "val.json"

    def read(data: bytes) -> None:
        file.write_bytes(data)
        _use(file)

    return Kind(json.dumps(good).encode(), change_json, read)


def _yolo(folder: Path) -> dict[str, Kind]:
    for name in ("a", "b"):
        _picture(folder / "images" / f"{name}.png")
    label, config, listed = folder / "labels" / "a.txt", folder / "data.yaml", folder / "list.txt"
    label.parent.mkdir()
    lines = b"images/a.png\n./images/b.png\n"

    def reader(file: Path) -> Callable[[bytes], None]:
        def read(data: bytes) -> None:
            for path, good in ((label, _LABELS), (config, _YAML), (listed, lines)):
                path.write_bytes(data if path == file else good)
            _use(config)

        return read

    return {
        "yolo labels": Kind(_LABELS, flip, reader(label)),
        "yolo yaml": Kind(_YAML, flip, reader(config)),
        "yolo list": Kind(lines, flip, reader(listed)),
    }


def _voc(folder: Path) -> Kind:
    _picture(folder / "JPEGImages" / "a.png")
    (folder / "Annotations").mkdir()

    def read(data: bytes) -> None:
        (folder / "Annotations" / "a.xml").write_bytes(data)
        _use(folder)

    return Kind(_XML, flip, read)


def _recipe(file: Path, data: bytes) -> None:
    from edgeyolo.training.recipe import read_recipe

    file.write_bytes(data)
    read_recipe(file)


def model_kinds(folder: Path) -> dict[str, Kind]:
    """Kinds of artifacts, states, weights and checkpoints; files lie in `folder`."""
    return {
        **_artifact(folder / "artifact"),
        "training state": _state(folder / "state.safetensors"),
        **_weights(folder),
    }


def _artifact(folder: Path) -> dict[str, Kind]:
    """Manifest and golden vectors of the model that comes with the package.

    The vectors lie under a manifest that has their hash.
    """
    import shutil

    from edgeyolo import Detector
    from edgeyolo.artifact.artifact import MANIFEST, Artifact
    from edgeyolo.detector import builtin
    from edgeyolo.runtime.verify import verify

    source = builtin.artifact_path()
    shutil.copytree(source, folder)
    manifest, golden = (source / MANIFEST).read_bytes(), (source / "golden.npz").read_bytes()
    picture = make_scene(3, (48, 64)).image

    def read_manifest(data: bytes) -> None:
        (folder / "golden.npz").write_bytes(golden)
        (folder / MANIFEST).write_bytes(data)
        with Detector(folder) as detector:
            detector(picture)

    def read_golden(data: bytes) -> None:
        (folder / MANIFEST).write_bytes(manifest)
        (folder / "golden.npz").write_bytes(data)
        Artifact.seal(folder, Artifact(folder, _manifest(manifest)).manifest)
        verify(folder)

    return {
        "manifest": Kind(manifest, change_json, read_manifest),
        "golden vectors": Kind(golden, flip_zip, read_golden),
    }


def _manifest(data: bytes) -> Any:
    from edgeyolo.artifact.manifest import Manifest

    return Manifest.from_json(data.decode())


def _head(data: bytes, rng: random.Random) -> bytes:
    """Damage the header of a safetensors file more often than its tensors."""
    length = 8 + int.from_bytes(data[:8], "little")
    if rng.random() < 0.2:
        return flip(data, rng)
    if rng.random() < 0.5:
        return flip(data[:length], rng) + data[length:]
    header = change_json(data[8:length], rng)
    return len(header).to_bytes(8, "little") + header + data[length:]


def _state(file: Path) -> Kind:
    import torch

    from edgeyolo.training.loop.state import Parts, Position, read_facts, restore_state, save_state

    def parts() -> Parts:
        torch.manual_seed(0)
        network, ema = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        network(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        return Parts(network, ema, optimizer, torch.nn.Module(), torch.amp.GradScaler("cpu", enabled=False))

    save_state(file, parts(), Position(epoch=1, history=[{"epoch": 0, "AP": 0.5}]), {"data": "x"})

    def read(data: bytes) -> None:
        file.write_bytes(data)
        read_facts(file)
        restore_state(file, parts())

    return Kind(file.read_bytes(), _head, read)


def _weights(folder: Path) -> dict[str, Kind]:
    import torch

    from edgeyolo.models.build import build
    from edgeyolo.models.importer import import_checkpoint
    from edgeyolo.models.scaling import scale_width
    from edgeyolo.models.specs import get
    from edgeyolo.models.weights import load, save

    own, foreign = folder / "own.safetensors", folder / "foreign.pt"
    network = build(scale_width(get("yolov7-tiny"), 0.125), classes=3, form="training")
    save(own, network, ("cat", "dog", "bird"), {"source": "fuzz"})
    small = {name: value.clone() for name, value in list(network.state_dict().items())[:12]}
    torch.save({"epoch": 1, "model": small, "names": ["a", "b"], "best": 0.5}, foreign)

    def read_own(data: bytes) -> None:
        own.write_bytes(data)
        load(own)

    def read_foreign(data: bytes) -> None:
        foreign.write_bytes(data)
        import_checkpoint(foreign)

    return {
        "weights": Kind(own.read_bytes(), _head, read_own),
        "checkpoint": Kind(foreign.read_bytes(), flip_zip, read_foreign),
    }
