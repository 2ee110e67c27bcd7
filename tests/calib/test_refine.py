"""Refining: what must not change a network does not, and what helps its integers does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from edgeyolo.artifact.contracts import InputContract, RawMaps  # noqa: E402
from edgeyolo.artifact.target import Target  # noqa: E402
from edgeyolo.backend import registry  # noqa: E402
from edgeyolo.datasets.scenes import make_scene  # noqa: E402
from edgeyolo.errors import UnsupportedTargetError, UsageError  # noqa: E402
from edgeyolo.export import refined as on_the_way  # noqa: E402
from edgeyolo.export.source import NetworkSource  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.network import Network  # noqa: E402
from edgeyolo.models.topology import ModelSpec  # noqa: E402
from edgeyolo.models.weights import load  # noqa: E402
from edgeyolo.runtime.preprocess import preprocess  # noqa: E402
from edgeyolo_calib.onnx_graph import Graph, with_constants  # noqa: E402
from edgeyolo_calib.qat.simulated import Quantizers  # noqa: E402
from edgeyolo_calib.quantize.qdq import settle  # noqa: E402
from edgeyolo_calib.quantize.rules import ONNXRUNTIME, place  # noqa: E402
from edgeyolo_calib.quantize.variants import opened  # noqa: E402
from edgeyolo_calib.ranges.observe import observe  # noqa: E402
from edgeyolo_calib.ranges.ranges import weight_scales  # noqa: E402
from edgeyolo_calib.refine import refine as refining  # noqa: E402
from edgeyolo_calib.refine.channels import Flow, flow  # noqa: E402
from edgeyolo_calib.refine.equalize import equalized  # noqa: E402
from edgeyolo_calib.refine.reconstruct import Changes, reconstructed  # noqa: E402
from edgeyolo_calib.refine.refine import refine, weights_of  # noqa: E402
from edgeyolo_calib.refine.rounding import rounded  # noqa: E402

SIDE = 96


@dataclass(frozen=True)
class Scenes:
    """A calibration source of generated scenes."""

    count: int
    sha256: str = "0" * 64
    described: str = "generated scenes"
    ranges: Path | None = None
    floats: tuple[str, ...] = ()

    def batches(self, contract: InputContract) -> Iterator[NDArray[Any]]:
        for picture in self.pictures(self.count):
            yield preprocess([picture], contract)[0]

    def pictures(self, count: int) -> list[NDArray[np.uint8]]:
        return [make_scene(seed, (SIDE, SIDE)).image for seed in range(min(count, self.count))]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refining is judged on ten images: what it decides is tested here, not how well."""
    monkeypatch.setattr(refining, "FIT", 6)
    monkeypatch.setattr(refining, "HELD_OUT", 4)
    monkeypatch.setattr(refining, "STRENGTHS", (0.75,))


