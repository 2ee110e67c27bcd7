"""Quantization-aware training: it simulates what the Q/DQ graph computes, it learns, and exports take its ranges."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

from edgeyolo.artifact.contracts import InputContract, RawMaps  # noqa: E402
from edgeyolo.artifact.learned_ranges import LearnedRanges  # noqa: E402
from edgeyolo.backend.interface import CalibrationSource  # noqa: E402
from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.export.source import NetworkSource  # noqa: E402
from edgeyolo.models.network import Network  # noqa: E402
from edgeyolo.models.reparameterize import reparameterize  # noqa: E402
from edgeyolo.models.weights import load  # noqa: E402
from edgeyolo.training.recipe import QAT  # noqa: E402
from edgeyolo_calib.onnx_graph import (  # noqa: E402
    Graph,
    constants_as_weights,
    stable_names,
)
from edgeyolo_calib.qat.distillation import Distillation, distance  # noqa: E402
from edgeyolo_calib.qat.simulated import Quantizers, Simulated, on_int8  # noqa: E402
from edgeyolo_calib.quantize.even_sums import with_even_sums  # noqa: E402
from edgeyolo_calib.quantize.qdq import quantize, settle  # noqa: E402
from edgeyolo_calib.quantize.rules import ONNXRUNTIME, OPENVINO, TENSORRT, Rules, place  # noqa: E402
from edgeyolo_calib.quantize.write import quantize_learned  # noqa: E402
from edgeyolo_calib.ranges.observe import observe  # noqa: E402
from edgeyolo_calib.ranges.ranges import weight_scales  # noqa: E402
from edgeyolo_calib.ranges.statistics import Statistics  # noqa: E402

PLACEMENTS = (ONNXRUNTIME, TENSORRT)
each_rules = pytest.mark.parametrize("rules", PLACEMENTS, ids=lambda rules: rules.name)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network(small_weights: Path) -> Network:
    return reparameterize(load(small_weights).network).network


@pytest.fixture(scope="module")
def source(network: Network, tmp_path_factory: pytest.TempPathFactory) -> NetworkSource:
    spec = network.spec
    output = RawMaps(("p3", "p4", "p5"), spec.strides, spec.anchors, network.classes)
    folder = tmp_path_factory.mktemp("graphs")
    return NetworkSource(network, InputContract(96, 96), output, ("cat", "dog", "bird"), folder)


@pytest.fixture(scope="module")
def graph(source: NetworkSource) -> Graph:
    return Graph(onnx.load(source.onnx(opset=18)))


@pytest.fixture(scope="module")
def statistics(source: NetworkSource, calibration: CalibrationSource) -> Statistics:
    return observe(source.onnx(opset=18), source.input, calibration)


@pytest.fixture
def simulated(network: Network, graph: Graph, statistics: Statistics) -> Simulated:
    return simulate(network, graph, statistics, PLACEMENTS)


def simulate(network: Network, graph: Graph, statistics: Statistics, kinds: tuple[Rules, ...]) -> Simulated:
    made = []
    for rules in kinds:
        placement = place(graph, rules)
        ranges = settle(placement, statistics, rules, rules.scheme, {"images": (0.0, 1.0)})
        made.append(Quantizers(rules, placement, ranges, graph.inputs))
    return Simulated(copy.deepcopy(network), graph, made)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_names_do_not_depend_on_the_exporter(source: NetworkSource, graph: Graph, tmp_path: Path) -> None:
    """torch's exporter numbers tensors in its own way."""
    file, names = tmp_path / "torch.onnx", list(source.output.names)
    torch.onnx.export(
        source.network, (torch.zeros(source.input.shape()),), file, dynamo=False, opset_version=17,
        input_names=["images"], output_names=names,
    )  # fmt: skip
    older = Graph(constants_as_weights(onnx.load(file)))
    ours, theirs = stable_names(graph), stable_names(older)
    assert set(graph.shapes).isdisjoint(set(older.shapes) - {*older.inputs, *older.outputs})
    assert set(ours.values()) == set(theirs.values())
    assert len(set(ours.values())) == len(ours)
    for rules in (*PLACEMENTS, OPENVINO):
        mine, other = place(graph, rules).tensors, place(older, rules).tensors
        assert {ours[name] for name in mine} == {theirs[name] for name in other}


