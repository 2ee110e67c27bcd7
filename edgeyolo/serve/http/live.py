"""`/live.jpg`: the newest frame with boxes, for the page `/live`."""

from __future__ import annotations

import json

from starlette.responses import Response

from edgeyolo.errors import RequestRefusedError, UsageError
from edgeyolo.serve.http.exchange import Exchange

_WAIT_SECONDS = 2.0  # less than what a stop should take


async def live_picture(exchange: Exchange) -> Response:
    """Give the newest frame after the one that the client has.

    Status 204 where there is none yet. A client that is slow misses frames and holds nothing up. What is
    known of the frame is in the header X-Live.
    """
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
    view = await live.after(int(seen), _WAIT_SECONDS)
    headers = {"Cache-Control": "no-store"}
    if view is None:
        return Response(status_code=204, headers=headers)
    headers["X-Live"] = json.dumps({"number": view.number, **view.facts})
    return Response(view.jpeg, media_type="image/jpeg", headers=headers)
