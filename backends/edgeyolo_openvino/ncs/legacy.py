"""Script that runs inside the Python 3.9 of OpenVINO 2021.4.

It stands alone: it may import only what is there.

    python legacy.py convert MODEL.onnx MODEL.xml    write format 10, ask the MYRIAD plugin, print one JSON line
    python legacy.py query MODEL                     ask the MYRIAD plugin, print one JSON line
    python legacy.py run MODEL.xml                   serve inference on the CPU over standard input and output

`run` prints one JSON line, {"ready": true}. A request is a JSON line {"name": ..., "shape": [...]} and the float32
values; an answer is a JSON line {"outputs": {name: shape}} and their values in that order, or {"error": ...}.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

import numpy as np


def load_engine() -> Any:
    """Create an IECore.

    The MYRIAD plugin links to libusb, which the package libusb-package brings without root.
    """
    try:
        import libusb_package

        folder = os.path.dirname(libusb_package.__file__)  # noqa: PTH120
        ctypes.CDLL(os.path.join(folder, "libusb-1.0.so"), ctypes.RTLD_GLOBAL)  # noqa: PTH118
    except ImportError:
        ctypes.CDLL("libusb-1.0.so.0", ctypes.RTLD_GLOBAL)
    from openvino.inference_engine import IECore

    engine = IECore()
    # Its default is bfloat16 on processors that have it.
    engine.set_config({"ENFORCE_BF16": "NO"}, "CPU")
    return engine


def query(engine: Any, network: Any) -> dict[str, Any]:
    """Query which of a network's layers the MYRIAD plugin takes.

    It also gives their number.
    """
    import ngraph
    from openvino.inference_engine import get_version

    taken = engine.query_network(network, "MYRIAD")
    layers = [
        (node.get_friendly_name(), node.get_type_name())
        for node in ngraph.function_from_cnn(network).get_ordered_ops()
        if node.get_type_name() != "Result"
    ]
    refused = [f"{kind} {name}" for name, kind in layers if name not in taken]
    return {"version": get_version(), "layers": len(layers), "refused": refused}


def convert(engine: Any, source: str, destination: str) -> dict[str, Any]:
    """ONNX to format 10; the answer is about the written file, read back."""
    weights = destination[: -len(".xml")] + ".bin"
    engine.read_network(source).serialize(destination, weights)
    return query(engine, engine.read_network(destination, weights))


def serve(engine: Any, model: str) -> None:
    """Answer requests until standard input ends."""
    network = engine.read_network(model)
    for port in [*network.input_info.values(), *network.outputs.values()]:
        port.precision = "FP32"
    executable = engine.load_network(network, "CPU")
    answer({"ready": True})
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        count = int(np.prod(request["shape"]))
        values = np.frombuffer(sys.stdin.buffer.read(4 * count), np.float32).reshape(request["shape"])
        try:
            maps = executable.infer({request["name"]: values})
        except Exception as error:  # noqa: BLE001 - told to the other side
            answer({"error": str(error)})
            continue
        arrays = {name: np.ascontiguousarray(each, np.float32) for name, each in maps.items()}
        answer({"outputs": {name: each.shape for name, each in arrays.items()}}, *arrays.values())


def answer(head: dict[str, Any], *arrays: Any) -> None:
    """Write a JSON line and raw values."""
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n")
    for each in arrays:
        sys.stdout.buffer.write(each.tobytes())
    sys.stdout.buffer.flush()


def main(verb: str, *paths: str) -> None:
    """Do one verb."""
    engine = load_engine()
    if verb == "convert":
        answer(convert(engine, *paths))
    elif verb == "query":
        answer(query(engine, engine.read_network(*paths)))
    else:
        serve(engine, *paths)


if __name__ == "__main__":
    main(*sys.argv[1:])
