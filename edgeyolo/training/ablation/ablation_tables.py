"""The paper's ablation tables (5.4, Tables 3 to 8), and Figure 2 (d).

They are networks and strategies that can be trained.

`paper` is the AP that the paper prints for a row, on COCO val2017; on other data only the order of rows compares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, cast

from edgeyolo.errors import UsageError
from edgeyolo.models import specs
from edgeyolo.models.build import build
from edgeyolo.models.csp_topology import Cell, CspSpec
from edgeyolo.models.network import Network
from edgeyolo.models.network_spec import Spec
from edgeyolo.models.scaling import (
    regroup,
    scale_compound,
    scale_csp_width,
    scale_depth,
    scale_width,
    table3,
)
from edgeyolo.models.topology import Form, ModelSpec, Tried
from edgeyolo.training.loss.strategy import BOUNDED, COARSE_TO_FINE, INDEPENDENT, LEAD_GUIDED, Strategy

_S = TypeVar("_S", bound=ModelSpec | CspSpec)

_NOTE_5 = (
    "The backbone's dark blocks are replaced (Figure 7); stem and neck stay. A RepConv has its identity branch: in a "
    "dark block (RepCSP) it meets the residual connection, in a reversed one (RepRCSP) the 1x1 lies between them."
)
_CELLS_5: dict[str, tuple[Cell, str]] = {
    "": ("dark", "dark blocks: 1x1, 3x3"),
    "RepCSP": ("rep-dark", "dark blocks with RepConv: 1x1, RepConv 3x3"),
    "RCSP": ("reversed-dark", "reversed dark blocks: 3x3, 1x1"),
    "RepRCSP": ("rep-reversed-dark", "reversed dark blocks with RepConv: RepConv 3x3, 1x1"),
}
_PAPER_5 = {
    ("yolor-w6", ""): 0.5482, ("yolor-w6", "RepCSP"): 0.5467, ("yolor-w6", "RCSP"): 0.5436,
    ("yolor-w6", "RepRCSP"): 0.5485, ("yolor-csp", ""): 0.5081, ("yolor-csp", "RepRCSP"): 0.5091,
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One row: a network and the strategy it is trained with.

    reading: how the paper's row is understood, where it leaves that open. base: the row it is compared with, by
    default the table's first.
    """

    name: str
    spec: ModelSpec | CspSpec
    strategy: Strategy = COARSE_TO_FINE
    paper: float | None = None
    reading: str = ""
    base: str = ""

    def build(self, classes: int, form: Form = "training", *, device: str | None = None) -> Network:
        """The network with fresh weights; "meta" as the device gives shapes only."""
        return build(self.spec, classes, form, device=device)


@dataclass(frozen=True)
class Table:
    """An ablation: its rows, the first of which is what the others are compared with."""

    number: int
    title: str
    variants: tuple[Variant, ...]
    note: str = ""
    kind: Literal["Table", "Figure"] = "Table"


def find_table(number: int, model: str | Spec | None = None, *, width: float = 1.0) -> Table:
    """Table `number` of the paper (3 to 8).

    model: another network than the paper's to try it on; those without auxiliary heads get them where the table
    is about them. width: a factor for all widths, for runs that fit a small machine.
    """
    if number not in _TABLES and number != 5:
        raise UsageError(f"table {number}: the paper's ablation tables are 3, 4, 5, 6, 7, 8")
    spec = specs.find(model) if isinstance(model, str) else model
    if number == 5:
        return _narrowed(_planned_residual(spec), width)
    return _narrowed(_TABLES[number](_of_the_family(spec)), width)


def find_figure(number: int, model: str | Spec | None = None, *, width: float = 1.0) -> Table:
    """Networks to train for Figure 2, 5 or 8 of the paper.

    Arguments as for `find_table`. 2: E-ELAN of several cardinalities. 5 and 8: networks with auxiliary heads, to be
    drawn by `figures`.
    """
    if number == 2:
        return cardinalities(model, width=width)
    if number not in _FIGURES:
        raise UsageError(f"figure {number}: expected 2, 5 or 8")
    title, first = _FIGURES[number]
    rows = tuple(replace(row, paper=None) for row in find_table(6, model, width=width).variants[first:])
    return Table(number, title, rows, kind="Figure")


