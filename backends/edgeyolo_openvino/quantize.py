"""Quantization by NNCF from our calibration images.

OpenVINO's own kernels are made for this quantizer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract
from edgeyolo.backend.interface import CalibrationSource, Judge
from edgeyolo.backend.quantizer_options import DEFAULTS, QuantizerOptions
from edgeyolo.errors import EdgeYoloError, RuntimeMissingError, UnsupportedTargetError, UsageError
from edgeyolo.runtime.images import read_image
from edgeyolo.runtime.preprocess import preprocess
from edgeyolo.support.install import install_hint
from edgeyolo.support.silence import silence
from edgeyolo.support.usage_reports import send_none

_CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})
_FIRST_LEVELS = 63
"""NNCF rounds weights that meet pixels to -63..63, others to -127..127: on processors without VNNI larger products of
them overflow (its `overflow_fix`)."""


def quantize(
    model: Any,
    contract: InputContract,
    calibration: CalibrationSource,
    options: QuantizerOptions = DEFAULTS,
    judge: Judge | None = None,
) -> Any:
    """An `ov.Model` with FakeQuantize operators, from one of float32 raw heads.

    Weights get a scale for each output channel; activations are symmetric or not, as the preset says. The last
    convolutions stay float: raw maps decide boxes to a fraction of a cell, and they are under 1 % of the arithmetic; so
    do the layers that `calibration.floats` and the options name.
    With a judge, layers go back into float until it finds no more AP lost than it allows. The same model and images
    give the same result.

    Raises:
        RuntimeMissingError: nncf is not installed.
        UsageError: a layer that shall stay in float is not there.
        DatasetError: no image can be read.
        UnsupportedTargetError: a layer of `calibration.floats` is not in the model.
    """
    floats = head_convolutions(model) + layers_of(model, options.floats)
    floats += float_layers(model, calibration.floats)
    send_none("nncf")
    with silence("nncf"):
        try:
            import nncf
        except ImportError as error:
            raise RuntimeMissingError(
                f"integers for OpenVINO need the package {error.name}, which is not installed",
                hint=install_hint("openvino"),
            ) from error
        round_weights(model, floats)
        # Ranges are taken from single images; a network of any batch then runs one at a time.
        seen = replace(contract, batch=1) if contract.dynamic_batch else contract
        images = _Batches(calibration, seen)
        wanted = {
            "preset": nncf.QuantizationPreset(options.preset),
            "subset_size": len(images),
            "fast_bias_correction": True,
            "ignored_scope": nncf.IgnoredScope(names=floats),
        }
        if judge is None:
            return nncf.quantize(model, nncf.Dataset(images), **wanted)
        return nncf.quantize_with_accuracy_control(
            model,
            calibration_dataset=nncf.Dataset(images),
            validation_dataset=nncf.Dataset(range(len(judge)), _Pictures(judge, seen)),
            validation_fn=_Validation(judge, seen),
            max_drop=judge.allowed / 100,
            **wanted,
        )


class _Batches:
    """The calibration images as often as NNCF asks; it reads them several times."""

    def __init__(self, calibration: CalibrationSource, contract: InputContract) -> None:
        self._calibration, self._contract = calibration, contract

    def __len__(self) -> int:
        return math.ceil(self._calibration.count / self._contract.batch)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return iter(self._calibration.batches(self._contract))


class _Pictures:
    """The judge's image of an index, as the network takes it."""

    def __init__(self, judge: Judge, contract: InputContract) -> None:
        self._judge, self._contract = judge, contract

    def __call__(self, index: int) -> NDArray[Any]:
        picture = read_image(self._judge.image(index))
        return preprocess([picture] * self._contract.batch, self._contract)[0]


class _Validation:
    """AP of a compiled model on the images that NNCF names.

    It has no finer measure to rank layers by.
    """

    def __init__(self, judge: Judge, contract: InputContract) -> None:
        self._judge, self._contract = judge, contract

    def __call__(self, compiled: Any, images: Iterable[int]) -> tuple[float, None]:
        session = _Compiled(compiled, self._judge.output.names)
        return self._judge(session, self._contract, list(images)), None


class _Compiled:
    """A model that NNCF compiled, as a Session."""

    def __init__(self, compiled: Any, names: tuple[str, ...]) -> None:
        self._compiled, self._names = compiled, names

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """An input array -> raw maps by name."""
        result = self._compiled(batch)
        return {name: np.asarray(result[name]) for name in self._names}

    def close(self) -> None:
        """NNCF's to release."""


def round_weights(model: Any, floats: Collection[str]) -> None:
    """Round the weights of convolutions so that errors cancel.

    They are rounded to the levels that NNCF will give them, which then takes each one's nearest: its own. Those of the
    layers `floats` stay as they are.
    """
    import openvino as ov

    from edgeyolo_calib.quantize.even_sums import with_even_sums
    from edgeyolo_calib.ranges.ranges import INT8, weight_scales

    for node in model.get_ordered_ops():
        if node.get_type_name() in _CONVOLUTIONS and node.get_friendly_name() not in floats:
            constant = _weight_of(node)
            filters = constant.data.reshape(-1, *constant.data.shape[-3:])
            scales = weight_scales(filters) * (INT8.high / _FIRST_LEVELS if _meets_pixels(node) else 1)
            rounded = with_even_sums(filters, scales).reshape(constant.data.shape)
            made = ov.opset13.constant(rounded)
            made.set_friendly_name(constant.get_friendly_name())
            constant.output(0).replace(made.output(0))


def _weight_of(convolution: Any) -> Any:
    """The constant that holds a convolution's weights; those of groups are reshaped."""
    node = convolution.input_value(1).get_node()
    while node.get_input_size():
        node = node.input_value(0).get_node()
    return node


def _meets_pixels(convolution: Any) -> bool:
    node = convolution.input_value(0).get_node()
    while node.get_type_name() not in {*_CONVOLUTIONS, "Parameter"} and node.get_input_size():
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Parameter")


def float_layers(model: Any, tensors: Collection[str]) -> list[str]:
    """Operators that make these tensors.

    They are named; an operator is a convolution with its bias and activation function.

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
        while node.get_type_name() not in _CONVOLUTIONS:
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
        while node.get_type_name() not in {*_CONVOLUTIONS, "Parameter"}:
            node = node.input_value(0).get_node()
        if node.get_type_name() not in _CONVOLUTIONS:
            raise EdgeYoloError(f"{result.get_friendly_name()}: no convolution makes this output")
        found.append(node.get_friendly_name())
    return found


def layers_of(model: Any, modules: Iterable[str]) -> list[str]:
    """Convolutions whose weights belong to one of `modules`.

    A module stands for its parts too. Gives their names.
    """
    weights = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() in _CONVOLUTIONS:
            weights[_weight_of(node).get_friendly_name()] = node.get_friendly_name()
    found = []
    for module in modules:
        inside = [layer for weight, layer in weights.items() if f"{weight}.".startswith(f"{module}.")]
        if not inside:
            tops = ", ".join(sorted({weight.split(".")[0] for weight in weights}))
            raise UsageError(
                f"--float-layers {module}: the network has no such layer", hint=f"There are: {tops}."
            )
        found += inside
    return found
