"""Plans of the fake TensorRT: the graph and its build settings; ONNX Runtime gives the numbers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from edgeyolo_tensorrt.plugin import without_plugin
from edgeyolo_tensorrt.run.stand_in import with_roundings

MAGIC = b"ftrt"


@dataclass(frozen=True)
class Plan:
    version: str
    gpu: str
    compute_capability: list[int]
    tf32: bool
    profile: list[list[int]] | None  # smallest, usual and largest shape of the input
    dla_core: int | None
    onnx_bytes: bytes

    def to_bytes(self) -> bytes:
        facts = asdict(self)
        del facts["onnx_bytes"]
        head = json.dumps(facts).encode()
        return MAGIC + len(head).to_bytes(4, "little") + head + self.onnx_bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan | None:
        if data[:4] != MAGIC:
            return None
        length = int.from_bytes(data[4:8], "little")
        return cls(**json.loads(data[8 : 8 + length]), onnx_bytes=data[8 + length :])

    @cached_property
    def model(self) -> onnx.ModelProto:
        return onnx.load_from_string(self.onnx_bytes)

    @property
    def session(self) -> ort.InferenceSession:
        return _session(self.onnx_bytes)

    def compute(self, name: str, data: bytes, shape: tuple[int, ...]) -> dict[str, bytes]:
        """Input bytes to output bytes."""
        kind = tensors(self.model.graph.input)[name][0]
        batch = np.frombuffer(data, np.uint8 if kind == "UINT8" else np.float32).reshape(shape)
        maps = self.session.run(None, {name: batch})
        return {
            item.name: (rounded(each) if self.tf32 and each.dtype == np.float32 else each).tobytes()
            for item, each in zip(self.session.get_outputs(), maps, strict=True)
        }


@lru_cache(maxsize=8)
def _session(onnx_bytes: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    graph = with_roundings(without_plugin(onnx.load_from_string(onnx_bytes))).SerializeToString()
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def rounded(values: np.ndarray) -> np.ndarray:
    """float32 with the ten bits of mantissa that TF32 keeps, as a network that was allowed to use it would give."""
    return (values.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def tensors(values: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (TensorRT's name of the type, shape with -1 for what varies)."""
    kinds = {
        onnx.TensorProto.FLOAT: "FLOAT",
        onnx.TensorProto.FLOAT16: "HALF",
        onnx.TensorProto.UINT8: "UINT8",
        onnx.TensorProto.INT32: "INT32",
    }
    return {
        value.name: (
            kinds[value.type.tensor_type.elem_type],
            tuple(side.dim_value or -1 for side in value.type.tensor_type.shape.dim),
        )
        for value in values
    }
