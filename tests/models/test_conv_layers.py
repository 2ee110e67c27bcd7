"""The torch-free walk over a spec, against the torch network: every convolution, its shape and its maps."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any, get_args

import pytest

from edgeyolo.errors import UsageError
from edgeyolo.models import specs
from edgeyolo.models.layers import ConvLayer, conv_layers
from edgeyolo.models.topology import Tried


def tried() -> list[specs.ModelSpec]:
    """Variants of the paper's Tables 4, 5 and 8, each in a network that takes it."""
    place = {"whole-aux": "yolov7-e6e"}
    words = [word for word in get_args(Tried) if word]
    return [replace(specs.get(place.get(word, "yolov7-w6")), tried=word) for word in words]


@pytest.mark.parametrize(
    "spec", [*map(specs.get, specs.names()), *tried()], ids=lambda spec: spec.name + spec.tried
)
def test_it_is_the_torch_network(spec: specs.ModelSpec) -> None:
    pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo.models.build import build
    from edgeyolo.models.complexity import gflops, parameters
    from edgeyolo.models.network import conv_units

    size = (spec.imgsz, spec.imgsz // 2)
    network = build(spec, form="plain", device="meta")
    layers = conv_layers(spec, 80, size)
    units = conv_units(network)
    assert [layer.name for layer in layers] == list(units)
    for layer, unit in zip(layers, units.values(), strict=True):
        assert tuple(unit.kernel.weight.shape) == (layer.c_out, layer.c_in, layer.kernel, layer.kernel)
    assert sum(layer.weights for layer in layers) == parameters(network)
    assert sum(layer.flops for layer in layers) / 1e9 == pytest.approx(gflops(network, size), rel=1e-12)


def test_the_maps_are_those_that_torch_makes(rich_spec: Any) -> None:
    torch = pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo.models.build import build
    from edgeyolo.models.network import conv_units

    network = build(rich_spec, classes=4, form="plain").eval()
    seen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for name, unit in conv_units(network).items():
        unit.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update(
                {name: (tuple(inputs[0].shape), tuple(output.shape))}
            )
        )
    with torch.no_grad():
        network(torch.zeros(1, 3, 128, 192))
    for layer in conv_layers(rich_spec, 4, (128, 192)):
        assert seen[layer.name] == ((1, layer.c_in, *layer.size_in), (1, layer.c_out, *layer.size_out))


def test_counts_of_one_layer() -> None:
    dense = ConvLayer("dense", 4, 8, 3, (10, 10), (10, 10))
    assert dense.weights == 4 * 8 * 9 + 8
    assert dense.flops == 2 * 4 * 8 * 9 * 100
    assert dense.least_flops == dense.flops / 4
    strided = ConvLayer("strided", 4, 8, 3, (10, 10), (5, 5))
    assert strided.least_flops == strided.flops == 2 * 4 * 8 * 9 * 25
    assert (strided.values_in, strided.values_out) == (400, 200)


def test_a_size_that_the_strides_do_not_divide_is_refused() -> None:
    with pytest.raises(UsageError, match="multiples of the largest stride, 64"):
        conv_layers(specs.get("yolov7-w6"), 80, (640, 650))


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from edgeyolo.models import layers, specs; "
        "layers.conv_layers(specs.get('yolov7'), 80, (640, 640)); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