_FIGURES = {5: ("Label assignment", 3), 8: ("Objectness of lead and auxiliary heads", 1)}
"""Titles, and the first of Table 6's rows that a figure is about."""


def cardinalities(model: str | Spec | None = None, *, width: float = 1.0) -> Table:
    """E-ELAN of one, two and four groups at equal cost (Figure 2d).

    Arguments as for `find_table`.
    """
    found = specs.find(model) if isinstance(model, str) else model
    base = _narrow(_of_the_family(found) or specs.get("yolov7-e6"), width)
    rows = (
        Variant("ELAN (g = 1)", base),
        *(Variant(f"E-ELAN (g = {groups})", regroup(base, groups)) for groups in (2, 4)),
    )
    note = (
        "Blocks of more groups are narrower inside, so that all rows take the same operations for an image. The paper "
        "prints no such comparison."
    )
    return Table(2, "Cardinality of E-ELAN", rows, note, "Figure")


def _of_the_family(spec: Spec | None) -> ModelSpec | None:
    if spec is None or isinstance(spec, ModelSpec):
        return spec
    raise UsageError(
        f"{spec.name}: this comparison is about networks of ELAN blocks",
        hint=f"Take one of {', '.join(specs.names())}; Table 5 takes baselines.",
    )


def _narrowed(table: Table, width: float) -> Table:
    rows = (replace(row, spec=_narrow(row.spec, width)) for row in table.variants)
    return replace(table, variants=tuple(rows))


def _narrow(spec: _S, width: float) -> _S:
    if width <= 0:
        raise UsageError(f"width {width:g}: expected a factor above 0")
    if width == 1:
        return spec
    narrow = scale_csp_width(spec, width) if isinstance(spec, CspSpec) else scale_width(spec, width)
    return cast(_S, narrow)


def _compound_scaling(spec: ModelSpec | None) -> Table:
    scaled = table3() if spec is None else {
        "base": spec,
        "width only (1.25 w)": scale_width(spec, 1.25),
        "depth only (2.0 d)": scale_depth(spec, 2.0),
        "compound (1.5 d)": scale_compound(spec, 1.5),
    }  # fmt: skip
    figures = (0.517, 0.524, 0.527, 0.529)
    rows = (Variant(name, each, paper=ap) for (name, each), ap in zip(scaled.items(), figures, strict=True))
    return Table(3, "Compound scaling", tuple(rows))


def _planned_concatenation(spec: ModelSpec | None) -> Table:
    spec = replace(spec or specs.get("yolov7x"), rep=False)
    rows = [Variant("base (3-S ELAN)" if spec.name == "yolov7x" else "base", spec, paper=0.5226)]
    kinds: tuple[tuple[str, Tried, float, str], ...] = (
        (
            "a",
            "repconv-last",
            0.5218,
            "RepConv as the last of each stack, which is concatenated: not planned",
        ),
        (
            "b",
            "repconv-first",
            0.5230,
            "RepConv as the first of each stack, which is not concatenated: planned",
        ),
        (
            "c",
            "repconv-planned",
            0.5233,
            "every convolution, those that are concatenated without identity (RepConvN): planned",
        ),
        ("d", "repconv-all", 0.5217, "RepConv everywhere: not planned"),
        (
            "e",
            "repconv-end",
            0.5223,
            "RepConv as the last of the last stack, which is concatenated: not planned",
        ),
    )
    rows += [
        Variant(f"Figure 6 ({letter})", replace(spec, tried=tried), paper=ap, reading=reading)
        for letter, tried, ap, reading in kinds
    ]
    note = (
        "The paper draws its positions (Figure 6) without naming them. Its text fixes that there are five, that they "
        "are 3x3 convolutions of the stacks, and that (b) and (c), the two above the base, follow the plan and the "
        "others do not; which convolutions each letter means is a reading."
    )
    return Table(4, "Planned RepConv in concatenation", tuple(rows), note)


