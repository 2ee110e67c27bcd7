"""A package loaded by Core ML itself."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import InputContract, OutputContract
from edgeyolo.errors import DamagedFileError, EdgeYoloError, RuntimeMissingError
from edgeyolo_coreml.suppressed import contracted, names_in_file
from edgeyolo_coreml.toolkit import coremltools, macos

# Specification version of a package -> the system that reads it (coremltools, `minimum_deployment_target`).
SYSTEMS: Mapping[int, str] = MappingProxyType({6: "macOS 12", 7: "macOS 13"})


class CoremlSession:
    """A network on the neural engine.

    The CPU runs what the engine does not take.

    Takes uint8 (n, height, width, 3) RGB. Core ML compiles the package when it is loaded, which takes seconds; the
    system keeps the engine's part of it. More than one image is a batch of predictions. The GPU is left alone where
    that can be asked for (macOS 13).
    """

    def __init__(self, package: Path, input: InputContract, output: OutputContract) -> None:
        ct = coremltools()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where the framework refuses, coremltools warns; see `_refuse`
            try:
                units = ct.ComputeUnit.CPU_AND_NE if macos() >= 13 else ct.ComputeUnit.ALL
                model = ct.models.MLModel(str(package), compute_units=units)
            except Exception as error:  # protobuf, the native reader and Core ML share no base class
                raise DamagedFileError(f"{package}: Core ML cannot load it: {error}") from error
        if getattr(model, "__proxy__", None) is None:
            _refuse(package, model)
        given = [item.name for item in model.get_spec().description.output]
        if missing := set(names_in_file(output)) - set(given):
            raise DamagedFileError(
                f"{package}: the model gives {given}, the manifest expects also {sorted(missing)}"
            )
        self._model: Any = model
        self._package, self._input, self._output = package, input, output
        self._lock = Lock()  # a Core ML model is used from one thread at a time

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Map (n, height, width, 3) uint8 to the outputs by name."""
        from PIL import Image

        if self._model is None:
            raise EdgeYoloError(f"{self._package}: the session is closed")
        self._input.check(batch)
        images = [{self._input.name: Image.fromarray(np.ascontiguousarray(each))} for each in batch]
        with self._lock:
            if self._model is None:
                raise EdgeYoloError(f"{self._package}: the session is closed")
            maps = self._model.predict(images) if len(images) > 1 else [self._model.predict(images[0])]
            # Copied while no other prediction can write to the same memory.
            return contracted(maps, self._output, self._input.size)

    def close(self) -> None:
        """Release the model; a prediction under way is waited for."""
        with self._lock:
            self._model = None


def _refuse(package: Path, model: Any) -> NoReturn:
    """Say why coremltools has a model that Core ML did not load.

    Its error, or a newer format than this system's.
    """
    if model._framework_error is not None:
        raise DamagedFileError(f"{package}: Core ML cannot load it: {model._framework_error}")
    needs = SYSTEMS.get(model.get_spec().specificationVersion, "a newer macOS")
    raise RuntimeMissingError(
        f"{package} needs {needs}; this is macOS {macos()}",
        hint="Update the system, or export for ane-coreml-fp16, which runs on macOS 12.",
    )
