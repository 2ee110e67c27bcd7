"""Integers by NNCF, the quantizer that OpenVINO's own kernels are made for, from our calibration images."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.contracts import InputContract
from edgeyolo.errors import EdgeYoloError, RuntimeMissingError, UnsupportedTargetError
from edgeyolo.protocols import CalibrationSource
from edgeyolo.silence import silence


def quantize(model: Any, contract: InputContract, calibration: CalibrationSource) -> Any:
    """An `ov.Model` with FakeQuantize operators, from one of float32 raw heads.

    Weights get a scale for each output channel; activations are symmetric or not, as the network's activation
    function asks ("mixed"). The last convolutions stay float: raw maps decide boxes to a fraction of a cell, and they
    are under 1 % of the arithmetic; so do the layers that `calibration.floats` names. The same model and images give
    the same result.

    Raises:
        RuntimeMissingError: nncf is not installed.
        DatasetError: no image can be read.
        UnsupportedTargetError: a layer that should stay in float is not in the model.
    """
    with silence("nncf"):
        try:
            import nncf
        except ImportError as error:
            raise RuntimeMissingError(
                f"integers for OpenVINO need the package {error.name}, which is not installed",
                hint="pip install 'edgeyolo[openvino]'",
            ) from error
        # Ranges are taken from single images; a network of any batch then runs one at a time.
        seen = replace(contract, batch=1) if contract.dynamic_batch else contract
        images = _Batches(calibration, seen)
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            fast_bias_correction=True,
            ignored_scope=nncf.IgnoredScope(
                names=[*head_convolutions(model), *float_layers(model, calibration.floats)]
            ),
        )


class _Batches:
    """The calibration images as often as NNCF asks; it reads them several times."""

    def __init__(self, calibration: CalibrationSource, contract: InputContract) -> None:
        self._calibration, self._contract = calibration, contract

    def __len__(self) -> int:
        return math.ceil(self._calibration.count / self._contract.batch)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return iter(self._calibration.batches(self._contract))


def float_layers(model: Any, tensors: Collection[str]) -> list[str]:
    """The names of the operators (a convolution, with its bias and activation function) that make these tensors.

    The ONNX reader keeps the tensors' names. Raises UnsupportedTargetError where one of them is not in the model.
    """
    makers = {
        name: node
        for node in model.get_ordered_ops()
        for output in node.outputs()
        for name in output.get_names()
    }
    missing = sorted(set(tensors) - makers.keys())
    if missing:
        raise UnsupportedTargetError(
            f"{', '.join(missing)} should stay in float, and OpenVINO's model has no such tensor",
            hint="The layers were chosen on another network or for another target: edgeyolo calibrate --target ...",
        )
    found: dict[str, None] = {}
    for tensor in tensors:
        node = makers[tensor]
        found[node.get_friendly_name()] = None
        while node.get_type_name() != "Convolution":
            # Sigmoid(x) * x, x + bias, LeakyReLU(x): the convolution lies behind what is no constant.
            node = next(
                value.get_node()
                for value in node.input_values()
                if value.get_node().get_type_name() not in ("Constant", "Convert")
            )
            found[node.get_friendly_name()] = None
    return list(found)


def head_convolutions(model: Any) -> list[str]:
    """The names of the convolutions that make the raw maps."""
    found = []
    for result in model.get_results():
        node = result.input_value(0).get_node()
        while node.get_type_name() not in ("Convolution", "Parameter"):
            node = node.input_value(0).get_node()
        if node.get_type_name() != "Convolution":
            raise EdgeYoloError(f"{result.get_friendly_name()}: no convolution makes this output")
        found.append(node.get_friendly_name())
    return found
