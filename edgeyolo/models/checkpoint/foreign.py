"""Files of other projects and tools, recognised by the names in them.

The reader refuses whatever is off its list; most of what it refuses is no attack but a neighbour's network.
A neighbour is named only where *everything* that its pickle refers to is the neighbour's: one other name, and
the file is refused as untrusted. Nothing is run to find this out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeyolo.errors import FileRefusedError, ForeignFileError
from edgeyolo.models.checkpoint.allowlist import allowed_names
from edgeyolo.models.checkpoint.archive import Archive
from edgeyolo.models.checkpoint.constructors import Callee
from edgeyolo.models.checkpoint.limits import Limits
from edgeyolo.models.checkpoint.machine import PickleMachine
from edgeyolo.models.checkpoint.records import ForeignRecord
from edgeyolo.models.checkpoint.tensors import TensorReader

_EXPORT = (
    "Where you trust the file: export it to ONNX with its own project's tool, then "
    "`edgeyolo adopt model.onnx --template` says how to run that here."
)
_ADOPT = "`edgeyolo adopt FILE --template` says how to run it here."
_CONVERT = (
    "Convert it with its own project's tool: to ONNX for `edgeyolo adopt`, or to a state dict of a network "
    "that `edgeyolo models` lists."
)


_ONNX_FIELDS = [[field << 3 | 2] for field in (2, 3, 4, 7, 8)]  # its tags: number and wire type


@dataclass(frozen=True)
class _Neighbour:
    """A project, by patterns of its files.

    `names` and `also` (both, where there are two) are found among the names of its pickles, `keys` among those of its
    state dicts.
    """

    project: str
    names: str = ""
    also: str = ""
    keys: str = ""
    hint: str = _EXPORT


_V7_PARTS = r"models\.(common\.(MP|SP|SPPCSPC|ReOrg|DownC|RepConv|ImplicitA|ImplicitM)|yolo\.I\w+)$"
_V5_PARTS = (
    r"models\.(common\.(C3\w*|SPPF|Focus|BottleneckCSP|DetectMultiBackend)|yolo\.(\w+Model|I?Segment))$"
)
_NEIGHBOURS = (
    _Neighbour("YOLOv7-pose (key points)", names=r"models\.yolo\.IKeypoint$", keys=r"\.m_kpt\."),
    _Neighbour("YOLOv7-mask (instance masks)", names=r"models\.yolo\.I?MT$|detectron2\.", also=r"models\."),
    _Neighbour("YOLOv7's u6 branch (anchor-free)", names=r"models\.yolo\.I?V6\w+$"),
    _Neighbour(
        "YOLOv9", names=r"models\.(common\.(RepNCSPELAN4|SPPELAN|ADown|Silence)|yolo\.(Dual|Triple)?D+etect)$"
    ),
    _Neighbour("YOLOv7's u5 or u7 branch", names=_V5_PARTS, also=_V7_PARTS),
    _Neighbour("YOLOv5", names=_V5_PARTS),
    _Neighbour("YOLOX", names=r"yolox\.", keys=r"(^|\.)(backbone\.dark\d|head\.cls_preds)\."),
    _Neighbour("YOLOv6", names=r"yolov6\.", keys=r"^(module\.)?backbone\.ERBlock_\d"),
    _Neighbour("YOLO-NAS (super-gradients)", names=r"super_gradients\."),
    _Neighbour("ultralytics (YOLOv8 or later)", names=r"ultralytics\.", keys=r"\.dfl\.conv\.weight$"),
    _Neighbour("MMDetection or MMYOLO", names=r"mm(det|yolo|engine|cv)\.", keys=r"(^|\.)bbox_head\."),
    _Neighbour(
        "YOLOR or another darknet-style PyTorch project (YOLOv3, Scaled-YOLOv4)",
        names=r"(mish_cuda|models\.models|utils\.layers)\.",
        keys=r"(^|\.)module_list\.\d+\.",
        hint=_CONVERT,
    ),
    _Neighbour(
        "YOLOR", names=r"models\.common\.(BottleneckCSPF|BottleneckCSP2|VoVCSP|SPPCSP\w*)$", hint=_CONVERT
    ),
    _Neighbour(
        "YOLOv7's code, with layers that no published network has",
        names=r"models\.(common|experimental)\.",
        also=r"models\.yolo\.Model$",
    ),
    _Neighbour("YOLOv5 or another project with CSP bottlenecks", keys=r"\.m\.\d+\.cv1\.conv\.weight$"),
)
# A class (an upper-case letter in its name) of a neighbour's or of torch's layers; never a plain function.
_ORDINARY = re.compile(
    r"(?:(?:models|utils|yolox|yolov6|super_gradients|ultralytics|detectron2|mmdet|mmyolo|mmengine|mmcv)\.(?:\w+\.)*"
    r"|mish_cuda\.|torch\.nn\.modules\.\w+\.|collections\.|omegaconf\.(?:\w+\.)*)"
    r"(?=\w*[A-Z])[A-Za-z]\w*",
    re.ASCII,
)


def foreign_pickle(archive: Archive, pickled: bytes, limits: Limits) -> ForeignFileError | None:
    """Name the project of a refused checkpoint.

    None where it names anything that is not a neighbour's.
    """
    tensors = TensorReader(archive, limits)
    names = _Survey(allowed_names(tensors.rebuild))
    try:
        PickleMachine(names, tensors.storage, str(archive.path), limits).run(pickled)
    except FileRefusedError:  # it asks for more than names
        return None
    if not all(_ORDINARY.fullmatch(name) for name in names.unlisted):
        return None
    for neighbour in _NEIGHBOURS:
        found = _first(neighbour.names, names.unlisted) if neighbour.names else ""
        if found and _first(neighbour.also, names.seen):
            return ForeignFileError(
                f"{archive.path}: a checkpoint of {neighbour.project}, told by {found}; "
                "only networks that `edgeyolo models` lists are read, and nothing of it was run",
                hint=neighbour.hint,
            )
    return None


def foreign_keys(path: Path, keys: Iterable[str]) -> ForeignFileError | None:
    """Name the project of a state dict that is no network of the family.

    None where its keys do not tell.
    """
    keys = list(keys)
    for neighbour in _NEIGHBOURS:
        found = _first(neighbour.keys, keys) if neighbour.keys else ""
        if found:
            return ForeignFileError(
                f"{path}: a state dict of {neighbour.project}, told by its entry {found!r:.80}; "
                "only networks that `edgeyolo models` lists are read",
                hint=neighbour.hint,
            )
    return None


def foreign_file(path: Path, head: bytes, size: int) -> ForeignFileError | None:
    """Name the kind of a file that is no checkpoint, by its first 32 bytes.

    None where it is unknown.
    """
    kind, hint = _file_kind(path.suffix.lower(), head, size)
    if not kind:
        return None
    return ForeignFileError(f"{path}: {kind}, expected a checkpoint", hint=hint.replace("FILE", str(path)))


def _file_kind(suffix: str, head: bytes, size: int) -> tuple[str, str]:
    """The kind of a file and a hint.

    ONNX is a protobuf message: field 1 (a small version), then one with a length. Darknet weights start with a
    version (0.1 or 0.2), a revision and the count of images seen.
    """
    major, minor, revision = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4, 8))
    onnx = head[:1] == b"\x08" and b"\x01" <= head[1:2] <= b"\x14" and head[2:3] in map(bytes, _ONNX_FIELDS)
    darknet = len(head) >= 20 and major == 0 and minor in (1, 2) and revision <= 5 and size % 4 == 0
    kinds = (
        (onnx, "an ONNX model", _ADOPT),
        (head[4:8] == b"TFL3", "a TFLite model", _ADOPT),
        (suffix == ".xml", "an OpenVINO model", _ADOPT),
        (suffix in (".engine", ".plan"), "a TensorRT engine", _ADOPT),
        (head.startswith(b"\x89HDF"), "a Keras (HDF5) model", _CONVERT),
        (darknet, "darknet weights (numbers only; their .cfg file says of which network)", _CONVERT),
    )
    return next(((kind, hint) for fits, kind, hint in kinds if fits), ("", ""))


class _Survey(dict[tuple[str, str], Any]):
    """The allow-list with every other name added as an inert value.

    It keeps account of what was asked for.
    """

    def __init__(self, names: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(names)
        self.seen: set[str] = set()
        self.unlisted: set[str] = set()

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: tuple[str, str]) -> Any:
        name = ".".join(key)
        self.seen.add(name)
        if super().__contains__(key):
            return super().__getitem__(key)
        self.unlisted.add(name)
        return Callee(name, lambda _: ForeignRecord())


def _first(pattern: str, texts: Iterable[str]) -> str:
    """The first text, by the alphabet, with a pattern in it; "" if there is none."""
    return next((text for text in sorted(texts) if re.search(pattern, text, re.ASCII)), "")
