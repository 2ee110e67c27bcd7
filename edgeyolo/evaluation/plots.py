"""The curves and the confusion matrix as PNG files.

The same numbers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.errors import RuntimeMissingError
from edgeyolo.evaluation.curves import Confusion, Curves
from edgeyolo.evaluation.drawn_names import drawable
from edgeyolo.support.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED_CLASSES = 12  # more lines than this are drawn grey: nobody could tell their colours apart
_NUMBERED_CLASSES = 30  # a confusion matrix beyond this many has no room for numbers
_DPI = 120


def write_plots(folder: str | Path, curves: Curves, confusion: Confusion) -> tuple[Path, ...]:
    """Write PR_curve, F1_curve, P_curve, R_curve and confusion_matrix as .png.

    Returns their paths.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _require_matplotlib()
    with drawable(confusion.class_names) as names:
        drawn = dict(zip(confusion.class_names, names, strict=True))
        curves = replace(curves, class_names=tuple(drawn[name] for name in curves.class_names))
        return _write_all(folder, curves, replace(confusion, class_names=tuple(names)))


def _write_all(folder: Path, curves: Curves, confusion: Confusion) -> tuple[Path, ...]:
    drawings: dict[str, Callable[[Axes], None]] = {
        "PR_curve.png": lambda axes: _draw_pr(axes, curves),
        "F1_curve.png": lambda axes: _draw_against_confidence(axes, curves, curves.f1, "F1"),
        "P_curve.png": lambda axes: _draw_against_confidence(axes, curves, curves.precision, "precision"),
        "R_curve.png": lambda axes: _draw_against_confidence(axes, curves, curves.recall, "recall"),
        "confusion_matrix.png": lambda axes: _draw_confusion(axes, confusion),
    }
    for name, draw in drawings.items():
        size = _matrix_inches(confusion) if draw is drawings["confusion_matrix.png"] else (8.0, 5.5)
        save_figure(folder / name, size, draw)
    return tuple(folder / name for name in drawings)


def save_figure(file: Path, size: tuple[float, float], draw: Callable[[Axes], None]) -> None:
    """Draw on a figure of `size` inches and write it as PNG.

    Neither pyplot's global state nor a display is needed.

    Raises RuntimeMissingError without matplotlib.
    """
    _require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="tight")
    FigureCanvasAgg(figure)
    as_written = rc_context({"text.parse_math": False})
    with as_written, atomic_file(file) as draft, draft.open("wb") as stream:
        draw(figure.add_subplot())
        figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})


def _require_matplotlib() -> None:
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise RuntimeMissingError(
            "drawing plots needs matplotlib, which is not installed", hint="pip install edgeyolo[eval]"
        ) from error


def _draw_lines(axes: Axes, x: NDArray[Any], lines: NDArray[Any], labels: list[str]) -> None:
    named = len(lines) <= _NAMED_CLASSES
    for line, label in zip(lines, labels, strict=True):
        if named:
            axes.plot(x, line, linewidth=1.2, label=label)
        else:
            axes.plot(x, line, linewidth=0.6, color="0.75")


def _frame(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)


def _draw_pr(axes: Axes, curves: Curves) -> None:
    at = f"AP{round(curves.iou * 100)}"
    labels = [f"{name} {area:.3f}" for name, area in zip(curves.class_names, curves.area, strict=True)]
    _draw_lines(axes, curves.confidence, curves.precision_at_recall, labels)
    if len(curves.class_names):
        mean = curves.precision_at_recall.mean(axis=0)
        label = f"all classes {curves.area.mean():.3f} {at}"
        axes.plot(curves.confidence, mean, linewidth=2.5, color="black", label=label)
    _frame(axes, "recall", "precision")


def _draw_against_confidence(axes: Axes, curves: Curves, lines: NDArray[Any], what: str) -> None:
    _draw_lines(axes, curves.confidence, lines, list(curves.class_names))
    if len(lines):
        mean = lines.mean(axis=0)
        best = round(curves.best_confidence * (len(curves.confidence) - 1))
        label = f"all classes {mean[best]:.3f} at {curves.best_confidence:.3f}"
        axes.plot(curves.confidence, mean, linewidth=2.5, color="black", label=label)
        axes.axvline(curves.best_confidence, color="black", linewidth=0.8, linestyle=":")
    _frame(axes, "confidence", what)


def _matrix_inches(confusion: Confusion) -> tuple[float, float]:
    side = 3.5 + 0.45 * min(len(confusion.counts), _NUMBERED_CLASSES)
    return side + 1.0, side


def _draw_confusion(axes: Axes, confusion: Confusion) -> None:
    """Draw a confusion matrix: shades are shares of a row, figures are counts."""
    counts = confusion.counts
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    assert axes.figure is not None
    axes.figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class")
    axes.set(xlabel="detected", ylabel="true")
    axes.set_title(f"confidence {confusion.confidence:g}, IoU {confusion.iou:g}", fontsize=9)
    names = [*confusion.class_names, "background"]
    font = 8 if len(names) <= _NUMBERED_CLASSES else 5
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=font)
    axes.set_yticks(range(len(names)), names, fontsize=font)
    if len(names) > _NUMBERED_CLASSES:
        return
    for row, column in np.argwhere(counts):
        color = "white" if shares[row, column] > 0.6 else "black"
        text = str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
