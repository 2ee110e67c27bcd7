"""The page of a search: its history, what mattered, and where good values lie.

One HTML file that needs no network; drawings are SVG.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from edgeyolo.support.svg import Frame, Scale, figure, marker, tag, text
from edgeyolo.training.search.plan import Plan
from edgeyolo.training.search.space import Range
from edgeyolo.training.search.study import Tried

_WIDE, _HIGH = 960, 340
_SLICE_WIDE, _SLICE_HIGH = 300, 210
_FEW = 20  # complete trials, below which importance is a first impression


def render(plan: Plan, tried: Sequence[Tried], best: Tried | None, importance: Mapping[str, float]) -> str:
    """The page as HTML."""
    title = f"edgeyolo search: {plan.model.rpartition('/')[2]}"
    sections = "".join(
        tag("section", tag("h2", name) + content)
        for name, content in (
            ("History", _history(tried)),
            ("Importance", _importance(importance, tried)),
            ("Values and AP", _slices(plan.space, tried, best)),
            ("Space", _space(plan, best)),
            ("Trials", _trials(plan.space, tried)),
        )
        if content
    )
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n"
        f"{_facts(plan, tried, best)}\n{sections}\n</html>\n"
    )


def _facts(plan: Plan, tried: Sequence[Tried], best: Tried | None) -> str:
    states = [each.state for each in tried]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "none yet"
    config = plan.config
    facts = {
        "best": f"AP {best.ap:.4f}, trial {best.number}" if best and best.ap is not None else "none complete",
        "trials": f"{counted}; {plan.trials} asked for",
        "each": f"{config.epochs} epochs, batch {config.batch_size}, {config.image_size} pixels, seed {config.seed}",
        "begun with": f"recipe {plan.recipe.name}, as trial 1",
    }
    return tag(
        "dl", "".join(tag("div", tag("dt", key) + tag("dd", escape(said))) for key, said in facts.items())
    )


def _history(tried: Sequence[Tried]) -> str:
    """AP of every trial, and the best so far as a line."""
    drawn = [each for each in tried if each.ap is not None]
    if not drawn:
        return ""
    frame = Frame(
        Scale(0.5, max(drawn[-1].number, 2) + 0.5, 64, _WIDE - 20),
        Scale.around([each.ap or 0.0 for each in drawn], _HIGH - 60, 36),
    )
    parts = [frame.axes("trial", "AP of the best epoch")]
    best, path = 0.0, ""
    for each in drawn:
        if each.state == "complete" and (not path or (each.ap or 0.0) > best):
            best = each.ap or 0.0
            step = f"H{frame.x(each.number):.1f}V{frame.y(best):.1f}"
            path += step if path else f"M{frame.x(each.number):.1f},{frame.y(best):.1f}"
    if path:
        parts.append(tag("path", class_="front", d=f"{path}H{frame.x(drawn[-1].number):.1f}"))
    parts += [_mark(each, frame.x(each.number), frame.y(each.ap or 0.0)) for each in drawn]
    legend = tag("p", "Line: the best so far. Filled: complete trials. Hollow: pruned or diverged ones.")
    return figure("".join(parts), _WIDE, _HIGH, f"AP of {len(drawn)} trials") + legend


def _mark(each: Tried, x: float, y: float, kind: str = "") -> str:
    """A point with the trial's values as its tooltip."""
    values = ", ".join(f"{name} {value:.4g}" for name, value in each.values.items())
    said = tag("title", escape(f"trial {each.number}, {each.state}: AP {each.ap:.4f}; {values}"))
    name = "mark" if each.state == "complete" else "mark hollow"
    return tag("g", said + marker("circle", x, y, class_=f"{name} {kind}".strip()))


def _importance(importance: Mapping[str, float], tried: Sequence[Tried]) -> str:
    """A bar for each hyper-parameter."""
    if not importance:
        return ""
    count, high = sum(each.state == "complete" for each in tried), 26 * len(importance) + 8
    widest = max(importance.values()) or 1.0
    along = Scale(0.0, widest, 0.0, _WIDE - 260)
    rows = []
    for number, (name, share) in enumerate(importance.items()):
        y = 8 + 26 * number
        rows.append(text(name, 150, y + 13, class_="tick", text_anchor="end"))
        rows.append(tag("rect", class_="bar", x=160, y=y, width=max(along(share), 1.0), height=16, rx=2))
        rows.append(text(f"{share:.0%}", 170 + along(share), y + 13, class_="tick"))
    few = f" {count} complete trials are few: a first impression." if count < _FEW else ""
    said = tag("p", f"Share in what sets good trials apart from all (PED-ANOVA).{few}")
    return said + figure("".join(rows), _WIDE, high, "importance of each hyper-parameter")


