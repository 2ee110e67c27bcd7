"""Deviations of an artifact's layers from torch, to explain a missed gate.

Tensors inside a file that was made from ONNX keep their names, so the float network's own ONNX file, run by ONNX
Runtime, is what each is compared with.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.manifest import Manifest
from edgeyolo.backend.interface import Session
from edgeyolo.backend.ort_options import EXACT_INTEGERS, cpu_options
from edgeyolo.backend.profile import TargetProfile
from edgeyolo.export.parity_gate import as_network_input, batches

if TYPE_CHECKING:
    import onnx

    from edgeyolo.export.source import NetworkSource

Tensors = Mapping[str, NDArray[Any]]
MOST_BYTES = 500_000_000  # of tensors that are looked at, on each side


@runtime_checkable
class InspectableSession(Protocol):
    """A session that can also give what its layers compute."""

    def layers(self, batch: NDArray[Any], names: Collection[str]) -> dict[str, NDArray[np.float32]]:
        """Map an input array to float tensors inside the network.

        They are those called so in the ONNX file it was made from.
        """
        ...


@dataclass(frozen=True)
class Layer:
    """A tensor inside the network.

    It has the operator that makes it, and its deviation from torch's relative to its largest value.
    """

    name: str
    operator: str
    deviation: float


def compare_layers(model: onnx.ModelProto, expected: Tensors, actual: Tensors) -> list[Layer]:
    """Every tensor that both sides have, in the order of execution."""
    found = []
    for node in model.graph.node:
        for name in node.output:
            if name not in expected or name not in actual or expected[name].shape != actual[name].shape:
                continue
            want, have = expected[name].astype(np.float32), actual[name].astype(np.float32)
            apart = np.abs(have - want).max() / max(float(np.abs(want).max()), 1e-12)
            found.append(Layer(name, node.op_type, float(apart) if np.isfinite(apart) else float("inf")))
    return found


def explain(
    session: Session,
    source: NetworkSource,
    manifest: Manifest,
    image: NDArray[np.uint8],
    profile: TargetProfile,
) -> str:
    """A table of the layers that part from torch on one picture.

    "" where the runtime shows none.
    """
    if not isinstance(session, InspectableSession) or profile.opset is None:
        return ""
    import onnx

    batch, _ = next(batches([image], manifest.input))
    model = onnx.load(source.onnx(opset=profile.opset))
    names = that_fit(model, MOST_BYTES)
    expected = tensors_of(model, {source.input.name: as_network_input(batch, manifest.input)}, names)
    return table(compare_layers(model, expected, session.layers(batch, names)), profile.parity)


def that_fit(model: onnx.ModelProto, most: int) -> tuple[str, ...]:
    """Names of the tensors that a model computes, thinned evenly to fit.

    They take at most `most` bytes as float32.

    The last ones stay: a network of 1280 pixels holds ten gigabytes of them, and where in it they part is told by a
    few.
    """
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    sizes = {
        each.name: 4 * prod(side.dim_value or 1 for side in each.type.tensor_type.shape.dim)
        for each in (*inferred.value_info, *inferred.output)
    }
    names = [name for node in model.graph.node for name in node.output if name in sizes]
    step = max(1, ceil(sum(sizes[name] for name in names) / most))
    while sum(sizes[name] for name in names[::-step]) > max(most, sizes[names[-1]]):
        step += 1
    return tuple(names[::-step][::-1])


def tensors_of(
    model: onnx.ModelProto,
    feeds: Tensors,
    names: Collection[str],
    settings: Mapping[str, str] = EXACT_INTEGERS,
) -> dict[str, NDArray[np.float32]]:
    """Run a model in ONNX Runtime and keep the named float tensors.

    It runs without optimisations; names that it does not compute are left out.
    """
    import onnx
    import onnxruntime as ort

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    given = {value.name for value in whole.graph.output}
    kept = [name for node in whole.graph.node for name in node.output if name in names]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in kept if name not in given)
    options = cpu_options(settings=settings)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = zip(kept, session.run(kept, dict(feeds)), strict=True)
    return {name: value for name, value in values if value.dtype.kind == "f"}


def table(layers: Sequence[Layer], tolerance: float, rows: int = 8) -> str:
    """The layer where the deviation begins, then the worst ones.

    "" where there are none.
    """
    if not layers:
        return ""
    first = next((each for each in layers if not each.deviation <= tolerance), None)
    worst = sorted(layers, key=lambda each: -each.deviation)[:rows]
    width = max(len(each.name) for each in (*worst, *([first] if first else [])))
    lines = [f"  {each.name:<{width}}  {each.operator:<12} {each.deviation:.3g}" for each in worst]
    begins = (
        f"first layer beyond it: {first.name} ({first.operator}, {first.deviation:.3g})\n" if first else ""
    )
    return f"{begins}worst of {len(layers)} layers:\n" + "\n".join(lines)
