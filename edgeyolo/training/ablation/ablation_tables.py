"""The paper's ablation tables (5.4, Tables 3 to 8).

They are networks and strategies that can be trained.

`paper` is the AP that the paper prints for a row, on COCO val2017; on other data only the order of rows compares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edgeyolo.errors import UsageError
from edgeyolo.models import specs
from edgeyolo.models.build import build
from edgeyolo.models.network import Network
from edgeyolo.models.scaling import scale_compound, scale_depth, scale_width, table3
from edgeyolo.models.topology import Form, ModelSpec, Tried
from edgeyolo.training.loss.strategy import BOUNDED, COARSE_TO_FINE, INDEPENDENT, LEAD_GUIDED, Strategy


@dataclass(frozen=True)
class Variant:
    """One row: a network and the strategy it is trained with."""

    name: str
    spec: ModelSpec
    strategy: Strategy = COARSE_TO_FINE
    paper: float | None = None

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


def find_table(number: int, model: str | ModelSpec | None = None, *, width: float = 1.0) -> Table:
    """Table `number` of the paper (3 to 8).

    model: another network than the paper's to try it on; those without auxiliary heads get them where the table
    is about them. width: a factor for all widths, for runs that fit a small machine.
    """
    if number not in _TABLES:
        raise UsageError(f"table {number}: the paper's ablation tables are {', '.join(map(str, _TABLES))}")
    if width <= 0:
        raise UsageError(f"width {width:g}: expected a factor above 0")
    spec = specs.get(model) if isinstance(model, str) else model
    table = _TABLES[number](spec)
    if width == 1:
        return table
    narrow = tuple(replace(row, spec=scale_width(row.spec, width)) for row in table.variants)
    return replace(table, variants=narrow)


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
    kinds: tuple[tuple[str, Tried], ...] = (
        ("RepConv, first of each stack", "repconv-first"),
        ("RepConvN, first of each stack", "repconvn-first"),
        ("RepConv, last of each stack", "repconv-last"),
        ("RepConvN, last of each stack", "repconvn-last"),
        ("RepConv, all", "repconv-all"),
        ("RepConvN, all", "repconvn-all"),
    )
    rows += [Variant(name, replace(spec, tried=tried)) for name, tried in kinds]
    note = (
        "The paper draws its positions (Figure 6) without naming them, so the rows name theirs; its five range from "
        "52.17 to 52.33. RepConvN is RepConv without identity."
    )
    return Table(4, "Planned RepConv in concatenation", tuple(rows), note)


def _planned_residual(spec: ModelSpec | None) -> Table:
    spec = spec or specs.get("yolov7-w6")
    kinds: tuple[tuple[str, Tried, float], ...] = (
        ("base (CSP)", "csp", 0.5482),
        ("RepCSP", "rep-csp", 0.5467),
        ("RCSP", "reversed-csp", 0.5436),
        ("RepRCSP", "rep-reversed-csp", 0.5485),
    )
    rows = (Variant(name, replace(spec, tried=tried), paper=ap) for name, tried, ap in kinds)
    note = f"The paper's network is YOLOR-W6; here it is {spec.name} with the blocks of CSPDarknet as its backbone."
    return Table(5, "Planned RepConv in residual blocks", tuple(rows), note)


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
    if all(step.elan.twins == 1 for step in spec.top_down):
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
    3: _compound_scaling, 4: _planned_concatenation, 5: _planned_residual,
    6: _assistant, 7: _constrained, 8: _partial,
}  # fmt: skip
