"""Limits of OpenVINO's devices.

Sources:
    [devices]    OpenVINO, "Supported Devices": dynamic shapes on CPU yes, GPU in part, NPU no; heterogeneous
                 execution on the NPU no
                 https://docs.openvino.ai/2025/documentation/compatibility-and-support/supported-devices.html
    [operations] OpenVINO 2023.3, "Supported Operations - by Inference Devices"
                 https://docs.openvino.ai/2023.3/openvino_resources_supported_operations.html
    [myriad]     OpenVINO 2021.4, "Supported Devices": supported layers of the VPU plugin, FP16 only
                 https://docs.openvino.ai/2021.4/openvino_docs_IE_DG_supported_plugins_Supported_Devices.html
    [query]      IECore().query_network(network, "MYRIAD") of OpenVINO 2021.4.2 takes all 899 layers of yolov7-tiny;
                 `make ncs-check` asks it again
    [lts]        OpenVINO 2022.3 LTS release notes: the last release for the Neural Compute Stick 2
                 https://www.intel.com/content/www/us/en/developer/articles/release-notes/openvino-2022-3-lts-relnotes.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from edgeyolo.backend.capabilities import Finding, Limits, Suppression, Versions
from edgeyolo.backend.op_graph import Graph, Operation

OPERATORS: Mapping[str, str] = MappingProxyType(
    {
        "Add": "Add",
        "Clip": "Clamp",
        "Concat": "Concat",
        "Conv": "Convolution",
        "LeakyRelu": "PRelu",
        "MaxPool": "MaxPool",
        "Mul": "Multiply",
        "Relu": "ReLU",
        "Resize": "Interpolate",
        "Sigmoid": "Sigmoid",
        "Slice": "StridedSlice",
    }
)
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "devices": "OpenVINO, Supported Devices",
        "operations": "OpenVINO 2023.3, Supported Operations - by Inference Devices",
        "myriad": "OpenVINO 2021.4, Supported Devices",
        "query": "query_network(network, MYRIAD) of OpenVINO 2021.4.2",
        "lts": "OpenVINO 2022.3 LTS release notes",
    }
)
HEADS = "raw maps decide boxes to a fraction of a cell"


def heads_in(place: str) -> Callable[[Operation, Graph], tuple[str, str] | None]:
    """Rule that keeps the last convolutions in the device's floats.

    NNCF leaves them alone, as `quantize` asks it to.
    """
    return lambda operation, graph: (place, HEADS) if operation.output in graph.outputs else None


# The ONNX reader of OpenVINO 2023.1, the oldest that converts here, stops at opset 20.
CPU = Limits("CPU", OPERATORS, opsets=(11, 20), strict=False, sources=SOURCES)
CPU_HALF = replace(CPU, weight_bytes=2.0, largest=65504.0)
CPU_INT8 = replace(
    CPU,
    accelerator="CPU, integers",
    elsewhere=heads_in("CPU, float32"),
    suppression=Suppression("CPU, float32", "an integer's step would move corners"),
    weight_bytes=1.1,
)
GPU = replace(
    CPU,
    accelerator="GPU",
    weight_bytes=2.0,
    largest=65504.0,
    largest_activation=65504.0,
    notes=("an operator outside the table makes the GPU plugin refuse the network [operations]",),
    strict=True,
)
NPU = replace(
    CPU,
    accelerator="NPU",
    weight_bytes=1.1,
    largest=65504.0,
    largest_activation=65504.0,
    elsewhere=heads_in("NPU, float16"),
    strict=True,
    notes=("the NPU takes fixed shapes only and hands nothing to the CPU [devices]",),
    no_precisions=MappingProxyType({"fp32": "the NPU computes in integers and float16 only [devices]"}),
)
MYRIAD = Limits(
    "MYRIAD X",
    OPERATORS,
    max_batch=1,
    max_rank=4,
    largest=65504.0,
    largest_activation=65504.0,
    opsets=(11, 13),
    reasons=MappingProxyType(
        {"NonMaxSuppression": Finding("in-graph decoding is silently misread by 2021 and 2022 importers")}
    ),
    no_precisions=MappingProxyType(
        {
            "fp32": "the stick computes in float16 only [myriad]; take ncs-openvino-fp16",
            "int8": "the stick computes in float16 only [myriad]; take ncs-openvino-fp16",
        }
    ),
    versions=Versions("OpenVINO", (2021, 4), (2022, 4), "2022.3 LTS is the last release for the stick [lts]"),
    notes=("every layer of yolov7-tiny was taken by the plugin itself [query]",),
    sources=SOURCES,
)
