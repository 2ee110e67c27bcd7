"""A client of servers of KServe v2: Triton, OpenVINO Model Server.

Recipes carry a copy of this file.

    python client.py photo.jpg --url http://localhost:8000
    python client.py --check             the golden picture: within the export's tolerance, or exit code 4

It needs the base install of edgeyolo: pictures are prepared and boxes read here as everywhere else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray

from edgeyolo.artifact.contracts import OutputContract
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.backend.registry import find_target
from edgeyolo.errors import EdgeYoloError
from edgeyolo.runtime.golden import GOLDEN, read_golden
from edgeyolo.runtime.images import read_image
from edgeyolo.runtime.pipeline import Pipeline
from edgeyolo.runtime.postprocess_config import settle
from edgeyolo.runtime.verify import require_golden

HERE = Path(__file__).parent
_KSERVE = {"float32": "FP32", "float16": "FP16", "uint8": "UINT8", "int32": "INT32", "int64": "INT64"}
_NUMPY = {name: kind for kind, name in _KSERVE.items()}
_WAIT_S = 60.0


class RemoteSession:
    """A session whose runtime is a server: tensors go there and come back in binary."""

    def __init__(self, url: str, model: str, input_name: str, output: OutputContract) -> None:
        self._url = f"{url.rstrip('/')}/v2/models/{model}/infer"
        self._input, self._outputs = input_name, output.names

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Have a batch inferred; float32 arrays by output name."""
        data = np.ascontiguousarray(batch)
        tensor = {
            "name": self._input,
            "shape": list(data.shape),
            "datatype": _KSERVE[data.dtype.name],
            "parameters": {"binary_data_size": data.nbytes},
        }
        asked = [{"name": name, "parameters": {"binary_data": True}} for name in self._outputs]
        head = json.dumps({"inputs": [tensor], "outputs": asked}).encode()
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }
        request = Request(self._url, head + data.tobytes(), headers)
        try:
            with urlopen(request, timeout=_WAIT_S) as answer:
                body, head_bytes = answer.read(), answer.headers.get("Inference-Header-Content-Length")
        except HTTPError as error:
            said = error.read().decode("utf-8", "replace").strip()
            raise EdgeYoloError(
                f"{self._url}: the server answered {error.code}: {said or error.reason}",
                hint="Does it serve the model of this recipe? Its log says more.",
            ) from error
        except OSError as error:
            raise EdgeYoloError(
                f"{self._url}: {error}", hint="Is the server up and the model ready?"
            ) from error
        try:
            return _tensors(body, head_bytes)
        except (KeyError, TypeError, ValueError) as error:
            raise EdgeYoloError(
                f"{self._url}: expected tensors of KServe v2 ({', '.join(self._outputs)}), got what cannot be read: "
                f"{error}",
                hint="Does it serve the model of this recipe, by KServe v2?",
            ) from error

    def close(self) -> None:
        """Do nothing: no connection is kept."""


def _tensors(body: bytes, head_bytes: str | None) -> dict[str, NDArray[np.float32]]:
    size = len(body) if head_bytes is None else int(head_bytes)
    found, at = {}, size
    for output in json.loads(body[:size])["outputs"]:
        kind = np.dtype(_NUMPY[output["datatype"]])
        length = output.get("parameters", {}).get("binary_data_size")
        if length is None:
            values = np.array(output["data"], kind)
        else:
            values, at = np.frombuffer(body[at : at + length], kind), at + length
        found[output["name"]] = values.reshape(output["shape"]).astype(np.float32)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Detect in pictures, or check the server with the golden one."""
    parser = argparse.ArgumentParser(description="Detect by a server that speaks KServe v2.")
    parser.add_argument("images", nargs="*", help="pictures")
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument("--model", default=(HERE / "MODEL").read_text(encoding="utf-8").strip())
    parser.add_argument("--check", action="store_true", help="compare the golden picture's answer")
    given = parser.parse_args(arguments)
    manifest = Manifest.from_json((HERE / "manifest.json").read_text(encoding="utf-8"))
    session = RemoteSession(given.url, given.model, manifest.input.name, manifest.output)
    try:
        return _check(manifest, session) if given.check else _detect(manifest, session, given.images)
    except EdgeYoloError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _check(manifest: Manifest, session: RemoteSession) -> int:
    golden = read_golden(HERE / GOLDEN, manifest.input, manifest.output)
    profile, _ = find_target(manifest.target)
    deviation, tolerance = require_golden(manifest, golden, session, profile, "the server")
    print(f"golden picture: deviation {deviation:.3g}, {tolerance:g} is allowed")
    return 0


def _detect(manifest: Manifest, session: RemoteSession, images: Sequence[str]) -> int:
    config = settle(manifest.output)
    pipeline = Pipeline(session, manifest.input, manifest.output, manifest.class_names, config)
    for image in images:
        for detection in pipeline([read_image(image)])[0]:
            print(image, detection)
    return 0


if __name__ == "__main__":
    sys.exit(main())
