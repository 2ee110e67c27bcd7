"""NVIDIA DeepStream 6 to 9: configuration of nvinfer, labels, and a parser.

The parser is C++ and built on the device.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import GraphDetections, RawMaps
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.recipe.host import Host, described, write_check, write_labels, write_script
from edgeyolo.recipe.trtexec import PACKAGE, takes, unbuilt, write_build
from edgeyolo.runtime.postprocess_config import settle

_MODES = {"fp32": 0, "int8": 1, "fp16": 2}
_NMS, _NONE = 2, 4  # nvinfer's cluster-mode
ENGINE, LIBRARY = "model.engine", "libnvdsinfer_edgeyolo.so"

_BUILD = f"""
deepstream=${{DEEPSTREAM:-/opt/nvidia/deepstream/deepstream}}
cuda=${{CUDA_HOME:-/usr/local/cuda}}
"${{CXX:-g++}}" -std=c++17 -O2 -Wall -shared -fPIC -I. -I"$deepstream/sources/includes" -I"$cuda/include" \\
    parser.cpp -o {LIBRARY}.new
mv {LIBRARY}.new {LIBRARY}
"""


def config(manifest: Manifest) -> dict[str, dict[str, str]]:
    """Sections of config_infer_primary.txt.

    The scaling, colour order and symmetric padding are the letterbox's. nvinfer pads with black and has no setting
    for it, where the letterbox has 114.
    """
    contract, settings = manifest.input, settle(manifest.output)
    suppressed = isinstance(manifest.output, GraphDetections)
    names = manifest.output.names
    return {
        "property": {
            "gpu-id": "0",
            "onnx-file": f"{PACKAGE}/model.onnx",
            "model-engine-file": ENGINE,
            "labelfile-path": "labels.txt",
            "batch-size": str(contract.batch),
            "network-mode": str(_MODES[manifest.target.precision]),
            "network-type": "0",
            "process-mode": "1",
            "gie-unique-id": "1",
            "interval": "0",
            "infer-dims": f"3;{contract.height};{contract.width}",
            "net-scale-factor": repr(contract.scale),
            "model-color-format": "0" if contract.color_order == "RGB" else "1",
            "maintain-aspect-ratio": "1",
            "symmetric-padding": "1",
            "num-detected-classes": str(len(manifest.class_names)),
            "output-blob-names": ";".join(names),
            "cluster-mode": str(_NONE if suppressed else _NMS),
            "parse-bbox-func-name": "NvDsInferParseEdgeyolo",
            "custom-lib-path": f"./{LIBRARY}",
        },
        "class-attrs-all": {
            "pre-cluster-threshold": f"{settings.conf:g}",
            **(
                {}
                if suppressed
                else {"nms-iou-threshold": f"{settings.iou:g}", "topk": f"{settings.max_det}"}
            ),
        },
    }


def contract_header(manifest: Manifest) -> str:
    """The artifact's numbers as a C++ header for parser.cpp."""
    output = manifest.output
    lines = [
        "#pragma once",
        f"#define YOLO_RAW_MAPS {int(isinstance(output, RawMaps))}",
        f"#define YOLO_CLASSES {output.classes}",
        f"#define YOLO_CONF {settle(output).conf!r}f",
        f"#define YOLO_MAX_DET {settle(output).max_det}",
    ]
    if isinstance(output, RawMaps):
        count = len(output.anchors[0])
        rows = [
            f'    {{"{name}", {stride}, {{{", ".join(f"{{{float(w)!r}f, {float(h)!r}f}}" for w, h in anchors)}}}}},'
            for name, stride, anchors in zip(output.names, output.strides, output.anchors, strict=True)
        ]
        lines += [
            f"#define YOLO_ANCHORS {count}",
            f"struct EdgeyoloLevel {{ const char* name; int stride; float anchors[{count}][2]; }};",
            "static const EdgeyoloLevel YOLO_LEVELS[] = {",
            *rows,
            "};",
        ]
    return "\n".join(lines) + "\n"


def _misfit(manifest: Manifest) -> tuple[str, str] | None:
    again = f"edgeyolo export WEIGHTS --target {manifest.target} --input float -o DIR"
    if manifest.input.dtype != "float32" or manifest.input.layout != "NCHW":
        return (
            "nvinfer prepares float planes, and the artifact takes pixels (uint8)",
            f"Export again: {again}",
        )
    return unbuilt(manifest)


def _fill(artifact: Artifact, folder: Path) -> None:
    manifest = artifact.manifest
    write_build(artifact, folder, ENGINE)
    script = folder / "build.sh"
    write_script(script, script.read_text(encoding="utf-8") + _BUILD)
    sections = (
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in fields.items())
        for name, fields in config(manifest).items()
    )
    (folder / "config_infer_primary.txt").write_text("\n".join(sections), encoding="utf-8")
    (folder / "edgeyolo_contract.h").write_text(contract_header(manifest), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("parser.cpp"), folder / "parser.cpp")
    write_labels(folder, manifest)
    write_check(
        folder,
        f"test -s {ENGINE} && test -s {LIBRARY} || ./build.sh\n"
        'frames=${1:?usage: ./check.sh VIDEO.mp4 (H.264)}\ngst-launch-1.0 filesrc location="$frames" ! qtdemux ! '
        "h264parse ! nvv4l2decoder ! m.sink_0 nvstreammux name=m batch-size=1 width=1920 height=1080 ! "
        "nvinfer config-file-path=config_infer_primary.txt ! fakesink\n",
    )
    (folder / "README.md").write_text(_readme(artifact), encoding="utf-8")


def _readme(artifact: Artifact) -> str:
    manifest = artifact.manifest
    streams = (
        "set batch-size to the number of streams, up to 32"
        if manifest.input.dynamic_batch
        else ("the batch is fixed: export with `--batch dynamic` for several streams")
    )
    return (
        f"# DeepStream\n\n{described(artifact)}\n"
        "On the device, where DeepStream and TensorRT are:\n\n"
        "    ./build.sh                   # model.engine and libnvdsinfer_edgeyolo.so\n"
        "    ./check.sh video.mp4         # compares the files, runs the video through nvinfer\n\n"
        f"config_infer_primary.txt is for nvinfer, as primary detector; {streams}.\n\n"
        "Preprocessing is nvinfer's: the aspect is kept and the padding symmetric as in the letterbox. nvinfer pads "
        f"with black, without a setting for {manifest.input.pad_value}, and it scales with its own interpolation: "
        "boxes differ a little from those of `edgeyolo detect`, most near the padding.\n"
    )


DEEPSTREAM = Host("deepstream", "DeepStream", takes, _fill, _misfit, ("config_infer_primary.txt",))
