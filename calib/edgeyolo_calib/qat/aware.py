"""Quantization-aware training for INT8.

It is what the core's training loop is given to fine-tune a network for INT8.

Registered as `quantization` in the entry-point group `edgeyolo.training`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.artifact.learned_ranges import LearnedRanges
from edgeyolo.datasets import Dataset
from edgeyolo.errors import DatasetError
from edgeyolo.models.network import Network
from edgeyolo.training.loop.technique import Published, Technique
from edgeyolo_calib.images.content import identify
from edgeyolo_calib.images.sampling import strata, stratified
from edgeyolo_calib.images.source import ImageSource
from edgeyolo_calib.onnx_graph import Graph, stable_names
from edgeyolo_calib.qat.distillation import Distillation
from edgeyolo_calib.qat.simulated import Quantizers, Ranges, Simulated
from edgeyolo_calib.quantize.qdq import settle
from edgeyolo_calib.quantize.rules import ONNXRUNTIME, TENSORRT, Rules, place
from edgeyolo_calib.quantize.schemes import best_scheme
from edgeyolo_calib.quantize.variants import Compared
from edgeyolo_calib.ranges.observe import observe

PLACEMENTS = (ONNXRUNTIME, TENSORRT)

Progress = Callable[[int, int | None], None]


def prepare(
    network: Network,
    graph: Path,
    contract: InputContract,
    training: Dataset,
    *,
    images: int,
    seed: int,
    progress: Progress | None = None,
) -> tuple[Simulated, dict[str, Any]]:
    """A network of plain convolutions with fake quantizers.

    Its ranges are measured on `images` of the training images and chosen as an export without training would
    choose them. Its weights are rounded as that rounds them: each one's nearest level, which training takes, is that.

    `graph` is the network as ONNX. Also gives the facts that `restore` and `technique` need.
    """
    import onnx

    source = _sample(training, images, seed, progress)
    statistics = observe(graph, contract, source)
    model = Graph(onnx.load(graph))
    pixels = dict.fromkeys(model.inputs, (0.0, 255 * contract.scale))

    compared = Compared.take(model, source, contract)

    def measured(rules: Rules) -> Ranges:
        scheme, _ = best_scheme(model, statistics, rules, compared, 255 * contract.scale)
        return settle(place(model, rules), statistics, rules, scheme, pixels)

    facts = {
        "images": len(training), "images_sha256": identify([each.path for each in training.images]),
        "described": f"quantization-aware training on {len(training)} images of {training.name}, "
        f"starting from ranges on {source.described}",
    }  # fmt: skip
    module = _simulate(network, model, measured)
    module.round_weights()
    return module, facts


def restore(network: Network, graph: Path) -> Simulated:
    """The same module for a run that is resumed.

    Its ranges and weights come from the saved state.
    """
    import onnx

    model = Graph(onnx.load(graph))
    return _simulate(network, model, lambda rules: dict.fromkeys(place(model, rules).tensors, (-1.0, 1.0)))


def technique(graph: Path, facts: Mapping[str, Any], teacher: Network | None, gain: float) -> Technique:
    """Technique of a quantization-aware run.

    It says what the run publishes, and has the penalty where there is a teacher.
    """
    import onnx

    names = stable_names(Graph(onnx.load(graph)))
    return Technique(
        publish=_Publisher(names, facts),
        penalty=Distillation(teacher, gain) if teacher is not None else None,
        facts={"name": "quantization", "distill": gain if teacher is not None else 0.0, **facts},
    )


@dataclass(frozen=True)
class _Publisher:
    """The network, and by placement each tensor's range under its stable name."""

    names: Mapping[str, str]
    facts: Mapping[str, Any]

    def __call__(self, module: Simulated) -> Published:
        sets = {
            each.name: {self.names[name]: ends for name, ends in each.ranges().items()}
            for each in module.quantizers()
        }
        facts = self.facts
        ranges = LearnedRanges(
            sets, int(facts["images"]), str(facts["images_sha256"]), str(facts["described"])
        )
        return Published(module.network, ranges)


def _simulate(network: Network, graph: Graph, ranges: Callable[[Rules], Ranges]) -> Simulated:
    kinds = [Quantizers(rules, place(graph, rules), ranges(rules), graph.inputs) for rules in PLACEMENTS]
    return Simulated(network, graph, kinds)


def _sample(training: Dataset, images: int, seed: int, progress: Progress | None) -> ImageSource:
    if not training.images:
        raise DatasetError(f"{training.name}: there are no images to measure ranges on")
    chosen = [training.images[i].path for i in stratified(strata(training.images), images, seed)]
    described = f"{len(chosen)} of the {len(training)} images of {training.name}, seed {seed}"
    return ImageSource(tuple(chosen), identify(chosen), described, progress)
