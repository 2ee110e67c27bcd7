"""Label assignment against the published positives and against a plain, slow reading of the specification."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgeyolo.training.loss import assign as assignment  # noqa: E402
from edgeyolo.training.loss import candidates as candidate_module  # noqa: E402
from edgeyolo.training.loss.assign import Positives  # noqa: E402
from edgeyolo.training.loss.candidates import Levels, compact, find_candidates, pad_targets  # noqa: E402
from edgeyolo.training.loss.loss import DetectionLoss  # noqa: E402
from edgeyolo.training.loss.simota import sim_ota  # noqa: E402
from edgeyolo.training.loss.strategy import INDEPENDENT, LEAD_GUIDED, SIMPLE, Strategy  # noqa: E402

Row = tuple[float, ...]


def rows(positives: Positives, labels: Any) -> list[Row]:
    """level, image, anchor, row, column, class, cx, cy, w, h of every positive, sorted."""
    where = [positives.level, positives.image, positives.anchor, positives.row, positives.column]
    label = labels.classes[positives.image, positives.target]
    box = labels.boxes[positives.image, positives.target]
    table = torch.cat([torch.stack([*where, label], 1).double(), box.double()], 1)
    return sorted(map(tuple, table[positives.valid].tolist()))


def test_golden_positives(golden_loss: Any) -> None:
    data = golden_loss.data
    if "lead_pos0" not in data:
        assert golden_loss.loss.config.strategy is SIMPLE  # its positives show in its gradients (test_loss)
        return
    labels = pad_targets(golden_loss.targets, golden_loss.maps[0].shape[0])
    lead, auxiliary = golden_loss.loss.positives(golden_loss.maps, labels)
    expected = []
    for level in range(golden_loss.levels):
        for place, target in zip(data[f"lead_pos{level}"], data[f"lead_target{level}"], strict=True):
            expected.append((float(level), *map(float, place), *map(float, target[1:])))
    assert rows(lead, labels) == sorted(expected)
    assert (auxiliary is not None) == ("aux_pos0" in data)
    if auxiliary is not None:
        places = [
            (level, *place)
            for level in range(golden_loss.levels)
            for place in data[f"aux_pos{level}"].tolist()
        ]
        assert sorted(row[:5] for row in rows(auxiliary, labels)) == sorted(places)


def plain_candidates(
    loss: DetectionLoss, maps: list[Any], targets: np.ndarray, reach: str
) -> list[tuple[int, ...]]:
    """level, image, anchor, row, column, target: loops, straight from the specification."""
    found = []
    for level, (stride, head) in enumerate(zip(loss.strides.tolist(), maps, strict=False)):
        grid = np.float32([head.shape[3], head.shape[2]])
        for step in [(0, 0), (-1, 0), (0, -1), (1, 0), (0, 1)]:
            for anchor, sides in enumerate(loss.anchors[level].numpy() / stride):
                for number, target in enumerate(targets):
                    ratio = target[4:] * grid / sides
                    centre = target[2:4] * grid
                    part = centre - np.floor(centre)
                    ok = max(ratio.max(), (1 / ratio).max()) < 4
                    for axis in (0, 1):
                        if step[axis] < 0:
                            ok &= centre[axis] > 1 and (reach == "coarse" or part[axis] < 0.5)
                        if step[axis] > 0:
                            ok &= grid[axis] - centre[axis] > 1 and (reach == "coarse" or part[axis] > 0.5)
                    if ok:
                        x, y = np.clip(np.floor(centre).astype(int) + step, 0, grid.astype(int) - 1)
                        found.append((level, int(target[0]), anchor, int(y), int(x), number))
    return found


def plain_sim_ota(
    loss: DetectionLoss, maps: list[Any], targets: np.ndarray, found: list[tuple[int, ...]], top: int
) -> list[tuple[int, ...]]:
    size = maps[0].shape[2] * loss.strides[0].item()
    positives = []
    for image in range(maps[0].shape[0]):
        mine = [number for number, target in enumerate(targets) if target[0] == image]
        here = [place for place in found if place[1] == image]
        if not here:
            continue
        cost, iou = np.zeros((len(mine), len(here))), np.zeros((len(mine), len(here)))
        for column, (level, _, anchor, y, x, _) in enumerate(here):
            raw = maps[level].detach()[image].view(3, -1, *maps[level].shape[2:])[anchor, :, y, x].double()
            p = 1 / (1 + np.exp(-raw.numpy()))
            centre = (p[:2] * 2 - 0.5 + [x, y]) * loss.strides[level].item()
            half = (p[2:4] * 2) ** 2 * loss.anchors[level, anchor].numpy() / 2
            score = np.sqrt(p[5:] * p[4])
            for row, number in enumerate(mine):
                box = targets[number, 2:].astype(float) * size
                low = np.maximum(centre - half, box[:2] - box[2:] / 2)
                inter = np.clip(np.minimum(centre + half, box[:2] + box[2:] / 2) - low, 0, None).prod()
                iou[row, column] = inter / (4 * half.prod() + box[2:].prod() - inter)
                hot = np.eye(len(score))[int(targets[number, 1])]
                bce = -(hot * np.log(score) + (1 - hot) * np.log(1 - score)).sum()
                cost[row, column] = bce - 3 * np.log(iou[row, column] + 1e-8)
        wanted = np.maximum(1, np.sort(iou, 1)[:, ::-1][:, :top].sum(1).astype(int))
        claim = np.zeros(cost.shape, bool)
        for row, k in enumerate(wanted):
            claim[row, np.argsort(cost[row], kind="stable")[:k]] = True
        for column, place in enumerate(here):
            if claim[:, column].any():
                twice = claim[:, column].sum() > 1
                row = cost[:, column].argmin() if twice else claim[:, column].argmax()
                positives.append((*place[:5], mine[row]))
    return positives


def as_rows(found: list[tuple[int, ...]], targets: np.ndarray) -> list[Row]:
    return sorted((*map(float, place[:5]), *map(float, targets[place[5], 1:])) for place in found)


@pytest.mark.parametrize("reach", ["fine", "coarse"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_plain_reading(reach: Any, seed: int, scene: Callable[..., Any], make_loss: Any) -> None:
    maps, targets = scene([3, 0, 17, 8], seed=seed, size=96)
    loss = make_loss(size=96)
    labels = pad_targets(targets, 4)
    levels = Levels.of(maps, loss.anchors, loss.strides)
    found = plain_candidates(loss, maps, targets.numpy(), reach)
    every = assignment.assign(maps, labels, levels, reach, top=None)
    assert rows(every, labels) == as_rows(found, targets.numpy())
    chosen = assignment.assign(maps, labels, levels, reach, top=10)
    assert rows(chosen, labels) == as_rows(
        plain_sim_ota(loss, maps, targets.numpy(), found, 10), targets.numpy()
    )


def test_padded_form_without_reading_values(
    monkeypatch: pytest.MonkeyPatch, scene: Callable[..., Any], make_loss: Any
) -> None:
    """Computation on an accelerator: the same positives and loss, and no shape that depends on a value."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    maps, targets = scene([5, 0, 30], heads=2)
    loss, labels = make_loss(), pad_targets(targets, 3)
    expected = loss(maps, labels)
    expected_rows = [rows(found, labels) for found in loss.positives(maps, labels)]
    expected.total.backward()
    gradients = [head.grad.clone() for head in maps]
    monkeypatch.setattr(candidate_module, "host_reads", lambda tensor: False)
    monkeypatch.setattr(assignment, "host_reads", lambda tensor: False)
    for head in maps:
        head.grad = None
    padded = loss(maps, labels)
    padded.total.backward()
    assert [rows(found, labels) for found in loss.positives(maps, labels)] == expected_rows
    torch.testing.assert_close(padded.items, expected.items, rtol=1e-6, atol=1e-7)
    for head, gradient in zip(maps, gradients, strict=True):
        torch.testing.assert_close(head.grad, gradient, rtol=1e-5, atol=1e-8)
    with FakeTensorMode(allow_non_fake_inputs=True):  # raises wherever a value would have to be known
        fake = [torch.randn(head.shape, requires_grad=True) for head in maps]
        loss(fake, labels).total.backward()


