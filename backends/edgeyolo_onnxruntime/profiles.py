"""Targets of ONNX Runtime on CPUs.

They are apart from the backend: who only runs an artifact loads none of them.
"""

from __future__ import annotations

from dataclasses import replace

from edgeyolo.artifact.target import Target
from edgeyolo.backend.profile import TargetProfile
from edgeyolo_onnxruntime import limits

OPSET = 18
MODEL, RECORD = "model.onnx", "calibration.json"
# float32 in another order of sums: at most 4.6e-6 (yolov7x, random weights, 640 pixels), 9.3e-7 where yolov7-tiny is
# trained (benchmarks/results). Twenty times that is left for deeper networks and other processors.
EXACT = 1e-4
# Rounding the weights of a trained yolov7-tiny to float16 moves its raw maps by up to 6.4e-3 of their largest value.
HALF_WEIGHTS = 2e-2
# As measured (benchmarks/scripts/calibration.py): 0.05 to 0.11 and 99 % on pictures like those of the
# calibration, 0.34 and
# 90 % on pictures that the network was not made for. A mistake in a scale or an order of channels gives above 1.
INT8_PARITY = 0.5
INT8_AGREEMENT = 0.85


FP32 = TargetProfile(
    target=Target("cpu", "onnx", "fp32"),
    note="ONNX Runtime on any CPU; the base install runs it",
    parity=EXACT,
    dynamic_batch=True,
    files=(MODEL,),
    inputs=("float", "uint8"),
    refuses_nms="",
    opset=OPSET,
    limits=limits.FLOAT,
)
FP16 = replace(
    FP32,
    target=Target("cpu", "onnx", "fp16"),
    note="ONNX Runtime on any CPU, weights stored in float16: half the file, unfolded when it is loaded",
    parity=HALF_WEIGHTS,
    limits=limits.HALF,
)
INT8 = replace(
    FP32,
    target=Target("cpu", "onnx", "int8"),
    note="ONNX Runtime in integers, about twice as fast on CPUs with VNNI; needs calibration images",
    parity=INT8_PARITY,
    agreement=INT8_AGREEMENT,
    calibrated=True,
    mixed=True,
    take_ranges=True,
    files=(MODEL, RECORD),
    limits=limits.INT8,
)
