"""Quantizers without placement rules.

They are called as a user without this project would call them, to show what the rules are worth.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.backend.interface import CalibrationSource
from edgeyolo.backend.ort_options import cpu_options
from edgeyolo_calib.quantize.qdq import quantize
from edgeyolo_calib.quantize.rules import NAIVE_ONNXRUNTIME, NAIVE_TENSORRT, ONNXRUNTIME, TENSORRT, Rules
from edgeyolo_calib.quantize.schemes import settle_scheme
from edgeyolo_calib.ranges.observe import observe
from edgeyolo_calib.ranges.ranges import Method, Scheme

Maps = dict[str, NDArray[np.float32]]


class OnnxRuntime:
    """A quantized ONNX graph through ONNX Runtime.

    `exact`: quantizers round, no integer kernel replaces anything.
    """

    def __init__(self, model: bytes, names: tuple[str, ...], *, exact: bool = False) -> None:
        import onnxruntime as ort

        options = cpu_options(settings={"session.disable_quant_qdq": "1"} if exact else {})
        self._names = names
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, batch: NDArray[Any]) -> Maps:
        """An input array -> raw maps by name."""
        maps = self._session.run(list(self._names), {"images": batch})
        return dict(zip(self._names, maps, strict=True))

    def close(self) -> None:
        """Nothing to release early."""


class OpenVino:
    """An `ov.Model` on the CPU, in float32 where it is not in integers."""

    def __init__(self, model: Any, names: tuple[str, ...]) -> None:
        import openvino as ov

        self._names = names
        self._model = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(self, batch: NDArray[Any]) -> Maps:
        """An input array -> raw maps by name."""
        result = self._model(batch)
        return {name: result[name] for name in self._names}

    def close(self) -> None:
        """Nothing to release early."""


def onnxruntime_default(model: Path, artifact: Artifact, calibration: CalibrationSource) -> OnnxRuntime:
    """`onnxruntime.quantization.quantize_static` with its defaults.

    Min-max, int8, a scale for each tensor.
    """
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    contract = artifact.manifest.input

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = calibration.batches(contract)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {contract.name: batch}

    with tempfile.TemporaryDirectory(prefix="edgeyolo-") as folder:
        made = Path(folder) / "model.onnx"
        quantize_static(str(model), str(made), Reader())
        return OnnxRuntime(made.read_bytes(), artifact.manifest.output.names)


def nncf_default(model: Path, artifact: Artifact, calibration: CalibrationSource) -> OpenVino:
    """`nncf.quantize` with its defaults: no ignored scope, symmetric activations."""
    import nncf
    import openvino as ov

    batches = list(islice(calibration.batches(artifact.manifest.input), 100))
    made = nncf.quantize(ov.Core().read_model(str(model)), nncf.Dataset(batches), subset_size=len(batches))
    return OpenVino(made, artifact.manifest.output.names)


def everywhere(
    rules: Rules, method: Method, model: Path, artifact: Artifact, calibration: CalibrationSource
) -> OnnxRuntime:
    """A quantizer behind every operator.

    Heads and stem too, one scale for a whole weight.
    """
    statistics = observe(model, artifact.manifest.input, calibration, keep=calibration.ranges)
    made = quantize(onnx.load(model), statistics, rules, Scheme(method))
    return OnnxRuntime(
        made.model.SerializeToString(), artifact.manifest.output.names, exact=rules is NAIVE_TENSORRT
    )


def to_nearest_levels(
    rules: Rules, model: Path, artifact: Artifact, calibration: CalibrationSource
) -> OnnxRuntime:
    """Places and ranges of ours, but each weight at its nearest level."""
    statistics = observe(model, artifact.manifest.input, calibration, keep=calibration.ranges)
    nearest = replace(rules, even_sums=False)
    scheme = settle_scheme(model, artifact.manifest.input, statistics, nearest, calibration)
    made = quantize(onnx.load(model), statistics, nearest, scheme)
    return OnnxRuntime(
        made.model.SerializeToString(), artifact.manifest.output.names, exact=rules is TENSORRT
    )


Quantizer = Callable[[Path, Artifact, CalibrationSource], Any]

NAIVE: tuple[tuple[str, str, Quantizer], ...] = (
    ("ONNX Runtime's quantize_static", "cpu-onnx-int8", onnxruntime_default),
    ("everywhere, min-max", "cpu-onnx-int8", partial(everywhere, NAIVE_ONNXRUNTIME, "minmax")),
    ("everywhere, entropy", "cpu-onnx-int8", partial(everywhere, NAIVE_ONNXRUNTIME, "entropy")),
    ("everywhere, min-max", "jetson-trt-int8", partial(everywhere, NAIVE_TENSORRT, "minmax")),
    ("everywhere, entropy", "jetson-trt-int8", partial(everywhere, NAIVE_TENSORRT, "entropy")),
    ("NNCF's defaults", "cpu-openvino-int8", nncf_default),
    ("weights at their nearest level", "cpu-onnx-int8", partial(to_nearest_levels, ONNXRUNTIME)),
    ("weights at their nearest level", "jetson-trt-int8", partial(to_nearest_levels, TENSORRT)),
)
"""How, as which target, and what makes a session of the float graph."""