def test_in_pieces_and_twice_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, scene: Callable[..., Any], make_loss: Any
) -> None:
    maps, targets = scene([12, 1, 0, 40, 9])
    loss, labels = make_loss(), pad_targets(targets, 5)
    whole, _ = loss.positives(maps, labels)
    again, _ = loss.positives(maps, labels)
    assert all(
        torch.equal(getattr(whole, name), getattr(again, name))
        for name in ("image", "row", "target", "order")
    )
    total = loss(maps, labels).total
    monkeypatch.setattr(assignment, "PAIRS_AT_ONCE", 1000)
    pieces, _ = loss.positives(maps, labels)
    assert rows(pieces, labels) == rows(whole, labels)
    torch.testing.assert_close(loss(maps, labels).total, total)


@pytest.mark.parametrize(("counts", "groups"), [([1, 1, 0], 1), ([1, 1, 9], 2), ([1, 7, 9], 3)])
def test_positives_of_every_group_are_put_together(
    counts: list[int], groups: int, monkeypatch: pytest.MonkeyPatch, scene: Callable[..., Any], make_loss: Any
) -> None:
    maps, targets = scene(counts)
    loss, labels = make_loss(), pad_targets(targets, 3)
    whole, _ = loss.positives(maps, labels)
    monkeypatch.setattr(assignment, "PAIRS_AT_ONCE", 1000)
    assert len(list(assignment._chunks(labels.counts, 45))) == groups
    pieces, _ = loss.positives(maps, labels)
    assert rows(pieces, labels) == rows(whole, labels)


