"""Accelerators without a target, and what their makers' compilers take.

Those compilers cannot be had without their makers' leave.

They are no targets: nothing here could say whether an artifact for them is right.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OutOfReach:
    """An accelerator that there is no target for.

    Attributes:
        device: the maker and the chips.
        obstacle: what stands in the way of a target.
        nearest: the target whose file the maker's converter takes.
        options: options of its export, besides the target.
        step: what the maker's converter does with the file.
        source: where the maker says so.
    """

    device: str
    obstacle: str
    nearest: str
    options: str
    step: str
    source: str

    @property
    def command(self) -> str:
        """The line that makes the nearest file."""
        return f"edgeyolo export WEIGHTS --target {self.nearest} {self.options}".rstrip()


OUT_OF_REACH = (
    OutOfReach(
        "Hailo-8, Hailo-10, Hailo-15",
        "the Dataflow Compiler is behind a login, on no package index",
        "cpu-onnx-fp32",
        "--input float",
        "hailo parser onnx model.onnx, then hailo optimize with pictures of yours, hailo compiler",
        "https://hailo.ai/developer-zone/",
    ),
    OutOfReach(
        "Kneron KL520, KL720, KL730",
        "the toolchain is a container image of the maker's, with the compiler as a binary",
        "cpu-onnx-fp32",
        "--input float --opset 12",
        "ktc.onnx_optimizer and ktc.ModelConfig(...).analysis(...) in the image, then ktc.compile",
        "https://doc.kneron.com/docs/",
    ),
    OutOfReach(
        "MediaTek Dimensity, Genio (APU)",
        "NeuroPilot is behind a login; the packages on the index are stubs that download from there",
        "cpu-tflite-int8",
        "--calib DATA",
        "ncc-tflite --arch=mdla3.0 model.tflite of NeuroPilot, or LiteRT's delegate on the device",
        "https://neuropilot.mediatek.com/",
    ),
    OutOfReach(
        "Rockchip RK3566, RK3576, RK3588",
        "rknn-toolkit2 fixes versions of torch and onnx that edgeyolo does not run with: an environment of its own",
        "cpu-onnx-fp32",
        "--input float",
        "rknn.load_onnx('model.onnx') and rknn.build(do_quantization=True, dataset=...) in that environment",
        "https://github.com/airockchip/rknn-toolkit2",
    ),
)