def _planned_residual(spec: Spec | None) -> Table:
    rows = _residual_rows(spec or specs.find("yolor-w6"), tuple(_CELLS_5))
    if spec is None:
        rows += _residual_rows(specs.find("yolor-csp"), ("", "RepRCSP"))
    return Table(5, "Planned RepConv in residual blocks", tuple(rows), _NOTE_5)


def _residual_rows(spec: Spec, kinds: tuple[str, ...]) -> list[Variant]:
    """Rows of Table 5 for one network; the kind "" is the base."""
    blocks = [stage.block for stage in spec.backbone] if isinstance(spec, CspSpec) else []
    if not isinstance(spec, CspSpec) or any(csp.cell != "dark" or csp.split == "none" for csp in blocks):
        raise UsageError(
            f"{spec.name}: Table 5 is about the residual blocks of CSPDarknet",
            hint="Take yolor-w6, yolor-csp, yolor-csp-x, yolor-p6, yolor-e6, yolor-d6 or yolov4-csp.",
        )
    base = f"base ({spec.name.upper()})"
    rows = []
    for kind in kinds:
        cell, reading = _CELLS_5[kind]
        stages = (replace(stage, block=replace(stage.block, cell=cell)) for stage in spec.backbone)
        name = f"{kind} ({spec.name.upper()})" if kind else base
        own, paper = replace(spec, backbone=tuple(stages)), _PAPER_5.get((spec.name, kind))
        rows.append(Variant(name, own, paper=paper, reading=reading, base=base))
    return rows


def _with_auxiliary(spec: ModelSpec) -> ModelSpec:
    """Add auxiliary heads as wide as lead heads, unless there are some.

    The larger networks have them so.
    """
    return spec if spec.aux else replace(spec, aux=spec.lead)


def _assistant(spec: ModelSpec | None) -> Table:
    spec = _with_auxiliary(spec or specs.get("yolov7-e6"))
    return Table(6, "Label assignment of auxiliary heads", (
        Variant("base", replace(spec, aux=()), paper=0.556),
        Variant("independent", spec, strategy=INDEPENDENT, paper=0.558),
        Variant("lead guided", spec, strategy=LEAD_GUIDED, paper=0.559),
        Variant("coarse-to-fine lead guided", spec, strategy=COARSE_TO_FINE, paper=0.559),
    ))  # fmt: skip


def _constrained(spec: ModelSpec | None) -> Table:
    spec = _with_auxiliary(spec or specs.get("yolov7-e6"))
    return Table(7, "Bound on auxiliary objectness", (
        Variant("base", replace(spec, aux=()), paper=0.556),
        Variant("aux without constraint", spec, paper=0.559),
        Variant("aux with constraint", spec, strategy=BOUNDED, paper=0.559),
    ))  # fmt: skip


def _partial(spec: ModelSpec | None) -> Table:
    spec = _with_auxiliary(spec or specs.get("yolov7-e6e"))
    if all(step.elan.twins * step.elan.groups == 1 for step in spec.top_down):
        raise UsageError(
            f"{spec.name}: partial auxiliary heads read one of several twins (E-ELAN), and it has none",
            hint="Table 8 needs yolov7-e6e; --width 0.25 makes it small.",
        )
    return Table(8, "Partial auxiliary heads", (
        Variant("base", replace(spec, aux=()), paper=0.563),
        Variant("aux", replace(spec, tried="whole-aux"), paper=0.565),
        Variant("partial aux", spec, paper=0.568),
    ))  # fmt: skip


_TABLES: dict[int, Callable[[ModelSpec | None], Table]] = {
    3: _compound_scaling, 4: _planned_concatenation, 6: _assistant, 7: _constrained, 8: _partial,
}  # fmt: skip
