"""Neighbours' files are called by their name and told where to go; one hostile name among theirs, and they are not."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeyolo.errors import ForeignFileError, UntrustedFileError
from edgeyolo.models.checkpoint import foreign_keys, open_checkpoint

Forge = Callable[..., Path]
V7 = "models.yolo.Model models.common.Conv models.common.SPPCSPC models.common.MP"
V5 = "models.common.Conv models.common.Bottleneck models.common.C3 models.common.SPPF models.yolo.Detect"

# What the checkpoints of these projects refer to, besides torch's own layers: (project, names).
CHECKPOINTS = [
    ("YOLOv7-pose", f"{V7} models.common.ReOrg models.yolo.IKeypoint"),
    ("YOLOv7-mask", f"{V7} models.yolo.MT detectron2.modeling.poolers.ROIPooler"),
    ("YOLOv7's u6 branch", "models.yolo.Model models.common.SP models.common.RepConv models.yolo.V6Detect"),
    ("YOLOv7's u5 or u7 branch", f"{V7.replace('Model', 'SegmentationModel')} models.yolo.Segment"),
    ("YOLOv7's u5 or u7 branch", "models.yolo.DetectionModel models.common.ReOrg models.yolo.IDetect"),
    ("YOLOv5", f"models.yolo.Model {V5} torch.nn.modules.activation.Hardswish"),
    ("YOLOv5", f"models.yolo.DetectionModel {V5}"),
    ("YOLOv5", "models.yolo.Model models.common.Focus models.common.BottleneckCSP models.yolo.Detect"),
    ("YOLOv9", "models.yolo.DetectionModel models.common.RepNCSPELAN4 models.yolo.DDetect"),
    ("ultralytics", "ultralytics.nn.tasks.DetectionModel ultralytics.nn.modules.block.C2f"),
    ("ultralytics", "ultralytics.nn.tasks.PoseModel ultralytics.utils.loss.v8PoseLoss"),
    ("YOLOX", "yolox.models.yolox.YOLOX yolox.models.darknet.CSPDarknet"),
    ("YOLOv6", "yolov6.models.yolo.Model yolov6.layers.common.RepVGGBlock"),
    ("YOLOR or another darknet", "models.models.Darknet utils.layers.FeatureConcat mish_cuda.MishCuda"),
    ("MMDetection", "mmengine.config.config.Config mmdet.models.detectors.YOLOX"),
    ("YOLO-NAS", "super_gradients.training.models.detection_models.yolo_nas.YoloNAS"),
    ("YOLOv7's code, with layers", f"{V7} models.common.Involution"),
]


def checkpoint(asm: SimpleNamespace, names: str) -> bytes:
    """A pickled model with one module of each name in it, and whatever comes along in such files."""
    first, *rest = [asm.module(name) for name in names.split()]
    parts = asm.mapping(**{str(index): part for index, part in enumerate(rest)})
    options = asm.module("argparse.Namespace", lr=asm.integer(1))
    return bytes(asm.stream(asm.mapping(model=b"](" + first + parts + b"e", opt=options)))


@pytest.mark.parametrize(("project", "names"), CHECKPOINTS)
def test_checkpoints_of_neighbours(project: str, names: str, asm: SimpleNamespace, forge: Forge) -> None:
    with (
        pytest.raises(ForeignFileError, match="only networks that") as caught,
        open_checkpoint(forge(checkpoint(asm, names))),
    ):
        pass
    assert f"forged.pt: a checkpoint of {project}" in caught.value.message
    assert caught.value.exit_code == 5
    assert "edgeyolo adopt" in caught.value.hint


@pytest.mark.parametrize(
    "hostile",
    [
        "os.system",
        "builtins.eval",
        "models.os.system",
        "torch.load",
        "torch.nn.modules.module.os",
        "utils.general.subprocess.call",
        "__main__.Net",
        "ultralytics.utils.checks.check_requirements",
    ],
)
@pytest.mark.parametrize(("project", "names"), [CHECKPOINTS[0], CHECKPOINTS[6], CHECKPOINTS[9]])
def test_hostile_names_among_a_neighbours(
    project: str, names: str, hostile: str, asm: SimpleNamespace, forge: Forge
) -> None:
    for pickled in (checkpoint(asm, f"{names} {hostile}"), checkpoint(asm, f"{hostile} {names}")):
        with (
            pytest.raises(UntrustedFileError, match="not on the list") as caught,
            open_checkpoint(forge(pickled)),
        ):
            pass
        assert caught.value.exit_code == 6
        assert "Do not open it" in caught.value.hint


def test_a_neighbours_file_that_asks_for_more_than_names(asm: SimpleNamespace, forge: Forge) -> None:
    chain = asm.call(
        "__builtin__.getattr", asm.module("ultralytics.nn.tasks.DetectionModel"), asm.text("forward")
    )
    for pickled in (
        asm.stream(chain),
        asm.stream(asm.name("ultralytics.nn.tasks.A"), b"2"),
        b"\x80\x02cultralytics.nn\nA\n",
    ):
        with pytest.raises(UntrustedFileError), open_checkpoint(forge(pickled)):
            pass


KEYS = [
    ("YOLOv7-pose", "model.118.m_kpt.0.0.conv.weight"),
    ("YOLOv5 or another", "model.2.m.0.cv1.conv.weight"),
    ("YOLOX", "backbone.backbone.dark2.0.conv.weight"),
    ("YOLOX", "module.head.cls_preds.0.weight"),
    ("YOLOv6", "backbone.ERBlock_2.0.rbr_dense.conv.weight"),
    ("ultralytics", "model.22.dfl.conv.weight"),
    ("MMDetection or MMYOLO", "bbox_head.head_module.convs_pred.0.weight"),
    ("YOLOR or another darknet", "module_list.0.Conv2d.weight"),
]


@pytest.mark.parametrize(("project", "key"), KEYS)
def test_state_dicts_of_neighbours(project: str, key: str) -> None:
    found = foreign_keys(Path("net.pt"), ["model.0.conv.weight", key])
    assert found is not None
    assert f"net.pt: a state dict of {project}" in found.message
    assert key in found.message


def test_state_dicts_of_nobody() -> None:
    assert (
        foreign_keys(
            Path("net.pt"), ["model.0.conv.weight", "layer1.0.conv1.weight", "model.51.cv3.conv.weight"]
        )
        is None
    )


def header(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}i", *words)


FILES = [
    ("net.onnx", b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(40), "an ONNX model", "edgeyolo adopt"),
    ("net.pt", b"\x08\x08\x3a\x80\x10" + bytes(40), "an ONNX model", "edgeyolo adopt"),
    ("yolov4.weights", header(0, 2, 5, 32_000, 0) + bytes(400), "darknet weights", "ONNX"),
    ("yolov3.weights", header(0, 2, 0, 32_000, 0) + bytes(400), "darknet weights", "ONNX"),
    ("net.tflite", b"\x1c\0\0\0TFL3" + bytes(40), "a TFLite model", "edgeyolo adopt"),
    ("net.engine", b"ftrt" + bytes(40), "a TensorRT engine", "edgeyolo adopt"),
    ("net.xml", b"<?xml version='1.0'?><net/>" + bytes(40), "an OpenVINO model", "edgeyolo adopt"),
    ("net.h5", b"\x89HDF\r\n\x1a\n" + bytes(40), "a Keras (HDF5) model", "ONNX"),
]


@pytest.mark.parametrize(("name", "content", "kind", "way"), FILES)
def test_files_of_other_tools(name: str, content: bytes, kind: str, way: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ForeignFileError) as caught, open_checkpoint(path):
        pass
    assert f"{name}: {kind}" in caught.value.message
    assert way in caught.value.hint


@pytest.mark.parametrize("entry", ["net/constants.pkl", "net/archive_format"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_traced_programs(entry: str, compression: int, tmp_path: Path) -> None:
    """TorchScript stores its code compressed, which a checkpoint never is."""
    path = tmp_path / "net.torchscript.pt"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in ("net/data.pkl", "net/code/__torch__/models/yolo.py", entry):
            archive.writestr(name, b"def forward(self): pass\n" * 20)
    with pytest.raises(ForeignFileError, match=f"program .{entry}") as caught, open_checkpoint(path):
        pass
    assert "it was traced from" in caught.value.hint


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_a_real_torchscript_archive(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)), tmp_path / "net.pt")
    with pytest.raises(ForeignFileError, match="TorchScript"), open_checkpoint(tmp_path / "net.pt"):
        pass
