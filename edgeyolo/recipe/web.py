"""The browser: a static page on which ONNX Runtime Web runs the artifact."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.artifact.contracts import GraphDetections, RawMaps
from edgeyolo.artifact.manifest import Manifest
from edgeyolo.artifact.target import Target
from edgeyolo.backend.registry import find_target
from edgeyolo.recipe.host import GOLDEN, MANIFEST, Host, described, place, write_check
from edgeyolo.runtime.agreement import certain
from edgeyolo.runtime.golden import Golden, read_golden
from edgeyolo.runtime.verify import golden_tolerance

PAGE = Path(__file__).with_name("page")
RUNTIME = "onnxruntime-web@1.30.0"
"""The npm package that the tests load; later ones should do."""


def golden_values(golden: Golden, tolerance: float, agreement: float) -> dict[str, Any]:
    """Golden values for the page's check, by the rules of `edgeyolo verify`.

    They are values of raw maps at flat positions, and the detections above `conf`; of those from `certain` on a
    share of `agreement` must have a counterpart on the other side.
    """
    found = golden.found
    return {
        "tolerance": tolerance,
        "agreement": agreement,
        "certain": certain(golden.conf),
        "samples": {
            name: {"index": index.tolist(), "value": [float(f"{each:.6g}") for each in value]}
            for name, (index, value) in golden.samples.items()
        },
        "conf": golden.conf,
        "detections": [
            {"box": box, "confidence": confidence, "class_id": class_id}
            for box, confidence, class_id in zip(
                found.xyxy.tolist(), found.confidence.tolist(), found.class_id.tolist(), strict=True
            )
        ],
    }


def _takes(target: Target) -> bool:
    return target.runtime == "onnx"


def _misfit(manifest: Manifest) -> tuple[str, str] | None:
    contract = manifest.input
    one = contract.batch == 1 or contract.dynamic_batch
    known = isinstance(manifest.output, RawMaps | GraphDetections) and contract.dtype in ("float32", "uint8")
    if one and known and not contract.dynamic_size:
        return None
    return (
        "the page gives one picture at a time, as floats or bytes of one size, and reads raw maps or detections",
        "Export the weights: edgeyolo export WEIGHTS --target cpu-onnx-fp32 --batch 1 -o DIR",
    )


def _fill(artifact: Artifact, folder: Path) -> None:
    manifest = artifact.manifest
    for file in sorted(PAGE.iterdir()):
        shutil.copyfile(file, folder / file.name)
    place(artifact, folder, ".onnx")
    shutil.copyfile(artifact.path / MANIFEST, folder / MANIFEST)
    golden = read_golden(artifact.path / GOLDEN, manifest.input, manifest.output)
    profile, _ = find_target(manifest.target)
    values = golden_values(golden, golden_tolerance(manifest, profile), profile.agreement)
    (folder / "golden.json").write_text(json.dumps(values) + "\n", encoding="utf-8")
    (folder / "golden.png").write_bytes(cv2.imencode(".png", golden.image)[1].tobytes())
    config = {"runtime": "ort/", "provider": "auto"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_check(
        folder,
        "test -f ort/ort.wasm.min.mjs || grep -q '://' config.json || "
        f"{{ echo 'ort/ has no ONNX Runtime Web: npm pack {RUNTIME}' >&2; exit 3; }}\n"
        "echo 'The files are whole. Open the page and press Check: it runs the golden picture.'\n",
    )
    (folder / "README.md").write_text(
        f"# Browser\n\n{described(artifact)}\n"
        "Static files; the picture stays in the browser. ONNX Runtime Web is not part of them; put it beside the "
        "page:\n\n"
        f"    npm pack {RUNTIME} && tar xzf onnxruntime-web-*.tgz && mv package/dist ort\n"
        "    ./check.sh && python3 -m http.server\n\n"
        "or name the address of a copy, with a slash at its end, as `runtime` in config.json. `provider` is `auto` "
        "(WebGPU where the browser has it, else WebAssembly), `webgpu` or `wasm`; `?provider=wasm` in the page's "
        "address decides for once. The files must come from a web server, and a camera needs HTTPS or localhost. With "
        "the headers `Cross-Origin-Opener-Policy: same-origin` and `Cross-Origin-Embedder-Policy: require-corp` "
        "WebAssembly uses several threads.\n\n"
        "The button Check runs the golden picture and compares the outputs with those that the export recorded. "
        "edgeyolo.js has the letterbox, decoding and suppression, without a dependency; model.js the runtime; app.js "
        "the page.\n",
        encoding="utf-8",
    )


WEB = Host("web", "A page for the browser", _takes, _fill, _misfit, ("config.json",))