def test_fine_reaches_three_cells_and_coarse_five(make_loss: Any) -> None:
    loss = make_loss()
    maps = [torch.zeros(1, 27, 128 // stride, 128 // stride) for stride in (8, 16, 32)]
    levels = Levels.of(maps, loss.anchors, loss.strides)
    # On level 0 the centre is at (8.25, 4.75) cells: left of and below the middle of its cell.
    labels = pad_targets(torch.tensor([[0, 0, 8.25 / 16, 4.75 / 16, 0.1, 0.15]]), 1)
    cells: dict[str, set[tuple[int, int]]] = {}
    for reach in ("fine", "coarse"):
        found = find_candidates(labels, levels, reach)
        here = found.valid & (found.level == 0)
        cells[reach] = set(zip(found.column[here].tolist(), found.row[here].tolist(), strict=True))
    assert cells["fine"] == {(8, 4), (7, 4), (8, 5)}
    assert cells["coarse"] == {(8, 4), (7, 4), (9, 4), (8, 3), (8, 5)}


def test_at_the_border_and_on_a_line() -> None:
    anchors, strides = torch.tensor([[[16.0, 16.0]]]), torch.tensor([8.0])
    levels = Levels(anchors, strides, torch.tensor([[4, 4]]))
    corner = find_candidates(pad_targets(torch.tensor([[0, 0, 1.0, 1.0, 0.5, 0.5]]), 1), levels, "coarse")
    cells = {(x, y) for x, y, ok in zip(corner.column[0], corner.row[0], corner.valid[0], strict=True) if ok}
    assert {(int(x), int(y)) for x, y in cells} == {(3, 3)}
    on_line = find_candidates(pad_targets(torch.tensor([[0, 0, 0.5, 0.625, 0.5, 0.5]]), 1), levels, "fine")
    ok = on_line.valid[0]
    found = sorted(zip(on_line.column[0][ok].tolist(), on_line.row[0][ok].tolist(), strict=True))
    assert found == [(1, 2), (2, 2)]  # nothing twice: the centre's own cell counts once


def test_strategies(scene: Callable[..., Any], make_loss: Any) -> None:
    maps, targets = scene([6, 9], heads=2)
    labels = pad_targets(targets, 2)

    def found(strategy: Strategy, heads: list[Any] = maps) -> list[list[Row]]:
        return [rows(head, labels) for head in make_loss(strategy=strategy, top=10).positives(heads, labels)]

    lead, auxiliary = found(LEAD_GUIDED)
    assert auxiliary == lead
    own_lead, own = found(INDEPENDENT)
    assert own_lead == lead
    assert own == found(LEAD_GUIDED, [*maps[3:], *maps[:3]])[0]
    fine, coarse = found(SIMPLE)
    assert len(coarse) > len(fine) > len(lead)
    assert set(fine) <= set(coarse)


def test_contested_candidates_go_to_the_cheapest() -> None:
    iou = torch.tensor([[[0.9, 0.3], [0.9, 0.2], [0.0, 0.0]]])
    cost = torch.tensor([[[2.0, 5.0], [1.0, 5.0], [1.5, 0.5]]])
    owner, owned = sim_ota(iou, cost, torch.ones(1, 3, dtype=bool), torch.ones(1, 2, dtype=bool), 10)
    assert owned.tolist() == [[True, True]]
    assert owner.tolist() == [[1, 2]]


def test_equal_costs_go_to_the_first() -> None:
    cost = torch.ones(1, 2, 50)
    owner, owned = sim_ota(
        torch.full((1, 2, 50), 0.25), cost, torch.ones(1, 2, dtype=bool), torch.ones(1, 50, dtype=bool), 10
    )
    assert owned[0].nonzero().flatten().tolist() == [0, 1]  # k = int(10 * 0.25) = 2
    assert owner[0, :2].tolist() == [0, 0]


def test_compact() -> None:
    position, valid = compact(torch.tensor([[False, True, False, True], [False] * 4]), 4)
    assert valid.tolist() == [[True, True], [False, False]]
    assert position[0].tolist() == [1, 3]


def test_labels_that_do_not_fit_are_refused(make_loss: Any, scene: Callable[..., Any]) -> None:
    maps, targets = scene([2, 2])
    with pytest.raises(ValueError, match=r"expected shape \(n, 6\)"):
        pad_targets(targets[:, :5], 2)
    with pytest.raises(ValueError, match="image number 1 in a batch of 1"):
        pad_targets(targets, 1)
    targets[0, 1] = 4
    with pytest.raises(ValueError, match="classes 0 to 3"):
        make_loss()(maps, targets)


# --- edges ---


def one_cell(side: float = 8, centre: tuple[float, float] = (0.5, 0.5), box: Any = (8.0, 8.0)) -> Any:
    """Candidates of one target of `box` pixels in a picture of `side` pixels, at stride 8, with one anchor 8 x 8."""
    cells = int(side // 8)
    levels = Levels(torch.tensor([[[8.0, 8.0]]]), torch.tensor([8.0]), torch.tensor([[cells, cells]]))
    row = [0, 0, *centre, box[0] / side, box[1] / side]
    return find_candidates(pad_targets(torch.tensor([row]), 1), levels, "coarse")


@pytest.mark.parametrize(
    ("box", "fits"),
    [
        ((31.0, 8.0), True),
        ((32.0, 8.0), False),
        ((8.0, 31.0), True),
        ((8.0, 32.0), False),
        ((2.25, 8.0), True),
        ((2.0, 8.0), False),
        ((8.0, 2.0), False),
        ((31.0, 2.25), True),
    ],
)
def test_sides_are_within_four_times_the_anchors(box: tuple[float, float], fits: bool) -> None:
    """Strictly, of either side, larger or smaller; 4 where nothing else is asked for."""
    assert bool(one_cell(64, box=box).valid.any()) is fits


def test_the_ratio_may_be_asked_for(scene: Callable[..., Any], make_loss: Any) -> None:
    levels = Levels(torch.tensor([[[8.0, 8.0]]]), torch.tensor([8.0]), torch.tensor([[8, 8]]))
    labels = pad_targets(torch.tensor([[0, 0, 0.5, 0.5, 3 * 8 / 64, 8 / 64]]), 1)
    maps = [torch.zeros(1, 7, 8, 8)]
    for ratio, found in ((3.0, False), (3.1, True)):
        assert bool(find_candidates(labels, levels, "fine", ratio).valid.any()) is found
        assert bool(len(assignment.assign(maps, labels, levels, "fine", top=None, ratio=ratio).row)) is found
    default = assignment.assign(maps, labels, levels, "fine", top=None)
    assert len(default.row) > 0
    wide = pad_targets(torch.tensor([[0, 0, 0.5, 0.5, 4 * 8 / 64, 8 / 64]]), 1)
    assert len(assignment.assign(maps, wide, levels, "fine", top=None).row) == 0


@pytest.mark.parametrize(
    ("x", "columns"),
    [(1.0, {1, 2}), (1.01, {0, 1, 2}), (2.99, {1, 2, 3}), (3.0, {2, 3}), (0.5, {0, 1}), (3.5, {2, 3})],
)
def test_neighbours_count_more_than_one_cell_from_the_border(x: float, columns: set[int]) -> None:
    """In a grid of 4: at 1 nothing to the left counts, at 3 nothing to the right."""
    found = one_cell(32, (x / 4, 0.5))
    here = found.valid & (found.row == 2)
    assert set(found.column[here].tolist()) == columns


@pytest.mark.parametrize(("part", "before", "after"), [(0.49, 1, 0), (0.5, 0, 0), (0.51, 0, 1)])
def test_fine_takes_the_nearer_neighbour_and_none_from_the_middle(
    part: float, before: int, after: int
) -> None:
    levels = Levels(torch.tensor([[[8.0, 8.0]]]), torch.tensor([8.0]), torch.tensor([[4, 4]]))
    labels = pad_targets(torch.tensor([[0, 0, (2 + part) / 4, 0.625, 0.25, 0.25]]), 1)
    found = find_candidates(labels, levels, "fine")
    columns = found.column[found.valid].tolist()
    assert (columns.count(1), columns.count(2), columns.count(3)) == (before, 1, after)


def test_labels_are_padded_to_the_fullest_image() -> None:
    rows = torch.tensor([[2, 1, 0.1, 0.2, 0.3, 0.4], [0, 2, 0.5, 0.6, 0.7, 0.8], [2, 3, 0.2, 0.2, 0.2, 0.2]])
    labels = pad_targets(rows, 4)
    assert labels.counts == (1, 0, 2, 0)
    assert labels.valid.tolist() == [[True, False], [False, False], [True, True], [False, False]]
    assert labels.classes.tolist() == [[2, 0], [0, 0], [1, 3], [0, 0]]
    torch.testing.assert_close(labels.boxes[2], rows[[0, 2], 2:])
    assert labels.boxes[[1, 3]].sum() == labels.boxes[0, 1].sum() == 0
    assert pad_targets(rows[1:2], 1).valid.tolist() == [[True]]
    empty = pad_targets(torch.zeros(0, 6), 2)
    assert (empty.valid.shape, empty.boxes.shape, empty.counts) == ((2, 1), (2, 1, 4), (0, 0))
    assert pad_targets(rows, 3).counts == (1, 0, 2)
    part = labels.images(torch.tensor([2, 0]), 1)
    assert part.classes.tolist() == [[1], [2]]
    with pytest.raises(ValueError, match=r"got \(6,\)"):
        pad_targets(rows[0], 1)


def test_slots_of_a_target(make_loss: Any) -> None:
    loss = make_loss()
    levels = Levels.of(
        [torch.zeros(1, 27, 4, 6), torch.zeros(1, 27, 2, 3), torch.zeros(1, 27, 1, 2)],
        loss.anchors,
        loss.strides,
    )
    assert levels.slots == 3 * 3 * 5
    assert levels.grids.tolist() == [[6, 4], [3, 2], [2, 1]]


def test_compact_without_anything_keeps_one_slot() -> None:
    position, valid = compact(torch.zeros(2, 5, dtype=torch.bool), 5)
    assert (position.tolist(), valid.tolist()) == ([[0], [0]], [[False], [False]])
    assert compact(torch.zeros(0, 5, dtype=torch.bool), 3)[0].shape == (0, 3)


def test_compact_of_a_fixed_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate_module, "host_reads", lambda tensor: False)
    position, valid = compact(torch.tensor([[True, False, True], [False] * 3, [True] * 3]), 3)
    assert valid.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert position.tolist() == [[0, 2, 0], [0, 0, 0], [0, 1, 2]]


@pytest.mark.parametrize("limit", [1, 40, 160, 250, 10_000])
def test_pairs_at_once_are_bounded(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of images of like counts, as large as the limit allows; one alone may be beyond it."""
    monkeypatch.setattr(assignment, "PAIRS_AT_ONCE", limit)
    counts, each = (3, 0, 1, 5, 2, 1, 0, 3), 10
    groups = [(group.tolist(), slots) for group, slots in assignment._chunks(counts, each)]
    assert sorted(image for group, _ in groups for image in group) == list(range(8))
    for group, slots in groups:
        assert group == sorted(group)
        assert slots == max(1, *(counts[image] for image in group))
        assert len(group) == 1 or len(group) * slots * slots * each <= limit
    for (group, _), (following, _) in pairwise(groups):
        least = max(1, min(counts[image] for image in following))
        assert max(counts[image] for image in group) <= max(counts[image] for image in following)
        assert (len(group) + 1) * least * least * each > limit
    assert list(assignment._chunks((), each)) == []


@pytest.mark.parametrize(("top", "most"), [(None, 45 * 2), (10, 2 * 10), (1, 2), (60, 45 * 2)])
def test_padded_positives_have_a_slot_for_each_that_there_may_be(
    top: int | None,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
    scene: Callable[..., Any],
    make_loss: Any,
) -> None:
    """Two targets claim `top` candidates each, of the 45 slots of each."""
    maps, targets = scene([2, 1])
    loss, labels = make_loss(), pad_targets(targets, 2)
    levels = Levels.of(maps, loss.anchors, loss.strides)
    expected = assignment.assign(maps, labels, levels, "fine", top=top)
    monkeypatch.setattr(candidate_module, "host_reads", lambda tensor: False)
    monkeypatch.setattr(assignment, "host_reads", lambda tensor: False)
    padded = assignment.assign(maps, labels, levels, "fine", top=top)
    assert padded.valid.shape == (2 * most,)
    assert rows(padded, labels) == rows(expected, labels)
    for level in range(3):
        here = padded.at(level)
        assert here.valid.shape == padded.valid.shape
        assert rows(here, labels) == rows(expected.at(level), labels)


def test_padded_form_of_the_smallest_maps(monkeypatch: pytest.MonkeyPatch, make_loss: Any) -> None:
    """Masked slots point at cells that exist: one image, one target, one cell at each level."""
    loss = DetectionLoss([[(8.0, 8.0)], [(8.0, 8.0)]], (8, 8), 2, image_size=8)
    maps = [torch.zeros(1, 7, 1, 1), torch.zeros(1, 7, 1, 1)]
    labels = pad_targets(torch.tensor([[0, 1, 0.5, 0.5, 1.0, 1.0]]), 1)
    expected = loss(maps, labels).items
    monkeypatch.setattr(candidate_module, "host_reads", lambda tensor: False)
    monkeypatch.setattr(assignment, "host_reads", lambda tensor: False)
    torch.testing.assert_close(loss(maps, labels).items, expected)


def test_a_target_that_no_prediction_meets_still_gets_its_cheapest() -> None:
    """IoU 0 with all of them: k is 1, and the cost stays finite."""
    levels = Levels(torch.tensor([[[8.0, 8.0]]]), torch.tensor([8.0]), torch.tensor([[8, 8]]))
    labels = pad_targets(torch.tensor([[0, 0, 0.56, 0.56, 0.2, 0.2]]), 1)
    maps = torch.zeros(1, 7, 8, 8)
    maps[:, 2:4] = -200  # boxes without area
    maps[0, 4:6, 4, 5] = 5  # the surest of the candidates
    found = assignment.assign([maps], labels, levels, "coarse", top=10)
    assert (found.row.tolist(), found.column.tolist()) == ([4], [5])
