"""The paper's ablation tables: their networks are what they say, and every row is trained alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from edgeyolo.datasets import Dataset, load_dataset  # noqa: E402
from edgeyolo.datasets.scenes import write_dataset  # noqa: E402
from edgeyolo.errors import UsageError  # noqa: E402
from edgeyolo.models import specs, weights  # noqa: E402
from edgeyolo.models.blocks import ElanChain  # noqa: E402
from edgeyolo.models.build import build  # noqa: E402
from edgeyolo.models.complexity import fused_parameters, gflops, parameters  # noqa: E402
from edgeyolo.models.csp_blocks import Cell  # noqa: E402
from edgeyolo.models.csp_topology import Csp  # noqa: E402
from edgeyolo.models.network import Network  # noqa: E402
from edgeyolo.models.network_spec import spec_from_json  # noqa: E402
from edgeyolo.models.planned import PLACES, put_rep_convs, read_whole  # noqa: E402
from edgeyolo.models.reparameterize import reparameterize  # noqa: E402
from edgeyolo.models.scaling import elans, scale_width  # noqa: E402
from edgeyolo.models.topology import ModelSpec  # noqa: E402
from edgeyolo.models.units import Convs, IdentityRepConv, RepConv  # noqa: E402
from edgeyolo.training.ablation.ablation import Ablation, Row, ablate  # noqa: E402
from edgeyolo.training.ablation.ablation_tables import Table, cardinalities, find_table  # noqa: E402
from edgeyolo.training.config import TrainConfig  # noqa: E402
from edgeyolo.training.loop.listener import Listener  # noqa: E402
from edgeyolo.training.loop.state import Position  # noqa: E402
from edgeyolo.training.recipe import TINY  # noqa: E402

CONFIG = TrainConfig(epochs=2, batch_size=4, image_size=64, cache="pixels")
RECIPE = replace(TINY, nominal_batch=4, warmup_iterations=1, warmup_epochs=0, mosaic=0)


def disturb(network: Network) -> Network:
    """Statistics as after training, so that folding a norm is not folding ones and zeros."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith(("running_mean", "norm.bias", "identity.bias")):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
            elif name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return network.eval()


def narrow(name: str) -> Network:
    torch.manual_seed(0)
    return build(scale_width(specs.get(name), 0.125), 2)


def test_rows_are_the_papers() -> None:
    names = {n: [row.name for row in find_table(n).variants] for n in range(3, 9)}
    assert names[3] == ["base (v7-X light)", "width only (1.25 w)", "depth only (2.0 d)", "compound (v7-X)"]
    assert names[4] == ["base (3-S ELAN)", *(f"Figure 6 ({letter})" for letter in "abcde")]
    assert names[5] == [
        "base (YOLOR-W6)", "RepCSP (YOLOR-W6)", "RCSP (YOLOR-W6)", "RepRCSP (YOLOR-W6)", "base (YOLOR-CSP)",
        "RepRCSP (YOLOR-CSP)",
    ]  # fmt: skip
    assert names[6] == ["base", "independent", "lead guided", "coarse-to-fine lead guided"]
    assert names[7] == ["base", "aux without constraint", "aux with constraint"]
    assert names[8] == ["base", "aux", "partial aux"]
    assert [row.paper for row in find_table(5).variants] == [0.5482, 0.5467, 0.5436, 0.5485, 0.5081, 0.5091]
    for n in (4, 5):  # each row says how it was read, except what needs no reading
        assert all(row.reading or "base" in row.name for row in find_table(n).variants)
    planned = {
        row.name[-2]: row.paper for row in find_table(4).variants[1:] if row.reading.endswith(": planned")
    }
    assert sorted(planned) == ["b", "c"] and min(planned.values()) > 0.5226  # "all higher AP values" (5.4.2)
    strategies = [row.strategy.name for row in find_table(6).variants[1:]]
    assert strategies == ["independent", "lead-guided", "coarse-to-fine"]
    assert [row.strategy.bounded for row in find_table(7).variants] == [False, False, True]
    for n in (6, 7, 8):
        base, *others = find_table(n).variants
        assert base.spec.aux == () and all(row.spec.aux for row in others)
        deployed = {
            fused_parameters(row.build(80, "deploy", device="meta")) for row in find_table(n).variants
        }
        assert len(deployed) == 1  # heads that only help in training cost nothing later


def test_another_network_and_another_width() -> None:
    table = find_table(6, "yolov7-tiny", width=0.5)
    assert table.variants[1].spec.aux == table.variants[1].spec.lead == (64, 128, 256)
    scaled = find_table(3, "yolov7-tiny").variants
    sizes = [fused_parameters(row.build(80, "deploy", device="meta")) for row in scaled]
    assert min(sizes) == sizes[0] and len(set(sizes)) == 4


