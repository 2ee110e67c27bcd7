"""The contracts of a manifest beside the ports of its file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeyolo.artifact.contracts import InputContract, Quantization, RawMaps
from edgeyolo.backend.interface import Port
from edgeyolo.backend.ports import port_faults, with_file_types

ANCHORS = (((10.0, 13.0),), ((30.0, 61.0),))
GIVEN = InputContract(64, 96)
OUTPUT = RawMaps(("p3", "p4"), (8, 16), ANCHORS, 2)
PORTS = (
    (Port("images", (1, 3, 64, 96), "float32"),),
    (
        Port("p3", (1, 7, 8, 12), "float32"),
        Port("p4", (1, 7, 4, 6), "float32"),
    ),
)
INTEGERS = (
    (replace(PORTS[0][0], dtype="int8", quantization=Quantization(1 / 255, -128)),),
    tuple(
        replace(port, dtype="int8", quantization=Quantization(0.1, index))
        for index, port in enumerate(PORTS[1])
    ),
)


def test_stated_ports_match_the_file() -> None:
    assert port_faults(GIVEN, OUTPUT, *PORTS) == []
    assert port_faults(*with_file_types(GIVEN, OUTPUT, *INTEGERS), *INTEGERS) == []


def test_types_and_scales_are_taken_from_the_file() -> None:
    given, output = with_file_types(GIVEN, OUTPUT, *INTEGERS)
    assert (given.dtype, given.quantization) == ("int8", Quantization(1 / 255, -128))
    assert isinstance(output, RawMaps)
    assert (output.dtype, output.quantization) == ("int8", (Quantization(0.1, 0), Quantization(0.1, 1)))
    assert with_file_types(GIVEN, OUTPUT, *PORTS) == (GIVEN, OUTPUT)


@pytest.mark.parametrize(
    ("given", "output", "said"),
    [
        (replace(GIVEN, name="image"), OUTPUT, "takes images, not image"),
        (replace(GIVEN, dtype="uint8"), OUTPUT, "images is float32"),
        (replace(GIVEN, height=32), OUTPUT, r"images is \(1, 3, 64, 96\)"),
        (replace(GIVEN, layout="NHWC"), OUTPUT, "images is"),
        (replace(GIVEN, dynamic_batch=True), OUTPUT, "images is"),
        (GIVEN, replace(OUTPUT, names=("p3", "p5")), "no p5"),
        (GIVEN, replace(OUTPUT, classes=3), "p3 is"),
        (GIVEN, replace(OUTPUT, dtype="int8", quantization=(Quantization(0.1, 0),) * 2), "p3 is float32"),
    ],
)
def test_port_mismatches_are_named(given: InputContract, output: RawMaps, said: str) -> None:
    import re

    assert re.search(said, "; ".join(port_faults(given, output, *PORTS)))


def test_another_scale_or_zero_point_is_said() -> None:
    given, output = with_file_types(GIVEN, OUTPUT, *INTEGERS)
    assert isinstance(output, RawMaps)
    other = replace(output, quantization=(Quantization(0.1, 0), Quantization(0.1, 2)))
    assert "p4 has" in port_faults(given, other, *INTEGERS)[0]
    assert (
        "images has"
        in port_faults(replace(given, quantization=Quantization(1 / 128, -128)), output, *INTEGERS)[0]
    )


def test_an_open_side_takes_any_size() -> None:
    free = (
        (Port("images", (None, 3, None, None), "float32"),),
        (Port("p3", (None, 7, None, None), "float32"), PORTS[1][1]),
    )
    assert port_faults(GIVEN, OUTPUT, *free) == []
