"""OpenVINO: Intel CPUs, graphics, NPUs and the Neural Compute Stick.

Environment:
    EDGEYOLO_OPENVINO_DEVICE     CPU, GPU, GPU.1, NPU, AUTO, AUTO:GPU,CPU, HETERO:..., MULTI:...; default: the target's
    EDGEYOLO_OPENVINO_HINT       latency (default) or throughput, where Detector(hint=) says neither
    EDGEYOLO_OPENVINO_PRECISION  f32, f16 or bf16; default: what the target promises, see `settings`
    EDGEYOLO_NCS_PYTHON          a Python 3.9 with OpenVINO 2021.4 for the Neural Compute Stick, `none` to do without
"""

from edgeyolo_openvino.backend import OpenvinoBackend, OpenvinoGpuBackend, OpenvinoNpuBackend
from edgeyolo_openvino.ncs.backend import OpenvinoNcsBackend

__all__ = ["OpenvinoBackend", "OpenvinoGpuBackend", "OpenvinoNcsBackend", "OpenvinoNpuBackend"]