def uneven(spec: ModelSpec) -> Network:
    """A plain network whose channels differ by far, as those of trained networks do."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = build(spec, 3, "plain").eval()
        for parameter in network.parameters():
            if parameter.ndim == 4:
                shape = (len(parameter), 1, 1, 1)
                parameter.mul_(torch.exp(torch.randn(shape)))
    return network


def source_of(network: Network, folder: Path, images: int = 10) -> NetworkSource:
    spec = network.spec
    output = RawMaps(("p3", "p4", "p5"), spec.strides, spec.anchors, network.classes)
    return NetworkSource(
        network, InputContract(SIDE, SIDE), output, ("cat", "dog", "bird"), folder, calibration=Scenes(images)
    )


@pytest.fixture(scope="module")
def spec(small_weights: Path) -> ModelSpec:
    found = load(small_weights).network.spec
    assert isinstance(found, ModelSpec)
    return replace(found, act="leaky_relu")


@pytest.fixture(scope="module")
def source(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> NetworkSource:
    return source_of(uneven(spec), tmp_path_factory.mktemp("leaky"))


@pytest.fixture(scope="module")
def graph(source: NetworkSource) -> Graph:
    return Graph(onnx.load(source.onnx(opset=18)))


def maps_of(graph: Graph, weights: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    model = with_constants(graph.model, weights)
    with opened(model) as session:
        return list(session.run(preprocess(Scenes(1).pictures(1), InputContract(SIDE, SIDE))[0]).values())


def close(one: list[NDArray[np.float32]], other: list[NDArray[np.float32]]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(np.abs(a - b).max() < 1e-4 * np.abs(a).max() for a, b in pairs)


def test_scalable_channels_may_be_scaled_by_anything(graph: Graph) -> None:
    """Through concatenations, pools and enlargements, in all of the network but its ends."""
    channels = flow(graph)
    convs = {node.output[0] for node in graph.nodes if node.op_type == "Conv"}
    assert len({name for name, _ in channels.scalable}) == len(convs) - len(graph.outputs)
    rng = np.random.default_rng(0)
    sizes = {name: np.exp(rng.normal(size=graph.shapes[name][1])) for name in convs}
    weights = equalized(graph, channels, sizes, strength=1.0)
    moved = [name for name, values in weights.items() if not np.allclose(values, graph.array(name))]
    assert len(moved) > len(weights) / 2
    assert close(maps_of(graph, {}), maps_of(graph, weights))


def test_equal_peaks_after_the_full_strength(graph: Graph) -> None:
    channels = flow(graph)
    convs = [node.output[0] for node in graph.nodes if node.op_type == "Conv"]
    name = next(name for name, _ in sorted(channels.scalable) if name == convs[0])
    sizes = {each: np.full(graph.shapes[each][1], 1.0) for each in convs}
    sizes[name] = np.array([2.0**number for number in range(graph.shapes[name][1])])[::-1][:5].repeat(2)[:8]
    weights = equalized(graph, channels, sizes, strength=1.0)
    conv = graph.maker[name]
    ratio = graph.array(conv.input[1]) / weights[conv.input[1]]
    assert np.allclose(ratio.reshape(8, -1).max(1), sizes[name], rtol=1e-4)


@pytest.mark.parametrize("changed", [{"act": "silu"}, {"twins": 2}])
def test_curves_and_sums_fix_channels(spec: ModelSpec, tmp_path: Path, changed: dict[str, Any]) -> None:
    if "act" in changed:
        other = replace(spec, **changed)
    else:
        first, *rest = spec.backbone
        other = replace(spec, backbone=(replace(first, elan=replace(first.elan, twins=2)), *rest))
    found = Graph(onnx.load(source_of(uneven(other), tmp_path).onnx(opset=18)))
    channels = flow(found)
    assert bool(channels.scalable) == ("twins" in changed)
    sums = {name for node in found.nodes if node.op_type == "Add" for name in node.input}
    inside = {found.maker[name].input[0] if name in found.maker else name for name in sums}
    assert not inside & {name for name, _ in channels.scalable}
    if channels.scalable:
        sizes = {name: np.exp(np.arange(found.shapes[name][1]) % 5) for name in channels.taken}
        assert close(maps_of(found, {}), maps_of(found, equalized(found, channels, sizes, strength=1.0)))


def test_nothing_is_scaled_where_nothing_may_be(graph: Graph) -> None:
    fixed = Flow(frozenset(), flow(graph).taken)
    sizes = {name: np.arange(1.0, 1 + graph.shapes[name][1]) for name in fixed.taken}
    for name, values in equalized(graph, fixed, sizes).items():
        assert np.array_equal(values, graph.array(name))


def test_rounding_minds_inputs_that_go_together() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 8, 3, 3, generator=generator)
    scales = torch.from_numpy(weight_scales(weight.numpy())) * 4  # coarse, so that rounding matters
    mixed = torch.randn(72, 12, generator=generator).double()
    moments = mixed @ mixed.T + 0.01 * torch.eye(72).double()
    steps = scales[:, None, None, None]
    nearest = (weight / steps).round().clamp(-127, 127) * steps
    made = rounded(weight, scales, moments)

    def error(other: Any) -> float:
        difference = (other - weight).flatten(1).double()
        return float(torch.einsum("ok,kl,ol->", difference, moments, difference))

    levels = made / steps
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert error(made) < 0.5 * error(nearest)
    alone = rounded(weight, scales, torch.eye(72).double())
    assert (alone - nearest).abs().max() < 1e-5 or (alone != nearest).float().mean() < 0.1


def test_who_quantizes_by_the_largest_weight_finds_the_same_grid() -> None:
    weight = torch.randn(4, 5, 1, 1, generator=torch.Generator().manual_seed(0))
    scales = torch.from_numpy(weight_scales(weight.numpy()))
    made = rounded(weight, scales, torch.eye(5).double())
    assert np.allclose(weight_scales(made.numpy()), scales.numpy(), rtol=1e-5)


def test_corrected_biases_give_the_mean_of_float(source: NetworkSource, graph: Graph) -> None:
    """Every convolution behind the first rounding, on the images that they were corrected on."""
    sample = Scenes(6)
    statistics = observe(source.onnx(opset=18), source.input, sample)
    placement = place(graph, ONNXRUNTIME)
    ranges = settle(placement, statistics, ONNXRUNTIME, ONNXRUNTIME.scheme, {"images": (0.0, 1.0)})
    quantizers = Quantizers(ONNXRUNTIME, placement, ranges, graph.inputs)
    batches = list(sample.batches(source.input))
    made = reconstructed(source.network, graph, quantizers, batches, Changes(True, False))
    before, after = (weights_of(network, graph) for network in (source.network, made))
    for name, values in after.items():
        assert name.endswith("bias") or np.array_equal(values, before[name])
    assert any(not np.array_equal(values, before[name]) for name, values in after.items())

    def means(network: Any) -> list[NDArray[np.float64]]:
        from edgeyolo_calib.quantize.simulate import rounded_weights, simulated

        weights = weights_of(network, graph)
        model = with_constants(graph.model, weights)
        scales = rounded_weights(Graph(model), ONNXRUNTIME)
        with opened(simulated(Graph(model), placement, ranges, ONNXRUNTIME, scales)) as session:
            runs = [session.run(batch) for batch in batches]
        return [np.mean([run[name] for run in runs], axis=(0, 1, 3, 4)) for name in graph.outputs]

    with torch.no_grad():
        maps = [source.network(torch.from_numpy(batch)) for batch in batches]
    wanted = [np.mean([each[level].numpy() for each in maps], axis=(0, 1, 3, 4)) for level in range(3)]
    before_and_after = [
        sum(float(np.square(found - want).sum()) for found, want in zip(means(network), wanted, strict=True))
        for network in (source.network, made)
    ]
    assert before_and_after[1] < 0.01 * before_and_after[0]


def test_refining_keeps_what_helps_and_records_the_rest(source: NetworkSource, graph: Graph) -> None:
    found = refine(source, Target.parse("cpu-onnx-int8"))
    assert [each.name for each in found.tried] == [
        "as it was", "channels equalized by 0.75", "biases corrected", "weights rounded",
    ]  # fmt: skip
    errors = [each.error for each in found.tried if each.kept]
    assert errors == sorted(errors, reverse=True) and len(errors) > 1
    assert errors[-1] < 0.95 * errors[0]
    assert found.network is not source.network


def test_what_does_not_help_is_dropped(
    source: NetworkSource, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refining, "LESS", 0.0)
    found = refine(source, Target.parse("jetson-trt-int8"))
    assert [each.kept for each in found.tried] == [True, False, False, False]
    before, after = (weights_of(network, graph) for network in (source.network, found.network))
    assert all(np.array_equal(values, before[name]) for name, values in after.items())


def test_nncf_corrects_biases_itself(source: NetworkSource) -> None:
    found = refine(source, Target.parse("cpu-openvino-int8"))
    assert "biases corrected" not in [each.name for each in found.tried]


def test_too_few_images_and_targets_without_integers_are_refused(source: NetworkSource) -> None:
    with pytest.raises(UsageError, match="needs 10 calibration images"):
        refine(replace(source, calibration=Scenes(9)), Target.parse("cpu-onnx-int8"))
    with pytest.raises(UnsupportedTargetError, match="nothing to refine"):
        refine(source, Target.parse("ane-coreml-int8"))


def test_the_backend_gets_the_refined_network_and_the_gate_keeps_the_other(
    source: NetworkSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = uneven(source.network.spec)
    with torch.no_grad():
        next(other.parameters()).mul_(2)
    tried = (refining.Tried("as it was", 0.5, True), refining.Tried("weights rounded", 0.4, True))
    monkeypatch.setattr(registry, "refine", lambda *_, **__: refining.Refined(other, tried))
    given = replace(source, workspace=tmp_path, _onnx={})
    before = given.onnx(opset=18).read_bytes()
    made, changes = on_the_way.refined(given, Target.parse("cpu-onnx-int8"), step=lambda _: None)
    assert made.network is other and given.network is source.network
    assert made.onnx(opset=18).read_bytes() != before == given.onnx(opset=18).read_bytes()
    assert changes[1] == {"name": "weights rounded", "error": 0.4, "kept": True}
