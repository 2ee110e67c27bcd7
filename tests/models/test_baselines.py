"""The paper's baselines: published entries, layer tables, counts and outputs, and the topology they are made of."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the export extra")

from edgeyolo.errors import DamagedFileError, UsageError  # noqa: E402
from edgeyolo.models import specs  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.complexity import describe, fused_parameters, gflops, parameters  # noqa: E402
from edgeyolo.models.csp_topology import Csp, CspSpec, CspStage, CspStep, Fpn, Pan  # noqa: E402
from edgeyolo.models.heads import ImplicitOutput, Output  # noqa: E402
from edgeyolo.models.layers import conv_layers  # noqa: E402
from edgeyolo.models.network import conv_units  # noqa: E402
from edgeyolo.models.network_spec import spec_from_json  # noqa: E402
from edgeyolo.models.paper import BASELINE_ROWS  # noqa: E402
from edgeyolo.models.published import recognise  # noqa: E402
from edgeyolo.models.reparameterize import reparameterize  # noqa: E402
from edgeyolo.models.tiny_topology import TinySpec  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden" / "baselines"
NAMES = (
    "yolov3", "yolov3-spp", "yolov4-csp", "yolor-csp", "yolor-csp-x", "r50-csp", "x50-csp", "yolor-p6", "yolor-w6",
    "yolor-e6", "yolor-d6",
)  # fmt: skip
LARGE = (
    *("yolov3", "yolov3-spp", "yolov4-csp", "yolor-csp-x"),
    *("yolor-p6", "yolor-w6", "yolor-e6", "yolor-d6"),
)
WITH_OUTPUTS = [
    pytest.param(name, marks=pytest.mark.slow if name in LARGE else ())
    for name in NAMES
    if name not in ("r50-csp", "x50-csp")  # of these no published output was at hand
]
ANCHORS = (((8.0, 8.0), (16.0, 12.0)), ((24.0, 32.0), (40.0, 36.0)))


@pytest.fixture(scope="session")
def tables() -> dict[str, dict[str, tuple[int, ...]]]:
    """Published state-dict keys and shapes of every baseline, 80 classes."""
    tables = json.loads(gzip.decompress((GOLDEN / "state_dicts.json.gz").read_bytes()))
    return {name: {key: tuple(shape) for key, shape in table.items()} for name, table in tables.items()}


@pytest.fixture(scope="session")
def rows() -> dict[str, dict[str, str]]:
    with (GOLDEN / "summary.csv").open(newline="") as file:
        return {row["model"]: row for row in csv.DictReader(file)}


@pytest.fixture
def fill(value_of: Callable[..., np.ndarray], tables: Any) -> Callable[[str], dict[str, Any]]:
    """A published state dict whose values follow from its keys alone."""
    left_out = ("anchors", "anchor_grid", "num_batches_tracked")
    return lambda name: {
        key: torch.from_numpy(value_of(key, shape))
        for key, shape in tables[name].items()
        if key.rpartition(".")[2] not in left_out
    }


def narrow(**changes: Any) -> CspSpec:
    """A small network with CSP blocks of all kinds, DownC and a skipped first stage."""
    spec = CspSpec(
        "narrow",
        stem="dark",
        width=16,
        backbone=(
            CspStage("conv", 16, Csp(16, 2, "half-closed")),
            CspStage("downc", 24, Csp(32, 1, "half", "res")),
            CspStage("conv", 32, Csp(32, 2, "none")),
        ),
        neck=Pan(
            spp=16,
            top_down=(CspStep(16, Csp(24, 1, "late", shortcut=False)),),
            bottom_up=(CspStage("downc", 16, Csp(32, 1, "late", "resx")),),
            lead=(24, 40),
        ),
        anchors=ANCHORS,
        imgsz=64,
    )
    return replace(spec, **changes)


NARROW = [
    narrow(),
    narrow(stem="focus", implicit=False),
    narrow(stem="pooled", backbone=(CspStage("none", 16, Csp(16, 1, "half")), *narrow().backbone[1:])),
    narrow(neck=Fpn((16, 8)), act="leaky_relu"),
    narrow(neck=Fpn((16, 8), spp=True)),
    TinySpec("narrow", ANCHORS, width=8, imgsz=64),
]


def _kind(spec: CspSpec | TinySpec) -> str:
    return f"{spec.stem}-{type(spec.neck).__name__}" if isinstance(spec, CspSpec) else "tiny"


def test_the_baselines_are_listed_after_the_eight() -> None:
    assert specs.baselines() == ("yolov4-tiny", "yolov4-tiny-3l", *NAMES)
    assert specs.known() == (*specs.names(), *specs.baselines(), *specs.own())
    assert [specs.find(name).name for name in specs.known()] == list(specs.known())
    with pytest.raises(UsageError, match=r"yolov9.*yolov7-tiny.*yolor-d6"):
        specs.find("yolov9")


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_the_published_ones(name: str, rows: dict[str, dict[str, str]]) -> None:
    spec, row = specs.find(name), rows[name]
    network, plain = (build(spec, form=form, device="meta") for form in ("training", "plain"))
    assert spec.strides == tuple(map(int, row["strides"].split()))
    assert [[side for pair in level for side in pair] for level in spec.anchors] == json.loads(
        row["anchors_px"]
    )
    assert parameters(network) == int(row["params_unfused"])
    assert fused_parameters(network) == int(row["params_fused"])
    assert gflops(plain, (640, 640)) == pytest.approx(float(row["gflops_640_fused_convs"]), abs=0.0051)
    implicit = [output for output in network.outputs if isinstance(output, ImplicitOutput)]
    assert len(implicit) == (spec.levels if row["head"] == "IDetect" else 0)
    vectors = sum(output.offset.numel() + output.scale.numel() for output in implicit)
    assert parameters(plain) == int(row["params_fused"]) - vectors


def test_implicit_knowledge_is_gone_when_folded() -> None:
    counts = {
        name: parameters(build(name, form="plain", device="meta")) for name in ("yolor-csp", "yolov4-csp")
    }
    assert counts == {"yolor-csp": 52_889_053, "yolov4-csp": 52_889_053}


@pytest.mark.parametrize(
    "row", [row for row in BASELINE_ROWS if row.name != "yolov4-tiny-3l"], ids=lambda row: row.name
)
def test_the_papers_figures_are_met(row: Any) -> None:
    """Within 0.5 % of what the paper may have rounded to the printed digit."""
    network = build(row.name, form="plain", device="meta")
    assert abs(gflops(network, (row.imgsz, row.imgsz)) - row.gflops) <= 0.005 * row.gflops + 0.05
    assert abs(parameters(network) / 1e6 - row.params) <= 0.005 * row.params + 0.05
    assert describe(row.name).paper == row


def test_the_papers_rows_are_copied_right(shared: Path) -> None:
    with (shared / "spec" / "paper_tables.csv").open(newline="") as file:
        lines = [(table, cells) for table, *cells in csv.reader(file)]
    names = {cells[0].partition(" ")[0].lower(): (table, cells) for table, cells in lines if table == "1"}
    speeds = {cells[0].partition(" ")[0].lower(): cells for table, cells in lines if table == "2"}
    for row in BASELINE_ROWS:
        if row.name in names:
            ap = tuple(round(float(cell.rstrip("%")) / 100, 3) for cell in names[row.name][1][4:7])
            assert (row.ap, row.ap50, row.ap75) == ap
        if row.name in speeds:
            ap_test, value = (
                round(float(cell.strip(" %")) / 100, 3) for cell in speeds[row.name][5].split("/")
            )
            assert (row.fps, row.ap_test, row.ap) == (int(speeds[row.name][4]), ap_test, value)
        cells = speeds.get(row.name) or names[row.name][1]
        assert (row.params, row.gflops) == (float(cells[1].rstrip("MG")), float(cells[2].rstrip("G")))


def test_a_network_without_a_row_in_the_paper_is_described() -> None:
    found = describe("yolov3")
    assert (found.paper, found.imgsz, found.params) == (None, 640, 61_922_845)
    assert json.loads(json.dumps(found.to_json()))["paper"] is None


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_the_published_ones(name: str) -> None:
    """Node by node, in the order of registration, on which the import of checkpoints rests."""
    network = build(name, device="meta")
    strides: dict[Any, int] = {}
    for unit in conv_units(network).values():
        unit.register_forward_hook(lambda unit, _, output: strides.update({unit: 640 // output.shape[2]}))
    with torch.no_grad():
        network.eval()(torch.empty(1, 3, 640, 640, device="meta"))
    left = [unit for unit in conv_units(network).values() if not isinstance(unit, Output)]
    with (GOLDEN / "layers" / f"{name}.csv").open(newline="") as file:
        *nodes, head = csv.DictReader(file)
    for node in nodes:
        units = []
        while sum(map(parameters, units)) < int(node["params"]):
            units.append(left.pop(0))
        assert sum(map(parameters, units)) == int(node["params"]), node
        if units:
            if node["block"] != "DownC":  # ends with two branches
                assert units[-1].kernel.out_channels == int(node["c_out"]), node
            assert strides[units[-1]] == int(node["out_stride"]), node
        if node["block"] == "Conv":
            kernel = units[0].kernel
            keys = ("c_in", "c_out", "kernel", "stride", "groups")
            assert [int(node[key]) for key in keys] == [
                kernel.in_channels, kernel.out_channels, kernel.kernel_size[0], kernel.stride[0], kernel.groups,
            ], node  # fmt: skip
            assert type(units[0].act).__name__ == node["act"]
    assert not left
    assert parameters(network.outputs) == int(head["params"])


@pytest.mark.parametrize("name", NAMES)
def test_published_entries_are_recognised(name: str, tables: Any) -> None:
    state = {
        key: torch.empty(shape, device="meta") for key, shape in tables[name].items() if "anchor" not in key
    }
    found = recognise(state)
    form = "training" if any("implicit" in key for key in state) else "deploy"
    assert (found.spec, found.form, found.classes) == (specs.find(name), form, 80)


@pytest.mark.parametrize("name", WITH_OUTPUTS)
def test_outputs_before_and_after_reparameterization(
    name: str, fill: Callable[[str], Any], golden_input: np.ndarray
) -> None:
    network = recognise(fill(name)).network()
    folded = reparameterize(network).network
    with np.load(GOLDEN / "networks" / f"{name}.npz") as file:
        expected = [file[f"head{level}"] for level in range(network.levels)]
    with torch.inference_mode():
        for each in (network, folded):
            for found, reference in zip(each(torch.from_numpy(golden_input)), expected, strict=True):
                n, _, height, width = found.shape
                maps = found.numpy().reshape(n, 3, 85, height, width).transpose(0, 1, 3, 4, 2)
                assert maps.shape == reference.shape
                assert np.abs(maps - reference).max() <= 1e-5 * np.abs(reference).max()


def test_yolov4_tiny_is_darknets() -> None:
    """Its counts are known; of the network that the paper calls yolov4-tiny-3l only that it is another one."""
    tiny, larger = describe("yolov4-tiny"), describe("yolov4-tiny-3l")
    assert (tiny.params_training, tiny.strides) == (6_056_606, (16, 32))
    assert round(tiny.gflops, 1) == 6.9
    assert (larger.strides, larger.imgsz) == ((8, 16, 32), 320)
    assert larger.params == tiny.params + 64 * 257 + 128 * (9 * (64 + 128) + 1) + 255 * 129
    assert larger.paper is not None
    assert larger.params / 1e6 < 0.8 * larger.paper.params


TINY = TinySpec("narrow", ANCHORS, width=8, imgsz=64)


def test_partial_blocks_compute_what_darknet_writes(scramble: Callable[..., Any]) -> None:
    """Layer by layer, as darknet's configuration lists them: the second half of the channels is convolved."""
    network = scramble(build(TINY, classes=3))
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    pool = torch.nn.functional.max_pool2d
    with torch.no_grad():
        x, laterals = network.stem(image), []
        for block in network.blocks:
            entered = block.enter(x)
            first = block.first(entered.chunk(2, 1)[1])
            mixed = block.mix(torch.cat([block.second(first), first], 1))
            laterals.append(mixed)
            x = pool(torch.cat([entered, mixed], 1), 2)
        x = network.narrow(network.last(x))
        up = torch.nn.functional.interpolate(network.steps[0].reduce(x), scale_factor=2)
        finer = network.steps[0].lead(torch.cat([up, laterals[2]], 1))
        expected = network.outputs[0](finer), network.outputs[1](network.coarsest(x))
        for found, reference in zip(network(image), expected, strict=True):
            assert torch.equal(found, reference)


