"""Frames of a camera with boxes.

`/live.mjpeg` pushes them to the page `/live`, `/live.jpg` gives one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from edgeyolo.errors import EdgeYoloError, RequestRefusedError, UsageError
from edgeyolo.serve.http.exchange import Exchange
from edgeyolo.serve.live import Live, View

_WAIT_SECONDS = 2.0  # less than what a stop should take
_BOUNDARY = "frame"
_NOT_KEPT = {"Cache-Control": "no-store"}


async def live_picture(exchange: Exchange) -> Response:
    """Give the newest frame after the one that the client has.

    Status 204 where there is none yet. A client that is slow misses frames and holds nothing up. What is
    known of the frame is in the header X-Live.
    """
    _, view = await _next(exchange)
    if view is None:
        return Response(status_code=204, headers=_NOT_KEPT)
    return Response(view.jpeg, media_type="image/jpeg", headers=_NOT_KEPT | {"X-Live": _facts(view)})


async def live_stream(exchange: Exchange) -> Response:
    """Push newest frames as multipart/x-mixed-replace.

    They are those after the one that the client has, each with the header X-Live. Status 204 where there is none. It
    ends with the source, or with the server.
    """
    live, view = await _next(exchange)
    if view is None:
        return Response(status_code=204, headers=_NOT_KEPT)
    kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
    return StreamingResponse(_parts(live, view), media_type=kind, headers=_NOT_KEPT)


async def _next(exchange: Exchange) -> tuple[Live, View | None]:
    live = exchange.service.live
    if live is None:
        raise RequestRefusedError(
            "the server watches no camera",
            status=404,
            cause="no_such_model",
            hint="edgeyolo serve --live SOURCE",
        )
    seen = exchange.request.query_params.get("after", "0")
    if not (seen.isascii() and seen.isdecimal() and len(seen) < 19):
        raise UsageError(f"after: expected the number of a frame, got {seen[:20]!r}")
    return live, await live.after(int(seen), _WAIT_SECONDS)


async def _parts(live: Live, first: View) -> AsyncIterator[bytes]:
    """Parts of the stream.

    A client that is slow to take one gets the newest frame next.
    """
    view: View | None = first
    number = first.number
    while view is not None or not live.over:
        if view is not None:
            number = view.number
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(view.jpeg)}\r\n"
            yield f"{head}X-Live: {_facts(view)}\r\n\r\n".encode() + view.jpeg + b"\r\n"
        try:
            view = await live.after(number, _WAIT_SECONDS)
        except EdgeYoloError:  # who asks again is told
            return


def _facts(view: View) -> str:
    return json.dumps({"number": view.number, **view.facts})
