"""OpenAPI description of the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeyolo.serve.service import Service
from edgeyolo.version import __version__

Json = dict[str, Any]


def describe(service: Service) -> Json:
    """Describe all addresses as an OpenAPI 3.1 document."""
    described: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "edgeyolo",
            "version": __version__,
            "description": "Object detection. Boxes are in pixels of the upright image.",
        },
        "paths": {**_detect(service), **_kserve(), **_rest()},
        "components": {"schemas": _SCHEMAS},
    }
    if service.settings.tokens:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Json, description: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _errors(*statuses: int, schema: str = "Error") -> Json:
    texts = {
        400: "The request or its image cannot be read.",
        404: "There is no such model.",
        406: "Accept names nothing there is.",
        408: "The request was sent too slowly.",
        413: "Too many bytes, pixels or images.",
        415: "The body's Content-Encoding is neither gzip nor deflate.",
        503: "The queue is full, a worker was lost, or the server is stopping; see Retry-After.",
        504: "Not answered in time.",
    }
    return {str(status): _json(_ref(schema), texts[status]) for status in statuses}


def _operation(summary: str, answers: Json, *, path: Sequence[str] = (), **more: Any) -> Json:
    operation: Json = {"summary": summary, "responses": answers, **more}
    if path:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in path
        ]
    return operation


def _detect(service: Service) -> Json:
    binary = {"schema": {"type": "string", "format": "binary"}}
    form = {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}
    found = _json(_ref("Found"), "Detections; with Accept: image/jpeg or image/png the picture with boxes.")
    found["content"] |= {"image/jpeg": binary, "image/png": binary}
    choice = {
        "name": "model",
        "in": "query",
        "description": "The model; the first one without.",
        "schema": {"type": "string", "enum": list(service.models)},
    }
    body = {
        "required": True,
        "content": {"image/*": binary, "multipart/form-data": {"schema": form}},
    }
    answers = {"200": found, **_errors(400, 404, 406, 408, 413, 415, 503, 504)}
    return {
        "/detect": {
            "post": _operation("Detect in an image file", answers, parameters=[choice], requestBody=body)
        }
    }


def _kserve() -> Json:
    done, anything = {"description": "Yes."}, {"type": "object"}
    state = {"200": done, **_errors(503, schema="KserveError")}
    inference = {"required": True, "content": {"application/json": {"schema": anything}}}
    answers = {
        "200": _json(anything, "count, boxes, confidence, class_id, name"),
        **_errors(400, 404, 408, 413, 415, 503, 504, schema="KserveError"),
    }
    known = {
        "200": _json(anything, "Input, outputs, classes, hash of the artifact."),
        **_errors(404, schema="KserveError"),
    }
    loaded = {"200": done, **_errors(404, schema="KserveError")}

    def models(base: str, path: Sequence[str]) -> Json:
        infer = _operation("Detect in raw pixels", answers, path=path, requestBody=inference)
        return {
            base: {"get": _operation("Describe a model", known, path=path)},
            f"{base}/ready": {"get": _operation("Say whether a model takes images", state, path=path)},
            f"{base}/infer": {"post": infer},
        }

    return {
        "/v2": {"get": _operation("Describe the server", {"200": _json(anything, "Name and version.")})},
        "/v2/health/live": {"get": _operation("Say that the process answers", {"200": done})},
        "/v2/health/ready": {"get": _operation("Say whether all models take images", state)},
        **models("/v2/models/{name}", ("name",)),
        **models("/v2/models/{name}/versions/{version}", ("name", "version")),
        "/v2/repository/index": {"post": _operation("List the models", {"200": done})},
        "/v2/repository/models/{name}/load": {
            "post": _operation("Open a model's artifact again", loaded, path=("name",))
        },
    }


def _rest() -> Json:
    text = {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    picture = {"description": "JPEG; facts in X-Live.", "content": {"image/jpeg": {"schema": _TEXT}}}
    views = {"200": picture, "204": {"description": "No later frame yet."}, **_errors(400, 404)}
    parts = {
        "description": "JPEGs, each with X-Live.",
        "content": {"multipart/x-mixed-replace": {"schema": _TEXT}},
    }
    pushed = views | {"200": parts}
    after = {
        "name": "after",
        "in": "query",
        "description": "The frame seen last.",
        "schema": {"type": "integer"},
    }
    return {
        "/metrics": {"get": _operation("Counts and times", {"200": text})},
        "/live.jpg": {"get": _operation("Newest frame of the camera", views, parameters=[after])},
        "/live.mjpeg": {"get": _operation("Frames of the camera, pushed", pushed, parameters=[after])},
    }


_NUMBER = {"type": "number"}
_TEXT = {"type": "string"}
_SCHEMAS: Json = {
    "Found": {
        "type": "object",
        "required": ["detections"],
        "properties": {"detections": {"type": "array", "items": {"$ref": "#/components/schemas/Detection"}}},
    },
    "Detection": {
        "type": "object",
        "required": ["box", "confidence", "class_id", "name"],
        "properties": {
            "box": {
                "type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4,
                "description": "x1, y1, x2, y2 in pixels",
            },
            "confidence": _NUMBER, "class_id": {"type": "integer"}, "name": _TEXT,
        },
    },
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["kind", "message", "hint"],
                "properties": {"kind": _TEXT, "message": _TEXT, "hint": _TEXT},
            }
        },
    },
    "KserveError": {
        "type": "object",
        "required": ["error"],
        "properties": {"error": _TEXT, "kind": _TEXT, "hint": _TEXT},
    },
}  # fmt: skip