@pytest.mark.parametrize(
    ("number", "model", "expected"),
    [
        (2, None, "ablation tables are 3, 4"),
        (4, "yolov7-tiny", "no choice of place"),
        (8, "yolov7-e6", "E-ELAN"),
        (5, "yolov7-w6", "residual blocks of CSPDarknet"),
        (5, "yolov3", "residual blocks of CSPDarknet"),
        (6, "yolor-csp", "ELAN blocks"),
    ],
)
def test_tables_that_make_no_sense(number: int, model: str | None, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        find_table(number, model).variants[1].build(2, device="meta")


@pytest.mark.parametrize(
    ("place", "identity", "without"),
    [
        ("repconv-first", {0, 2, 4}, set()),
        ("repconv-last", {1, 3, 5}, set()),
        ("repconv-all", set(range(6)), set()),
        ("repconv-end", {5}, set()),
        ("repconv-planned", {0, 2, 4}, {1, 3, 5}),
    ],
)
def test_planned_rep_convs(place: str, identity: set[int], without: set[int]) -> None:
    network = narrow("yolov7x")
    base = fused_parameters(network)
    put_rep_convs(network, PLACES[place])
    for chain in (module for module in network.modules() if isinstance(module, ElanChain)):
        assert {i for i, unit in enumerate(chain.chain) if type(unit) is IdentityRepConv} == identity
        assert {i for i, unit in enumerate(chain.chain) if type(unit) is RepConv} == without
    assert fused_parameters(network) == base
    assert reparameterize(disturb(network)).report.largest.relative < 1e-4


@pytest.mark.parametrize(
    ("number", "row"), [(4, 1), (4, 3), (4, 5), (5, 0), (5, 1), (5, 2), (5, 3), (5, 5), (8, 1)]
)
def test_rows_are_saved_folded_and_loaded_like_any_network(number: int, row: int, tmp_path: Path) -> None:
    network = disturb(find_table(number, width=0.0625).variants[row].build(2))
    weights.save(tmp_path / "row.safetensors", network, ("a", "b"), {})
    loaded = weights.load(tmp_path / "row.safetensors").network
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for mine, again in zip(network(image), loaded(image), strict=True):
            torch.testing.assert_close(mine, again)
    folded = reparameterize(loaded)
    assert folded.report.largest.relative < 1e-4
    weights.save(tmp_path / "plain.safetensors", folded.network, ("a", "b"), {})
    assert weights.load(tmp_path / "plain.safetensors").network.spec == network.spec


def test_only_what_is_tried_stands_in_a_file() -> None:
    spec = specs.get("yolov7-w6")
    assert "tried" not in spec.to_json()
    tried = replace(spec, tried="repconv-end")
    assert ModelSpec.from_json(tried.to_json()) == tried
    with pytest.raises(UsageError, match="tried 'psc' is not one of"):
        replace(spec, tried="psc")


def test_rep_conv_with_identity_is_three_branches() -> None:
    unit = IdentityRepConv(4, torch.nn.Identity()).eval()
    with torch.no_grad():
        unit.identity.running_mean.fill_(0.5)
        unit.identity.running_var.fill_(4.0 - unit.identity.eps)
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unit(x) - unit.dense(x) - unit.pointwise(x), (x - 0.5) / 2)


def dark_cells(network: Network) -> list[Cell]:
    return [m for stage in network.backbone for m in stage.modules() if isinstance(m, Cell)]


@pytest.mark.parametrize("model", ["yolor-w6", "yolor-csp"])
def test_residual_blocks_of_table_5(model: str) -> None:
    rows = find_table(5, model, width=0.125).variants
    networks = [row.build(2) for row in rows]
    base, rep, turned, rep_turned = networks
    assert parameters(base) == parameters(turned)  # paper 5.4.2: "exactly the same amount"
    assert parameters(rep) == parameters(rep_turned) > parameters(base)
    assert len({fused_parameters(network) for network in networks}) == 1
    image = torch.zeros(1, 3, 64, 64)
    shapes = [[tuple(head.shape) for head in network.eval()(image)] for network in networks]
    assert all(same == shapes[0] for same in shapes)
    for network, kinds in (
        (base, [1, 3]), (rep, [1, IdentityRepConv]), (turned, [3, 1]), (rep_turned, [IdentityRepConv, 1]),
    ):  # fmt: skip
        cells = dark_cells(network)
        assert len(cells) == sum(stage.block.depth for stage in rows[0].spec.backbone)
        for cell in cells:
            told = [
                IdentityRepConv if isinstance(u, IdentityRepConv) else u.kernel.kernel_size[0]
                for u in cell.convs
            ]
            assert told == kinds
    for network in networks:  # stem and neck are left alone
        assert network.stem.state_dict().keys() == base.stem.state_dict().keys()
        assert not any(isinstance(unit, RepConv) for unit in network.neck.modules())
        assert spec_from_json(json.loads(json.dumps(network.spec.to_json()))) == network.spec


@pytest.mark.parametrize("cell", ["dark", "reversed-dark"])
def test_dark_cells_are_residual(cell: str) -> None:
    spec = Csp(8, 1, "none", cell)
    block = Cell(spec, Convs("training", "silu")).eval()
    x = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(block(x), x)
    with torch.no_grad():
        block.convs[1].branch.norm.weight.zero_()
    assert torch.equal(block(x), x)