def test_a_tiny_spec_is_checked() -> None:
    assert spec_from_json(json.loads(json.dumps(TINY.to_json()))) == TINY
    for change in (
        {"anchors": [[[1, 2]]]},
        {"width": 0},
        {"act": "mish"},
        {"name": ""},
        {"levels": 2},
        {"topology": "x"},
    ):
        with pytest.raises(DamagedFileError, match="manifest: not a network spec"):
            spec_from_json({**json.loads(json.dumps(TINY.to_json())), **change}, "manifest")


@pytest.mark.parametrize("name", specs.baselines())
def test_a_spec_survives_json(name: str) -> None:
    spec = specs.find(name)
    assert spec_from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"stem": "cross"}, {"width": 0}, {"implicit": 1}, {"act": "mish"}, {"anchors": []}, {"backbone": []},
        {"neck": {"widths": []}}, {"neck": {"widths": [8], "spp": 2}}, {"neck": None}, {"extra": 1}, {"name": ""},
        {"imgsz": -1}, {"backbone": [{"down": "conv", "channels": 8, "block": {}}] * 3},
    ],
)  # fmt: skip
def test_a_forged_spec_is_damaged(change: dict[str, Any]) -> None:
    with pytest.raises(DamagedFileError, match="manifest: not a network spec"):
        spec_from_json({**json.loads(json.dumps(narrow().to_json())), **change}, "manifest")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"depth": 0}, "depth"), ({"out": 15}, "even"), ({"split": "third"}, "half-closed"), ({"cell": "swin"}, "dark"),
        ({"shortcut": "yes"}, "true or false"), ({"out": 48, "cell": "resx"}, "32 groups"),
    ],
)  # fmt: skip
def test_a_block_that_cannot_be_is_refused(block: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(Csp(16, 1, "half"), **block)


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="too few"):
        narrow(backbone=narrow().backbone[:2], neck=Fpn((16, 8, 4)), anchors=(*ANCHORS, ANCHORS[0]))
    with pytest.raises(UsageError, match="halves the resolution"):
        narrow(backbone=(*narrow().backbone[:2], CspStage("none", 32, Csp(32, 1, "half"))))
    with pytest.raises(UsageError, match="do not fit"):
        replace(narrow().neck, lead=(8, 8, 8))