@each_rules
def test_every_operator_computes_what_the_graph_with_quantizers_computes(  # noqa: PLR0917
    network: Network, graph: Graph, statistics: Statistics, rules: Rules, calibration: CalibrationSource,
    source: NetworkSource,
) -> None:  # fmt: skip
    """Each operator is given the graph's own values: roundings that fall the other way would spread otherwise."""
    nearest = replace(rules, even_sums=False)  # as training rounds
    made = quantize(graph.model, statistics, nearest, rules.scheme)
    names = [name for node in graph.nodes for name in node.output]
    batch = next(iter(calibration.batches(source.input)))
    wanted = values_of(made.model, names, batch)
    module = simulate(network, graph, statistics, (rules,)).eval()
    found: dict[str, torch.Tensor] = {}

    def take_theirs(name: str, values: torch.Tensor) -> torch.Tensor:
        found[name] = Quantizers.quantize(module.quantizers()[0], name, values)
        return torch.from_numpy(wanted.get(name, batch))

    module.quantizers()[0].quantize = take_theirs  # type: ignore[method-assign]
    with torch.no_grad():
        module(torch.from_numpy(batch))
    assert set(names) <= set(found)
    for name in names:
        one, other = found[name].numpy(), wanted[name]
        low, high = made.ranges.get(name, (0.0, float(np.abs(other).max())))
        step = (high - low) / 254
        differs = np.abs(one - other) > 1e-4 * max(float(np.abs(other).max()), 1e-6)
        assert differs.sum() <= max(2, 2e-3 * differs.size), name  # values halfway between two integers
        assert np.abs(one - other).max() < 1.01 * step, name


def values_of(model: onnx.ModelProto, names: list[str], batch: np.ndarray) -> dict[str, np.ndarray]:
    """Tensors of a graph with quantizers, behind their quantizers."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    quantizer = {
        node.input[0]: node.output[0] for node in exposed.graph.node if node.op_type == "QuantizeLinear"
    }
    behind = {
        node.input[0]: node.output[0] for node in exposed.graph.node if node.op_type == "DequantizeLinear"
    }
    made = {name for node in exposed.graph.node for name in node.output}
    given = {value.name for value in exposed.graph.output}
    place_of = {}
    for name in names:
        source = name if name not in given or name not in behind.values() else name + "_QuantizeLinear_Input"
        place_of[name] = behind[quantizer[source]] if source in quantizer else name
    wanted = [name for name in dict.fromkeys(place_of.values()) if name not in given and name in made]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    asked = list(dict.fromkeys(place_of.values()))
    values = dict(zip(asked, session.run(asked, {"images": batch}), strict=True))
    return {name: values[place_of[name]] for name in names}


def test_weights_and_scales_learn_and_placements_take_turns(simulated: Simulated) -> None:
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    simulated.train()
    for number, quantizers in enumerate(simulated.quantizers()):
        simulated.zero_grad(set_to_none=True)
        sum(head.square().mean() for head in simulated(images)).backward()
        other = simulated.quantizers()[1 - number]
        assert quantizers.log_scale.grad is not None
        assert (quantizers.log_scale.grad != 0).float().mean() > 0.5
        assert other.log_scale.grad is None
        for name, value in simulated.network.named_parameters():
            assert value.grad is not None and value.grad.abs().sum() > 0, name
    assert int(simulated.turn) == 2
    with torch.no_grad():
        first = simulated.eval()(images)
        again = simulated(images)
    assert int(simulated.turn) == 2
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_step_moves_scales_by_a_thousandth_and_leaves_the_pixels(simulated: Simulated) -> None:
    _, signed = simulated.quantizers()
    optimizer = torch.optim.AdamW(signed.parameters(), lr=QAT.lr0, weight_decay=0)
    before = signed.ranges()
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    simulated.train().turn.fill_(1)
    (1000 * sum(head.square().mean() for head in simulated(images))).backward()  # far from AdamW's epsilon
    optimizer.step()
    after = signed.ranges()
    assert all(low == -high for low, high in after.values())
    moved = {name: abs(np.log(after[name][1] / before[name][1])) for name in after}
    assert sum(0.9e-3 < by < 1.1e-3 for by in moved.values()) > len(moved) / 2
    pixels = [name for name in moved if signed.place[name] in signed.fixed]
    assert [moved[name] for name in pixels] == [0.0] * len(pixels)


def test_distillation_brings_integers_that_are_cut_short_nearer_to_the_float_network(
    simulated: Simulated, network: Network
) -> None:
    """With the recipe's own steps: a gradient that points elsewhere, or steps that are too long, lead away."""
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    penalty = Distillation(network, gain=1e5)  # far from AdamW's epsilon
    with torch.no_grad():
        for quantizers in simulated.quantizers():
            quantizers.log_scale -= 0.005
    how: dict[str, Any] = {"lr": QAT.lr0, "betas": (QAT.momentum, 0.999), "weight_decay": 0}
    optimizer = torch.optim.AdamW(simulated.parameters(), **how)
    simulated.train()
    distances = []
    for _ in range(24):
        optimizer.zero_grad()
        value = penalty(images, simulated(images))
        value.backward()
        optimizer.step()
        distances.append(float(value.detach()))
    for turn in (0, 1):  # of the two placements
        found = distances[turn::2]
        assert found == sorted(found, reverse=True)
        assert found[-1] < 0.95 * found[0]


