"""A service in this process, with a client that needs no socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from edgeyolo.serve.http.app import build_app
from edgeyolo.serve.service import Service
from edgeyolo.serve.settings import Limits, Model, Settings


def settings(path: Path, *, limits: Limits = Limits(), **more: Any) -> Settings:  # noqa: B008 - frozen
    return Settings((Model("small", path),), limits, **more)


@asynccontextmanager
async def served_by(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(service)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client,
    ):
        yield client


def ask(given: Settings, talk: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Start a service, talk to it, stop it."""

    async def run() -> None:
        async with served_by(Service(given)) as client:
            await talk(client)

    asyncio.run(run())