@pytest.mark.parametrize("spec", NARROW, ids=_kind)
def test_small_networks_of_every_kind(spec: CspSpec | TinySpec, scramble: Callable[..., Any]) -> None:
    """The torch-free walk is the network, and the folded network computes what the trained one does."""
    network = scramble(build(spec, classes=3))
    plain = reparameterize(network)
    assert plain.report.largest.relative <= 1e-5
    assert (plain.network.levels, network.channels) == (2, 16)
    seen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for name, unit in conv_units(plain.network).items():
        unit.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update(
                {name: (tuple(inputs[0].shape), tuple(output.shape))}
            )
        )
    with torch.no_grad():
        maps = plain.network(torch.zeros(1, 3, 64, 128))
    assert [tuple(each.shape) for each in maps] == [(1, 16, 64 // s, 128 // s) for s in spec.strides]
    layers = conv_layers(spec, 3, (64, 128))
    assert [layer.name for layer in layers] == list(conv_units(plain.network))
    for layer in layers:
        assert seen[layer.name] == ((1, layer.c_in, *layer.size_in), (1, layer.c_out, *layer.size_out))
    assert sum(layer.weights for layer in layers) == parameters(plain.network)


def test_shortcuts_and_splits_count(scramble: Callable[..., Any]) -> None:
    """One block of each kind computes what its spec says, by hand."""
    from edgeyolo.models.csp_blocks import CspBlock
    from edgeyolo.models.units import Convs

    x = torch.rand(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    for split in ("half", "half-closed", "late"):
        for shortcut in (True, False):
            block = scramble(CspBlock(8, Csp(8, 1, split, shortcut=shortcut), Convs("training", "silu")))
            with torch.no_grad():
                entered = block.enter(x)
                chained = block.chain[0].convs(entered) + (entered if shortcut else 0)
                first = block.close(chained) if split == "half-closed" else chained
                second = block.bypass(entered if split == "late" else x)
                expected = block.transition(torch.cat((first, second), 1))
                assert torch.allclose(block(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("target", ["cpu-onnx-fp32", "jetson-trt-fp16"])
def test_a_narrow_one_exports(target: str, tmp_path: Path, scramble: Callable[..., Any]) -> None:
    from edgeyolo.backend import registry
    from edgeyolo.export import ExportOptions, export
    from edgeyolo.models.weights import save

    _, backend = registry.find_target(target)
    if not backend.can_compile().ok:
        pytest.skip(backend.can_compile().reason)
    torch.manual_seed(0)
    save(tmp_path / "narrow.safetensors", build(narrow(), classes=3).eval(), ("a", "b", "c"), {})
    artifact = export(tmp_path / "narrow.safetensors", target, tmp_path / "out", ExportOptions(size=(64, 96)))
    assert artifact.manifest.parity is not None and artifact.manifest.parity.holds
    assert spec_from_json(artifact.manifest.spec) == narrow()
