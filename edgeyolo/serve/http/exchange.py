"""Parts that all requests share: token, time, body, errors as JSON."""

from __future__ import annotations

import asyncio
import hmac
import sys
import traceback
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeAlias, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive

from edgeyolo.errors import EdgeYoloError, ImageError, RequestRefusedError, UsageError
from edgeyolo.serve.service import Service
from edgeyolo.serve.settings import Limits

T = TypeVar("T")


@dataclass(frozen=True)
class Exchange:
    """A request with its limits and the time it came."""

    service: Service
    request: Request
    start: float = field(default_factory=monotonic)

    @property
    def limits(self) -> Limits:
        """The limits of requests."""
        return self.service.limits

    @property
    def seconds_left(self) -> float:
        """Seconds until the request is given up."""
        return self.start + self.limits.timeout - monotonic()

    async def read(self, reading: Callable[[Request], Awaitable[T]]) -> T:
        """Read the body, which may be neither too large nor too slow.

        A body in gzip or deflate counts as what it holds.

        Raises RequestRefusedError with status 413, 408 or 415.
        """
        announced = self.request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self.limits.body:
            raise _too_large(self.limits)
        coding = self.request.headers.get("content-encoding", "identity").strip().lower()
        receive = _decompressed(self.request.receive, coding, self.limits)
        limited = Request(self.request.scope, _limited(receive, self.limits))
        try:
            return await asyncio.wait_for(reading(limited), self.seconds_left)
        except asyncio.TimeoutError as error:
            raise RequestRefusedError(
                f"the request was not sent within {self.limits.timeout:g} s", status=408, cause="slow_body"
            ) from error
        except ClientDisconnect as error:
            raise RequestRefusedError(
                "the client went before it had sent its request", status=400, cause="client_gone"
            ) from error


Handler: TypeAlias = Callable[[Exchange], Awaitable[Response]]


def answering(
    service: Service, name: str, handler: Handler, *, open_to_all: bool = False
) -> Callable[[Request], Awaitable[Response]]:
    """Make a route's endpoint: token, handler, errors as JSON, metrics under `name`."""

    async def endpoint(request: Request) -> Response:
        exchange = Exchange(service, request)
        try:
            if not open_to_all:
                _check_token(request, service.settings.tokens)
            response = await handler(exchange)
        except Exception as error:  # noqa: BLE001 - whatever it is, it becomes the answer
            response = error_response(request, error)
            service.metrics.rejects.labels(_cause(error)).inc()
        service.metrics.requests.labels(name, str(response.status_code)).inc()
        service.metrics.latency.labels(name).observe(monotonic() - exchange.start)
        return response

    return endpoint


def error_response(request: Request, error: Exception) -> Response:
    """An error as JSON: `{"error": {"kind": ..., "message": ..., "hint": ...}}`.

    Under `/v2` it is `{"error": message, "kind": ..., "hint": ...}`: that protocol's clients expect a string.
    """
    kind, hint = type(error).__name__, ""
    message = str(error)
    headers: dict[str, str] = {}
    if isinstance(error, EdgeYoloError):
        message, hint = error.message, error.hint
    if isinstance(error, RequestRefusedError) and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, RequestRefusedError) and error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, HTTPException):
        kind, message = "RequestRefusedError", error.detail
        headers |= dict(error.headers or {})
    status = _status(error)
    if status == 500:
        traceback.print_exception(error, file=sys.stderr)
    more = {"kind": kind, "hint": hint}
    if request.url.path.startswith("/v2"):
        said: dict[str, Any] = {"error": message or kind} | more
    else:
        said = {"error": more | {"message": message}}
    return JSONResponse(said, status_code=status, headers=headers)


def _status(error: Exception) -> int:
    if isinstance(error, RequestRefusedError):
        return error.status
    if isinstance(error, HTTPException):
        return error.status_code
    return 400 if isinstance(error, ImageError | UsageError) else 500


def _cause(error: Exception) -> str:
    if isinstance(error, RequestRefusedError):
        return error.cause
    if isinstance(error, ImageError):
        return "unreadable_image"
    return "bad_request" if _status(error) < 500 else "failed"


def _check_token(request: Request, tokens: frozenset[str]) -> None:
    """Refuse a request that carries none of the tokens: status 401.

    `Authorization: Bearer TOKEN`. Every token is compared, in constant time.
    """
    if not tokens:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    sent = given.strip().encode()
    fits = [hmac.compare_digest(sent, token.encode()) for token in tokens]
    if scheme.lower() != "bearer" or not any(fits):
        raise RequestRefusedError(
            "expected a token that the server knows, got " + ("another" if sent else "none"),
            status=401, cause="no_token", hint="Send the header Authorization: Bearer TOKEN.",
        )  # fmt: skip


def _decompressed(receive: Receive, coding: str, limits: Limits) -> Receive:
    """Receive a body sent as gzip or deflate; each part is little over `limits.body`."""
    if coding == "identity":
        return receive
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise RequestRefusedError(
            f"Content-Encoding: expected gzip, deflate or identity, got {coding[:20]!r}",
            status=415, cause="unknown_encoding", hint="Send the body as it is.",
        )  # fmt: skip
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either header

    async def decompressed() -> Message:
        message = await receive()
        if message["type"] != "http.request":
            return message
        try:
            body = inflate.decompress(message.get("body", b""), limits.body + 1)
        except zlib.error as error:
            raise UsageError(
                f"expected a body in {coding}, got what cannot be decompressed ({error})"
            ) from error
        if not message.get("more_body", False) and not inflate.eof and len(body) <= limits.body:
            raise UsageError(f"expected a body in {coding}, got one that breaks off")
        return {**message, "body": body}

    return decompressed


def _limited(receive: Receive, limits: Limits) -> Receive:
    """Receive a body of `limits.body` bytes at most."""
    size = 0

    async def limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limits.body:
            raise _too_large(limits)
        return message

    return limited


def _too_large(limits: Limits) -> RequestRefusedError:
    return RequestRefusedError(
        f"expected a request of at most {limits.body:,} bytes, got a larger one",
        status=413, cause="body_too_large", hint="Send a smaller image, or raise --max-body.",
    )  # fmt: skip


def check_pixels(size: tuple[int, int], limits: Limits) -> None:
    """Refuse an image (width, height) of too many pixels: status 413."""
    if size[0] * size[1] > limits.pixels:
        raise RequestRefusedError(
            f"expected an image of at most {limits.pixels:,} pixels, got {size[0]} x {size[1]}",
            status=413, cause="too_many_pixels", hint="Send a smaller image, or raise --max-pixels.",
        )  # fmt: skip


def json_object(value: Any, what: str) -> dict[str, Any]:
    """Return `value` if it is a JSON object, else raise UsageError."""
    if not isinstance(value, dict):
        raise UsageError(f"{what}: expected a JSON object, got {type(value).__name__}")
    return value