def test_cardinalities_cost_the_same() -> None:
    for model, width in ((None, 1.0), ("yolov7-tiny", 0.5)):
        rows = cardinalities(model, width=width).variants
        assert [{elan.groups for elan in elans(row.spec)} for row in rows] == [{1}, {2}, {4}]
        costs = [gflops(row.build(80, "deploy", device="meta"), (640, 640)) for row in rows]
        assert max(costs) / min(costs) < 1.005
        outs = [[elan.out for elan in elans(row.spec)] for row in rows]
        assert outs[0] == outs[1] == outs[2]
    with pytest.raises(UsageError, match="ELAN blocks"):
        cardinalities("yolor-csp")


def test_whole_auxiliary_heads_read_the_sum_of_the_twins() -> None:
    partial, whole = disturb(narrow("yolov7-e6e")), disturb(narrow("yolov7-e6e"))
    read_whole(whole)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def maps() -> list[tuple[object, object]]:
        with torch.no_grad():
            return list(zip(partial(image), whole(image), strict=True))

    same = [torch.equal(a, b) for a, b in maps()]
    assert same == [True] * 4 + [False] * 3 + [True]  # the coarsest level has no twins
    with torch.no_grad():
        for network in (partial, whole):
            for step in network.top_down:
                norm = step.elan.twins[0].transition.branch.norm
                norm.weight.zero_()
                norm.bias.zero_()
    assert all(torch.equal(a, b) for a, b in maps())  # nothing is added, so there is no difference


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    folder = tmp_path_factory.mktemp("scenes")
    return (
        load_dataset(write_dataset(folder / "train", range(1000, 1006), (64, 64))),
        load_dataset(write_dataset(folder / "val", range(3), (64, 64))),
    )


class Count(Listener):
    """Counts iterations, and fails at one of them."""

    def __init__(self, fail_at: int = -1) -> None:
        self.iterations, self.fail_at = 0, fail_at

    def iteration(self, position: Position, items: list[float]) -> None:
        if self.iterations == self.fail_at:
            raise ConnectionAbortedError
        self.iterations += 1


def small(number: int) -> Table:
    table = find_table(number, "yolov7-tiny", width=0.125)
    return replace(table, variants=table.variants[:2])


@pytest.mark.slow
def test_every_row_is_trained_and_a_stopped_table_is_gone_on_with(
    data: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    count = Count()
    whole = ablate(
        small(6), *data, tmp_path / "whole", config=CONFIG, recipe=RECIPE, seeds=2, listener=lambda: count
    )
    assert count.iterations == 2 * 2 * 2 * 2  # rows, seeds, epochs, batches
    assert [row.name for row in whole.rows] == ["base", "independent"]
    assert all(len(row.ap) == 2 and row.params == whole.rows[0].params for row in whole.rows)
    saved = json.loads((tmp_path / "whole/ablation.json").read_text())
    assert saved["rows"][1]["ap"] == list(whole.rows[1].ap)
    assert saved["seeds"] == [0, 1] and saved["config"]["epochs"] == 2

    stopping = Count(fail_at=6)  # in the second row
    options = {"config": CONFIG, "recipe": RECIPE, "seeds": 2}
    with pytest.raises(ConnectionAbortedError):
        ablate(small(6), *data, tmp_path / "stopped", listener=lambda: stopping, **options)
    rest = Count()
    again = ablate(small(6), *data, tmp_path / "stopped", listener=lambda: rest, **options)
    assert 16 - 6 <= rest.iterations < 16
    assert [(row.ap, row.ap50) for row in again.rows] == [(row.ap, row.ap50) for row in whole.rows]
    for file in (tmp_path / "whole").rglob("results.csv"):
        twin = tmp_path / "stopped" / file.relative_to(tmp_path / "whole")
        losses = [[line.split(",")[2:6] for line in path.read_text().splitlines()] for path in (file, twin)]
        assert losses[0] == losses[1]

    with pytest.raises(UsageError, match="another recipe"):
        ablate(small(6), *data, tmp_path / "whole", config=CONFIG, recipe=replace(RECIPE, box=0.1))
    with pytest.raises(UsageError, match="another config"):
        ablate(small(6), *data, tmp_path / "whole", config=replace(CONFIG, epochs=3), recipe=RECIPE)


def test_cells() -> None:
    rows = (
        Row("a", 1_500_000, 12.34, (0.5, 0.52), (0.7, 0.7), (1.0, 1.0), 0.55),
        Row("b", 1, 1.0, (0.5,), (0.6,), (1.0,)),
    )
    base, other = Ablation(3, "t", "", (0, 1), rows).cells()
    third = Row("c", 1, 1.0, (0.4,), (0.6,), (1.0,), base="b", reading="read so")
    told = Ablation(5, "t", "", (0, 1), (*rows, third))
    assert told.cells()[2][5] == "-10.00" and told.readings() == ["c: read so"]
    assert base == ("a", "1.50", "12.3", "51.00 ± 1.41", "70.00", "", "55.00", "")
    assert other == ("b", "0.00", "1", "50.00", "60.00", "-1.00", "", "")
