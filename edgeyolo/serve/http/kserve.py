"""Routes of the KServe v2 protocol (Open Inference Protocol)."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.errors import RequestRefusedError, UsageError
from edgeyolo.serve.http.exchange import Exchange, check_pixels
from edgeyolo.serve.http.tensors import INPUT, JSON_LENGTH, OUTPUTS, VERSION, read_inference, write_answer
from edgeyolo.serve.service import ServedModel
from edgeyolo.serve.worker import Job
from edgeyolo.version import __version__


async def server(exchange: Exchange) -> Response:
    """Describe the server."""
    extensions = ["binary_tensor_data", "model_repository"]
    return JSONResponse({"name": "edgeyolo", "version": __version__, "extensions": extensions})


async def live(exchange: Exchange) -> Response:
    """Say that the process answers."""
    return JSONResponse({"live": True})


async def ready(exchange: Exchange) -> Response:
    """Say whether every model takes images; 503 where one does not."""
    good = exchange.service.ready
    return JSONResponse({"ready": good}, status_code=200 if good else 503)


async def model_ready(exchange: Exchange) -> Response:
    """Say whether a model takes images; 503 where it does not."""
    model = _model(exchange)
    return JSONResponse(
        {"name": model.model.name, "ready": model.ready}, status_code=200 if model.ready else 503
    )


async def model(exchange: Exchange) -> Response:
    """Describe a model: its input, its outputs, its classes and the artifact's hash."""
    found = _model(exchange)
    manifest = found.manifest
    outputs = [{"name": name, "datatype": kind, "shape": shape} for name, (kind, shape) in OUTPUTS.items()]
    said: dict[str, Any] = {
        "name": found.model.name,
        "versions": [VERSION],
        "platform": f"edgeyolo_{manifest.target}",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, -1, -1, 3]}],
        "outputs": outputs,
        "class_names": manifest.class_names,
        "artifact_sha256": Artifact(found.model.path, manifest).sha256,
    }
    return JSONResponse(said)


async def index(exchange: Exchange) -> Response:
    """List the models and their state."""
    states = {True: "READY", False: "UNAVAILABLE"}
    models = exchange.service.models.items()
    return JSONResponse(
        [{"name": name, "version": VERSION, "state": states[each.ready]} for name, each in models]
    )


async def load(exchange: Exchange) -> Response:
    """Open a model's artifact again; requests are answered all the while."""
    await _model(exchange).reload()
    return JSONResponse({})


async def infer(exchange: Exchange) -> Response:
    """Detect in raw pixels."""
    found = _model(exchange)
    limits = exchange.limits
    with found.queue.admitted(1):
        body = await exchange.read(Request.body)
        inference = await asyncio.to_thread(read_inference, body, exchange.request.headers.get(JSON_LENGTH))
        height, width = inference.images.shape[1:3]
        check_pixels((width, height), limits)
        found.queue.check_count(len(inference.images))
        with found.queue.admitted(len(inference.images) - 1):
            jobs = [Job(image, limits.pixels) for image in inference.images]
            answers = await found.detect(jobs, exchange.seconds_left)
    data, headers = write_answer(found.model.name, inference, [each.detections for each in answers])
    return Response(data, headers=headers)


def _model(exchange: Exchange) -> ServedModel:
    name = exchange.request.path_params.get("name")
    if not isinstance(name, str):
        raise UsageError("expected the name of a model")
    found = exchange.service.find(name)
    if (version := exchange.request.path_params.get("version", VERSION)) != VERSION:
        raise RequestRefusedError(
            f"{name} has no version {version[:20]!r}",
            status=404, cause="no_such_model", hint=f"A model has the version {VERSION} alone.",
        )  # fmt: skip
    return found
