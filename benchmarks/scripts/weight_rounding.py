"""Error of the raw maps that the rounding of weights alone causes.

    python benchmarks/scripts/weight_rounding.py WEIGHTS DATA [WEIGHTS DATA ...] [--images 16]

All convolutions of the re-parameterized network get int8 weights, or 6-bit palettes, by each way of rounding;
activations stay float. The error is that of the worst map: root mean square of the differences over that of the map.
Writes benchmarks/results/weight-rounding.json and .md.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import result_files
import torch
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.cli.console import print_table
from edgeyolo.datasets import load_dataset
from edgeyolo.export.parity_gate import as_network_input
from edgeyolo.models.importer import import_checkpoint
from edgeyolo.models.reparameterize import reparameterize
from edgeyolo.runtime.images import read_image
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo_bench.render.markdown import table_lines
from edgeyolo_calib.quantize.even_sums import to_nearest, with_even_sums
from edgeyolo_calib.ranges.ranges import weight_scales
from edgeyolo_coreml.rounding import palette, to_palette

Weight = NDArray[np.float32]
Round = Callable[[Weight], Weight]


def _nearest_of_palette(weight: Weight) -> Weight:
    table = palette(weight).astype(np.float32)
    borders = (table[1:] + table[:-1]) / 2
    return np.asarray(table[np.searchsorted(borders, weight)])


WAYS: tuple[tuple[str, Round], ...] = (
    ("int8, each to its nearest level", lambda weight: to_nearest(weight, weight_scales(weight))),
    ("int8, sums even", lambda weight: with_even_sums(weight, weight_scales(weight))),
    ("6 bits, each to its nearest value", _nearest_of_palette),
    ("6 bits, sums even", to_palette),
)


def errors(weights: str, data: str, count: int) -> tuple[str, dict[str, float]]:
    """The network in words, and the error of each way of rounding."""
    loaded = import_checkpoint(weights)
    network = reparameterize(loaded.network).network.eval()
    size = loaded.size or (320, 320)
    contract = InputContract(*size)
    samples = load_dataset(data, split="train").images
    images = [read_image(each.path) for each in samples[:: max(1, len(samples) // count)][:count]]
    batch = torch.from_numpy(as_network_input(preprocess(images, contract)[0], contract))
    with torch.inference_mode():
        exact = network(batch)
        found = {name: _error(rounded(network, way)(batch), exact) for name, way in WAYS}
    about = f"{Path(weights).stem} ({loaded.network.spec.name}) at {size[0]}, {len(images)} images of {Path(data).name}"
    return about, found


def rounded(network: Any, way: Round) -> Any:
    """A copy of the network with the weights of every convolution rounded."""
    made = copy.deepcopy(network)
    for unit in made.modules():
        if isinstance(unit, torch.nn.Conv2d):
            unit.weight.data.copy_(torch.from_numpy(way(unit.weight.detach().numpy())))
    return made


def _error(found: tuple[Any, ...], exact: tuple[Any, ...]) -> float:
    pairs = zip(found, exact, strict=True)
    return max(
        float((one - other).square().mean().sqrt() / other.square().mean().sqrt()) for one, other in pairs
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", metavar="WEIGHTS DATA")
    parser.add_argument("--images", type=int, default=16)
    options = parser.parse_args()
    pairs = zip(options.networks[::2], options.networks[1::2], strict=True)
    measured = [errors(weights, data, options.images) for weights, data in pairs]
    columns = ("rounding", *(about for about, _ in measured))
    rows = [(name, *(f"{found[name]:.4f}" for _, found in measured)) for name, _ in WAYS]
    print_table(columns, rows)
    lines = ["Error of the worst raw map by rounding weights alone, as a share of the map.", ""]
    facts = [{"network": about, "errors": found} for about, found in measured]
    result_files.write("weight-rounding", facts, [*lines, *table_lines(columns, rows)])


if __name__ == "__main__":
    main()
