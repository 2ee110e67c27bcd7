"""The server's application: routes to handlers."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edgeyolo.serve.http import kserve
from edgeyolo.serve.http.detect import detect
from edgeyolo.serve.http.exchange import Exchange, Handler, answering, error_response
from edgeyolo.serve.http.live import live_picture, live_stream
from edgeyolo.serve.http.openapi import describe
from edgeyolo.serve.metrics import CONTENT_TYPE
from edgeyolo.serve.service import Service

PAGES = Path(__file__).with_name("pages")
_POLICY = {"Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'"}


def build_app(service: Service) -> Starlette:
    """Make the application of a service; its lifespan starts and stops the service."""

    def route(path: str, method: str, handler: Handler, *, open_to_all: bool = False) -> Route:
        return Route(path, answering(service, path, handler, open_to_all=open_to_all), methods=[method])

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service.start()
        _reload_on_hangup(service)
        try:
            yield
        finally:
            await service.stop()

    routes = [
        route("/detect", "POST", detect),
        route("/metrics", "GET", _metrics),
        route("/v2", "GET", kserve.server),
        route("/v2/health/live", "GET", kserve.live, open_to_all=True),
        route("/v2/health/ready", "GET", kserve.ready, open_to_all=True),
        *(
            route(f"/v2/models/{{name}}{version}{what}", method, handler)
            for version in ("", "/versions/{version}")
            for what, method, handler in (
                ("", "GET", kserve.model),
                ("/ready", "GET", kserve.model_ready),
                ("/infer", "POST", kserve.infer),
            )
        ),
        route("/v2/repository/index", "POST", kserve.index),
        route("/v2/repository/models/{name}/load", "POST", kserve.load),
        route("/live.jpg", "GET", live_picture),
        route("/live.mjpeg", "GET", live_stream),
        route("/live", "GET", _page("live.html"), open_to_all=True),
        route("/openapi.json", "GET", _openapi, open_to_all=True),
        route("/docs", "GET", _page("docs.html"), open_to_all=True),
        route("/", "GET", _page("index.html"), open_to_all=True),
        Mount("/pages", StaticFiles(directory=PAGES)),
    ]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _http_error})


async def _metrics(exchange: Exchange) -> Response:
    return Response(exchange.service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


async def _openapi(exchange: Exchange) -> Response:
    return JSONResponse(describe(exchange.service))


def _page(name: str) -> Handler:
    async def page(exchange: Exchange) -> Response:
        return FileResponse(PAGES / name, headers=_POLICY)

    return page


async def _http_error(request: Request, error: Exception) -> Response:
    """An address or a method that does not exist."""
    return error_response(request, error)


def _reload_on_hangup(service: Service) -> None:
    """Let SIGHUP open the artifacts again, where there is that signal."""
    running: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            await service.reload()
        except Exception as error:  # noqa: BLE001 - the server goes on with what it has
            print(f"not reloaded: {error}", file=sys.stderr)
        else:
            print("reloaded", file=sys.stderr)

    def begin() -> None:
        task = asyncio.create_task(reload())
        running.add(task)
        task.add_done_callback(running.discard)

    if hasattr(signal, "SIGHUP"):
        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, begin)
        except (
            NotImplementedError,
            RuntimeError,
            ValueError,
        ):  # a loop, or a thread, that cannot have signals
            return