def _slices(space: Sequence[Range], tried: Sequence[Tried], best: Tried | None) -> str:
    """AP against the values of each hyper-parameter."""
    drawn = [each for each in tried if each.ap is not None]
    if len(drawn) < 2:
        return ""
    y = Scale.around([each.ap or 0.0 for each in drawn], _SLICE_HIGH - 44, 24)
    charts = []
    for each in space:
        frame = Frame(Scale(each.low, each.high, 52, _SLICE_WIDE - 12, each.log), y)
        parts = [frame.axes(each.name, "AP", x_ticks=4)]
        for trial in sorted(
            drawn, key=lambda trial: best is not None and trial.number == best.number
        ):  # the best above the others
            chosen = "best" if best is not None and trial.number == best.number else ""
            parts.append(_mark(trial, frame.x(trial.values[each.name]), y(trial.ap or 0.0), chosen))
        charts.append(figure("".join(parts), _SLICE_WIDE, _SLICE_HIGH, f"AP against {each.name}"))
    return tag("div", "".join(charts), class_="slices")


def _space(plan: Plan, best: Tried | None) -> str:
    rows = [
        (
            each.name,
            f"{each.low:.4g} to {each.high:.4g}" + (", by logarithm" if each.log else ""),
            f"{getattr(plan.recipe, each.name):.4g}",
            f"{best.values[each.name]:.4g}" if best else "",
        )
        for each in plan.space
    ]
    return _table(("hyper-parameter", "range", f"recipe {plan.recipe.name}", "best trial"), rows)


def _trials(space: Sequence[Range], tried: Sequence[Tried]) -> str:
    names = [each.name for each in space]
    return _table(("trial", "ended", "AP", "epochs", *names), _rows(names, tried)) if tried else ""


def _rows(names: Sequence[str], tried: Sequence[Tried]) -> Iterator[tuple[str, ...]]:
    for each in sorted(tried, key=lambda trial: -(trial.ap if trial.ap is not None else -1.0)):
        values = (f"{each.values[name]:.4g}" if name in each.values else "" for name in names)
        ap = "" if each.ap is None else f"{each.ap:.4f}"
        yield str(each.number), each.state, ap, str(len(each.epochs)), *values


def _table(columns: Sequence[str], rows: Iterable[tuple[str, ...]]) -> str:
    head = tag("tr", "".join(tag("th", escape(name)) for name in columns))
    body = "".join(tag("tr", "".join(tag("td", escape(cell)) for cell in row)) for row in rows)
    return tag("div", tag("table", tag("thead", head) + tag("tbody", body)), class_="scroll")


_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2330; --soft: #667085; --line: #e3e7ee; --mark: #3b6fd8;
  --best: #d9480f; font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
@media (prefers-color-scheme: dark) { :root { --paper: #14171d; --ink: #e6e9ef; --soft: #98a1b3; --line: #2b313c;
  --mark: #7ea6f4; --best: #ff9a5a } }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1.5rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem } p, dt, th { color: var(--soft) }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: .8rem 2rem }
dt, th { font-weight: 500; font-size: .85rem } dd { margin: 0; overflow-wrap: anywhere }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100% }
td, th { padding: .3rem .8rem .3rem 0; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums }
svg { display: block; width: 100%; height: auto } .slices { display: grid; gap: .5rem;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)) }
.grid { stroke: var(--line) } .axis { stroke: var(--soft) } .front { fill: none; stroke: var(--best); stroke-width: 2 }
.tick, .title { fill: var(--soft); font-size: 12px } .bar { fill: var(--mark) }
.mark { fill: var(--mark); fill-opacity: .75; stroke: var(--mark) } .hollow { fill: var(--paper) }
.best { fill: var(--best); stroke: var(--best) }
"""