def test_a_box_that_moved_weighs_more_than_a_class_that_is_a_little_less_sure() -> None:
    """AP drops by the one and not by the other. Squares of sigmoids would say the opposite."""
    anchors = torch.tensor([[2.0, 2.0]])
    teacher = torch.full((1, 1, 8, 4, 4), -9.0)  # nothing anywhere, but for one object
    teacher[:, :, :4] = 0
    teacher[0, 0, :, 1, 2] = torch.tensor([0.0, 0.0, 0.0, 0.0, 4.0, 3.0, -5.0, -5.0])
    moved, unsure = teacher.clone(), teacher.clone()
    moved[0, 0, 2:4, 1, 2] += 0.05  # 5 % larger on each side: an overlap of 0.9
    unsure[0, 0, 5, 1, 2] -= 0.2  # 0.95 -> 0.94
    assert float(distance(teacher, teacher, anchors)) == pytest.approx(0, abs=1e-5)
    box = float(distance(moved, teacher, anchors))
    assert box == pytest.approx(0.1, abs=0.01)
    assert box > 10 * float(distance(unsure, teacher, anchors))


def test_distance_does_not_depend_on_the_size_of_the_picture() -> None:
    """It is by object: empty cells around one change nothing."""
    anchors = torch.tensor([[2.0, 2.0]])
    teacher = torch.full((1, 1, 8, 4, 4), -20.0)  # nothing anywhere, but for one object
    teacher[0, 0, 4, 1, 2] = 4.0
    student = teacher.clone()
    student[0, 0, 4, 1, 2] = 2.0
    wider = [torch.nn.functional.pad(each, (0, 12, 0, 12), value=-20.0) for each in (student, teacher)]
    found = float(distance(student, teacher, anchors))
    assert found > 0.01
    assert float(distance(wider[0], wider[1], anchors)) == pytest.approx(found, rel=1e-3)


def test_weights_are_on_their_grid() -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[1] = 0
    weight.requires_grad_()
    rounded = on_int8(weight)
    scale = weight.detach().flatten(1).abs().amax(1) / 127
    levels = (rounded / torch.where(scale > 0, scale, 1.0).view(-1, 1, 1, 1)).detach()
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert levels.abs().flatten(1).amax(1).tolist() == pytest.approx([127, 0, 127, 127], abs=1e-3)
    rounded.sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.ones_like(weight))  # as if there were no rounding


