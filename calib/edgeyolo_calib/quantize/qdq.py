"""A float ONNX network with its quantizers in place.

Explicit QuantizeLinear / DequantizeLinear.

ONNX Runtime's own quantizer writes the nodes. Where they stand, what shares a scale and every scale itself are ours:
see `rules` and `ranges`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import EdgeYoloError, UsageError
from edgeyolo_calib.onnx_graph import Graph, with_constants
from edgeyolo_calib.quantize.even_sums import with_even_sums
from edgeyolo_calib.quantize.rules import Placement, Rules, place
from edgeyolo_calib.ranges.histogram import Histogram
from edgeyolo_calib.ranges.ranges import Scheme, choose, weight_scales
from edgeyolo_calib.ranges.statistics import Origin, Statistics

if TYPE_CHECKING:
    import onnx

METADATA = "calibration"


@dataclass(frozen=True)
class Quantized:
    """A network with quantizers.

    It has each activation tensor's (low, high) that they cover, and the way it was done.
    """

    model: onnx.ModelProto
    ranges: Mapping[str, tuple[float, float]]
    placement: Placement
    scheme: Scheme


def quantize(
    model: onnx.ModelProto,
    statistics: Statistics,
    rules: Rules,
    scheme: Scheme | None = None,
    *,
    pixels: float = 1.0,
    floats: Collection[str] = (),
) -> Quantized:
    """Put quantizers into a copy of `model`.

    Args:
        model: raw heads of plain convolutions, in float32, opset 13 or newer.
        statistics: of all its tensors, from `observe`.
        rules: of the runtime that will run it.
        scheme: how ranges are chosen, by default as the rules say.
        pixels: the input's largest value; its smallest is 0.
        floats: names of tensors; the convolution (with its activation function) that ends there stays in float.

    Raises:
        UsageError: the statistics lack a tensor.
        UnsupportedTargetError: there are no rules for the graph.
    """
    graph, scheme = Graph(model), scheme or rules.scheme
    placement = place(graph, rules, floats)
    ranges = settle(placement, statistics, rules, scheme, dict.fromkeys(graph.inputs, (0.0, pixels)))
    if rules.even_sums:
        graph = Graph(with_constants(model, _rounded(graph, placement, rules)))
    return assemble(graph, placement, ranges, rules, scheme, origin=statistics.origin)


def assemble(
    graph: Graph,
    placement: Placement,
    ranges: Mapping[str, tuple[float, float]],
    rules: Rules,
    scheme: Scheme,
    *,
    origin: Origin,
) -> Quantized:
    """Put quantizers of given ranges at given places.

    `origin` and `scheme` say where they come from.
    """
    overrides: dict[str, list[dict[str, Any]]] = {
        name: [dict(zip(("scale", "zero_point"), rules.grid.constants(*ranges[name]), strict=True))]
        for name in placement.tensors
    }
    overrides |= _weight_overrides(graph, placement, rules)
    written = _write(graph, placement, rules, overrides)
    _label(written, origin, rules, scheme)
    return Quantized(written, ranges, placement, scheme)


def settle(
    placement: Placement,
    statistics: Statistics,
    rules: Rules,
    scheme: Scheme,
    fixed: Mapping[str, tuple[float, float]] = {},
) -> dict[str, tuple[float, float]]:
    """Each tensor's range.

    One for all tensors of a group, from their distributions together.
    """
    missing = [name for name in placement.tensors if name not in statistics.tensors]
    if missing:
        raise UsageError(
            f"the ranges lack {len(missing)} tensors of this network, for example {missing[0]!r}",
            hint="They were measured on another network; calibrate again.",
        )
    groups: dict[str, list[str]] = {}
    for name, group in placement.tensors.items():
        groups.setdefault(group, []).append(name)
    known, ranges = {**placement.fixed, **fixed}, {}
    for names in groups.values():
        given = [known[name] for name in names if name in known]
        chosen = given[0] if given else _range_of(names, placement, statistics, rules, scheme)
        ranges.update(dict.fromkeys(names, chosen))
    return ranges


def _range_of(
    names: list[str], placement: Placement, statistics: Statistics, rules: Rules, scheme: Scheme
) -> tuple[float, float]:
    merged = Histogram()
    for name in names:
        merged.merge(statistics.tensors[name])
    function = placement.through.get(names[0]) if len(names) == 1 else None
    low, high = choose(merged, rules.grid, scheme.method, percentile=scheme.percentile, through=function)
    reach = max(placement.reach.get(name, math.inf) for name in names)
    return max(low, -reach), min(high, reach)


def _rounded(graph: Graph, placement: Placement, rules: Rules) -> dict[str, NDArray[np.float32]]:
    """Weights on the levels of their scales, by initializer.

    The scales that are found for them are the same as before.
    """
    weights = {
        node.input[1]: graph.array(node.input[1])
        for node in graph.nodes
        if node.op_type == "Conv" and node.name in placement.nodes
    }
    return {
        name: with_even_sums(weight, weight_scales(weight, per_channel=rules.per_channel))
        for name, weight in weights.items()
    }


def _weight_overrides(graph: Graph, placement: Placement, rules: Rules) -> dict[str, list[dict[str, Any]]]:
    zero = np.array(0, np.int8)
    overrides: dict[str, list[dict[str, Any]]] = {}
    for node in graph.nodes:
        if node.op_type == "Conv" and node.name in placement.nodes:
            weight = graph.array(node.input[1])
            scales = weight_scales(weight, per_channel=rules.per_channel)
            channel: dict[str, Any] = {"axis": 0} if rules.per_channel else {}
            overrides[node.input[1]] = [
                {"scale": np.array(scale), "zero_point": zero} | channel for scale in np.atleast_1d(scales)
            ]
    return overrides


def _write(
    graph: Graph, placement: Placement, rules: Rules, overrides: dict[str, list[dict[str, Any]]]
) -> onnx.ModelProto:
    import onnx
    from onnxruntime.quantization import QDQQuantizer, QuantType, TensorData

    model = onnx.shape_inference.infer_shapes(graph.model)
    # The quantizer infers shapes through a temporary file unless it finds this mark of having done so.
    model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    kinds = sorted({node.op_type for node in graph.nodes if node.name in placement.nodes})
    ends = np.float32(
        0.0
    )  # ranges are looked up, but never used: every tensor has its scale from `overrides`
    writer = QDQQuantizer(
        model,
        per_channel=rules.per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if rules.grid.symmetric else QuantType.QUInt8,
        tensors_range={name: TensorData(lowest=ends, highest=ends) for name in placement.tensors},
        nodes_to_quantize=list(placement.nodes),
        nodes_to_exclude=[],
        op_types_to_quantize=kinds,
        extra_options={
            "TensorQuantOverrides": overrides,
            "ActivationSymmetric": rules.grid.symmetric,
            "AddQDQPairToWeight": rules.pairs,
            "DedicatedQDQPair": rules.pairs,
            "QuantizeBias": rules.bias,
            "OpTypesToExcludeOutputQuantization": kinds if rules.fused else [],
            "QDQKeepRemovableActivations": True,
        },
    )
    for name in placement.tensors:  # it marks most of them itself, but not what pooling and resizing take
        writer.quantize_activation_tensor(name)
    writer.quantize_model()
    writer.model.topological_sort()
    written: onnx.ModelProto = writer.model.model
    _check(written, graph, placement)
    return written


def _check(written: onnx.ModelProto, graph: Graph, placement: Placement) -> None:
    """Check that quantizers stand where they were wanted, and nowhere else."""
    suffix = "_QuantizeLinear_Input"  # a quantized output keeps its name; what is quantized is renamed
    found = {
        node.input[0].removesuffix(suffix)
        for node in written.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in graph.constants
    }
    if found != set(placement.tensors):
        extra, missing = sorted(found - set(placement.tensors)), sorted(set(placement.tensors) - found)
        raise EdgeYoloError(
            f"ONNX Runtime's quantizer put quantizers at {extra} and none at {missing}",
            hint="This version of onnxruntime follows other rules; please report it with the version.",
        )


def _label(model: onnx.ModelProto, origin: Origin, rules: Rules, scheme: Scheme) -> None:
    """Label the quantizers with the source of their scales.

    It leaves no trace of the tool's version in the bytes.
    """
    import onnx

    facts = {
        "images": origin.count,
        "images_sha256": origin.images,
        "images_described": origin.described,
        "rules": rules.name,
        "method": scheme.method,
    }
    if scheme.method == "percentile":
        facts["percentile"] = scheme.percentile
    kept = {item.key: item.value for item in model.metadata_props if item.key != "onnx.infer"}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept | {METADATA: json.dumps(facts, sort_keys=True)})
    del model.graph.value_info[:]
    model.producer_name, model.producer_version = "edgeyolo", ""
    # The quantizer adds a domain that none of these operators is from.
    used = {node.domain for node in model.graph.node}
    opsets = [item for item in model.opset_import if item.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    onnx.checker.check_model(model, full_check=True)
