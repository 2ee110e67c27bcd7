"""Choice of the scheme of ranges for a network.

It is the one whose integers leave the raw maps nearest to float.

Outliers decide it. Networks whose activations have long, rare tails gain from cutting them (entropy, low percentiles);
others lose boxes by it. Only calibration images are looked at, so nothing of the evaluation leaks into the choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo_calib.onnx_graph import Graph, constants_as_weights
from edgeyolo_calib.quantize.qdq import settle
from edgeyolo_calib.quantize.rules import Rules, place
from edgeyolo_calib.quantize.simulate import rounded_weights, simulated
from edgeyolo_calib.quantize.variants import Compared
from edgeyolo_calib.ranges.measured import MeasuredRanges
from edgeyolo_calib.ranges.ranges import Scheme
from edgeyolo_calib.ranges.statistics import Statistics

CANDIDATES = (
    Scheme("percentile", percentile=99.999),
    Scheme("mse"),
    Scheme("percentile", percentile=99.99),
    Scheme("entropy"),
)
"""From those that cut little to those that cut much."""

CLEARLY = 1.05
"""A method that cuts more has to err less by this factor: what is cut are the strongest responses, and with them the
surest detections, which an error over all cells hardly counts."""


def named(scheme: Scheme) -> str:
    """The scheme in a word or two."""
    return f"percentile {scheme.percentile:g}" if scheme.method == "percentile" else scheme.method


def best_scheme(
    graph: Graph, statistics: Statistics, rules: Rules, compared: Compared, pixels: float
) -> tuple[Scheme, Mapping[str, float]]:
    """Candidate with the least output error, and the error of each by name.

    Errors are those of `Compared.error`. Where the least is not `CLEARLY` less, the candidate that cuts less
    is taken.
    """
    placement, fixed = place(graph, rules), dict.fromkeys(graph.inputs, (0.0, pixels))
    rounded = rounded_weights(graph, rules)
    errors = {}
    for scheme in CANDIDATES:
        ranges = settle(placement, statistics, rules, scheme, fixed)
        errors[scheme] = compared.error(simulated(graph, placement, ranges, rules, rounded))
    least = min(errors.values())
    best = next(scheme for scheme in CANDIDATES if errors[scheme] <= CLEARLY * least)
    return best, {named(scheme): error for scheme, error in errors.items()}


def settle_scheme(
    model: Path, contract: InputContract, statistics: Statistics, rules: Rules, images: CalibrationSource
) -> Scheme:
    """Settle the scheme of ranges.

    It is chosen as the statistics say or, for rules that ask for it, the best of `CANDIDATES` on the first
    images; the statistics then say so. `contract` is of the batches that the images are seen in.
    """
    import onnx

    if statistics.scheme is None:
        scheme, tried = rules.scheme, None
        if rules.search and not isinstance(images, MeasuredRanges):
            graph = Graph(constants_as_weights(onnx.load(model)), contract.batch)
            compared = Compared.take(graph, images, replace(contract, dynamic_batch=False), reach=rules.reach)
            scheme, tried = best_scheme(graph, statistics, rules, compared, 255 * contract.scale)
        statistics.scheme, statistics.tried = scheme, dict(tried or {})
    return statistics.scheme