def test_training_begins_from_the_integers_of_calibration(simulated: Simulated, graph: Graph) -> None:
    exact = copy.deepcopy(simulated.network)
    simulated.round_weights()
    convs = {step.node: step.module for step in simulated.steps if step.kind == "Conv"}
    everywhere = set.intersection(*(set(each.nodes) for each in simulated.quantizers())) & convs.keys()
    assert 0 < len(everywhere) < len(convs)  # stems and heads stay in float
    for node, module in convs.items():
        weight, before = (each.get_submodule(module).weight.detach() for each in (simulated.network, exact))
        if node in everywhere:
            expected = with_even_sums(before.numpy(), weight_scales(before.numpy()))
            assert torch.allclose(weight, torch.from_numpy(expected))
            assert torch.allclose(on_int8(weight), weight, atol=1e-6)
            assert not torch.equal(on_int8(before), weight)
        else:
            assert torch.equal(weight, before)


def learned_from(module: Simulated, graph: Graph) -> LearnedRanges:
    names = stable_names(graph)
    sets = {q.name: {names[name]: ends for name, ends in q.ranges().items()} for q in module.quantizers()}
    return LearnedRanges(sets, 8, "0" * 64, "made up")


@pytest.mark.parametrize("rules", [*PLACEMENTS, OPENVINO], ids=lambda rules: rules.name)
@pytest.mark.parametrize("opset", [17, 18])
def test_exports_have_the_learned_scales(  # noqa: PLR0917
    simulated: Simulated, graph: Graph, source: NetworkSource, rules: Rules, opset: int, tmp_path: Path
) -> None:
    with torch.no_grad():
        for quantizers in simulated.quantizers():
            quantizers.log_scale += 0.0025  # a quarter in logarithms; no calibration would give these
    learned = learned_from(simulated, graph)
    path = tmp_path / "model.onnx"
    onnx.save(constants_as_weights(onnx.load(source.onnx(opset=opset))), str(path))
    made = quantize_learned(path, source.input, learned, rules, tmp_path)
    names = stable_names(Graph(onnx.load(path)))
    values = {item.name: onnx.numpy_helper.to_array(item) for item in made.model.graph.initializer}
    found = 0
    for node in made.model.graph.node:
        name = node.input[0].removesuffix("_QuantizeLinear_Input")
        if node.op_type == "QuantizeLinear" and name in made.placement.tensors:
            low, high = learned.sets[rules.trained_as][names[name]]
            scale = (high - low) / (rules.grid.high - rules.grid.low)
            assert float(values[node.input[1]]) == pytest.approx(scale, rel=1e-5)
            found += 1
    assert found >= len(made.placement.tensors)
    record = (tmp_path / "calibration.json").read_text()
    assert '"learned"' in record and "made up" in record


def test_ranges_of_other_rules_or_of_another_network_are_refused(
    simulated: Simulated, graph: Graph, source: NetworkSource, tmp_path: Path
) -> None:
    learned = learned_from(simulated, graph)
    path = source.onnx(opset=18)
    with pytest.raises(UsageError, match="not of tensorrt"):
        only = replace(learned, sets={"onnxruntime": learned.sets["onnxruntime"]})
        quantize_learned(path, source.input, only, TENSORRT, tmp_path)
    with pytest.raises(UsageError, match="lack 1 tensors"):
        fewer = dict(list(learned.sets["tensorrt"].items())[1:])
        quantize_learned(path, source.input, replace(learned, sets={"tensorrt": fewer}), TENSORRT, tmp_path)


def test_distillation_is_zero_at_the_teacher_and_pulls_towards_it(network: Network) -> None:
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    penalty = Distillation(network, 2.0)
    with torch.no_grad():
        maps = network(images)
    assert float(penalty(images, maps)) == pytest.approx(0, abs=1e-6)
    moved = tuple((head + 0.5).requires_grad_() for head in maps)
    before = penalty(images, moved)
    before.backward()
    after = penalty(images, tuple(head.detach() - 1.0 * head.grad for head in moved))  # type: ignore[operator]
    assert 0 < float(after) < before.item()
    half = Distillation(network, 1.0)
    assert half(images, moved).item() == pytest.approx(before.item() / 2, rel=1e-5)
