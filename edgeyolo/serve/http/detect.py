"""`POST /detect`: an image file in; detections as JSON, or drawn, out."""

from __future__ import annotations

import asyncio
import io
import warnings

from PIL import Image
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgeyolo.errors import RequestRefusedError, UsageError
from edgeyolo.serve.http.exchange import Exchange, check_pixels
from edgeyolo.serve.settings import Limits
from edgeyolo.serve.worker import Job, Picture

_KINDS: dict[str, Picture | None] = {"application/json": None, "image/jpeg": "jpeg", "image/png": "png"}


async def detect(exchange: Exchange) -> Response:
    """Detect in one image.

    The body is the image's file, or a form (multipart/form-data) with it. The answer is what `edgeyolo detect --json`
    says of an image, or with `Accept: image/jpeg` or `image/png` the picture with boxes.
    """
    model = exchange.service.find(_model_name(exchange.request))
    picture = accepted_kind(exchange.request.headers.get("accept", "*/*"))
    with model.queue.admitted(1):
        data = await exchange.read(_image_file)
        await asyncio.to_thread(check_header, data, exchange.limits)
        job = Job(data, exchange.limits.pixels, picture)
        (found,) = await model.detect([job], exchange.seconds_left)
    if found.picture is not None:
        return Response(found.picture, media_type=f"image/{picture}")
    return JSONResponse({"detections": found.detections.to_json()})


def _model_name(request: Request) -> str | None:
    """Value of `model`, the one parameter of the address; None without it."""
    if unknown := sorted(set(request.query_params) - {"model"}):
        raise UsageError(
            f"/detect takes the parameter model only, got {', '.join(unknown)}",
            hint="Thresholds and classes are options of edgeyolo serve, for all requests.",
        )
    return request.query_params.get("model")


def accepted_kind(accept: str) -> Picture | None:
    """Picture that an Accept header asks for, or None for JSON.

    Raises RequestRefusedError with status 406 where it takes nothing there is.
    """
    best: tuple[float, Picture | None] = (0.0, None)
    for part in accept.split(","):
        kind, *parameters = (text.strip().lower() for text in part.split(";"))
        quality = next((_quality(text[2:]) for text in parameters if text.startswith("q=")), 1.0)
        for known, picture in _KINDS.items():
            if quality > best[0] and kind in (known, known.partition("/")[0] + "/*", "*/*"):
                best = quality, picture
    if not best[0]:
        raise RequestRefusedError(
            f"Accept: expected one of {', '.join(_KINDS)}, got {accept[:100]!r}",
            status=406, cause="not_acceptable",
        )  # fmt: skip
    return best[1]


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


async def _image_file(request: Request) -> bytes:
    """Bytes of the image in a request: its body, or the first file of its form."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return await request.body()
    async with request.form(max_files=1, max_fields=8) as form:
        for value in form.values():
            if isinstance(value, UploadFile):
                return await value.read()
    raise UsageError("the form has no file", hint="curl -F image=@photo.jpg http://127.0.0.1:8000/detect")


def check_header(data: bytes, limits: Limits) -> None:
    """Refuse an image of too many pixels by its header, before it is decoded.

    What is no image, or a damaged one, is left to the decoder, which says what is wrong with it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                size = image.size
    except Image.DecompressionBombError as error:
        raise RequestRefusedError(str(error), status=413, cause="too_many_pixels") from error
    except Exception:  # noqa: BLE001 - Pillow's readers fail in many ways, and the decoder will say it
        return
    check_pixels(size, limits)
