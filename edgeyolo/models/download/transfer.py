"""Download of one file over HTTP into a resumable `.part` file.

A later call takes it up where it ended.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeyolo.errors import DamagedFileError, EdgeYoloError
from edgeyolo.support.files import atomic_file
from edgeyolo.version import __version__

_PIECE = 1 << 16
_LONGEST_WAIT_S = 30.0
_LARGEST = 1 << 32  # of a file whose size nobody tells
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class NotServedError(EdgeYoloError):
    """The file could not be had from its address; the message says why."""


class _BrokenOffError(Exception):
    """Download error that may go better after at least `wait_s` seconds.

    If `stale`, it cannot go on with what has been received so far.
    """

    def __init__(self, message: str, *, wait_s: float = 0.0, stale: bool = False) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        self.stale = stale


@dataclass(frozen=True)
class Patience:
    """Limits to the attempts at a download.

    `attempts` in all, each ended by `timeout_s` without a byte, or in which fewer than `least_bytes` arrived;
    `backoff_s` between two, then double.
    """

    attempts: int = 5
    timeout_s: float = 30.0
    backoff_s: float = 0.5
    least_bytes: int = 30_000


@dataclass(frozen=True)
class _State:
    """Identity of the file that a `.part` is the beginning of.

    `validator` is its strong ETag, else its Last-Modified.
    """

    url: str
    validator: str
    total: int | None


def transfer(
    url: str,
    part: Path,
    *,
    size: int | None,
    progress: Callable[[int, int | None], None],
    tell: Callable[[str], None],
    patience: Patience,
) -> None:
    """Complete `part` from `url`; returns when the server's whole file is there.

    However it ends otherwise, KeyboardInterrupt included, `part` keeps what came, and a note beside it says
    of which file; the next call asks for the rest with Range and If-Range, and starts anew where the server's
    file has changed or the server knows no ranges. `size`: the bytes it must have, or None.

    Raises NotServedError, DamagedFileError for another size, OSError where `part` cannot be written.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, patience.attempts + 1):
        try:
            return _attempt(url, part, size, progress=progress, tell=tell, patience=patience)
        except _BrokenOffError as error:
            if error.stale:
                discard(part)
            if attempt == patience.attempts:
                raise NotServedError(f"{url}: {error} (attempt {attempt}, the last)") from error
            wait_s = min(max(error.wait_s, patience.backoff_s * 2 ** (attempt - 1)), _LONGEST_WAIT_S)
            tell(f"{error}; trying again in {wait_s:.1f} s")
            time.sleep(wait_s)
    raise NotServedError(f"{url} was not asked: expected at least one attempt, not {patience.attempts}")


def discard(part: Path) -> None:
    """Remove a `.part` file and what is noted about it."""
    _note(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def place(part: Path, path: Path) -> None:
    """Move a complete `.part` file to `path` beside it.

    It is synced to disk and moved in one rename.
    """
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    discard(part)


def _attempt(
    url: str,
    part: Path,
    size: int | None,
    *,
    progress: Callable[[int, int | None], None],
    tell: Callable[[str], None],
    patience: Patience,
) -> None:
    state = _known(part, url)
    offset = part.stat().st_size if state else 0
    if state and offset and offset == state.total:  # ended between the last byte and its being placed
        return
    headers = {"User-Agent": f"edgeyolo/{__version__}", "Accept-Encoding": "identity"}
    if state and offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": state.validator}
    with _open(url, headers, patience.timeout_s) as response:
        if response.status == 206 and state and offset:
            if not _continues(response, state, offset):
                raise _BrokenOffError(f"{url} is another file than the one that was begun", stale=True)
            tell(f"resuming at {offset} of {state.total or 'unknown'} bytes")
            total = state.total
        elif response.status == 200:
            offset, total = 0, _length(response.headers.get("Content-Length"))
            _begin(part, _State(url, _validator(response.headers), total))
        else:
            raise NotServedError(f"{url} answered {response.status} {response.reason}")
        if size is not None and total is not None and size != total:
            raise DamagedFileError(f"{url} has {total} bytes; the published file has {size}")
        _receive(response, part, done=offset, total=total, size=size, progress=progress, patience=patience)


def _receive(
    response: http.client.HTTPResponse,
    part: Path,
    *,
    done: int,
    total: int | None,
    size: int | None,
    progress: Callable[[int, int | None], None],
    patience: Patience,
) -> None:
    largest = total or size or _LARGEST
    since, before = time.monotonic(), done
    with part.open("ab") as file:
        progress(done, total)
        while piece := _read(response):
            done += len(piece)
            if time.monotonic() - since > patience.timeout_s:
                if done - before < patience.least_bytes:
                    raise _BrokenOffError(f"only {done - before} bytes in {patience.timeout_s:g} s")
                since, before = time.monotonic(), done
            if done > largest:
                raise DamagedFileError(f"the server sends more than the {largest} bytes it should have")
            file.write(piece)
            progress(done, total)
    if total is not None and done < total:
        raise _BrokenOffError(f"the connection ended after {done} of {total} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_PIECE)  # what is there: `read` would wait for drops until they fill a piece
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(f"the connection broke: {_reason(error)}") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirections, except from https to a scheme that can be tampered with."""

    def redirect_request(  # noqa: PLR0917 - the signature is urllib's
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        allowed = ("https://",) if req.type == "https" else ("https://", "http://")
        if not newurl.lower().startswith(allowed):
            raise NotServedError(f"{req.full_url} redirects to {newurl}, which is not safe to follow")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, headers: Mapping[str, str], timeout_s: float) -> Any:
    try:
        return _within(4 * timeout_s, lambda: _answer(url, headers, timeout_s))
    except urllib.error.HTTPError as error:
        with error:
            answer = f"{url} answered {error.code} {error.reason}"
            if error.code in _TRY_AGAIN:
                wait_s = _length(error.headers.get("Retry-After")) or 0
                raise _BrokenOffError(answer, wait_s=wait_s) from error
            if error.code == 416:  # the file has become shorter than what was begun
                raise _BrokenOffError(answer, stale=True) from error
            raise NotServedError(answer) from error
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, TimeoutError | ConnectionError) and not isinstance(
            reason, ConnectionRefusedError
        ):
            raise _BrokenOffError(f"no connection to {url}: {_reason(reason)}") from error
        raise NotServedError(f"no connection to {url}: {_reason(reason)}") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise NotServedError(f"{url} is not an address: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(f"no answer from {url}: {_reason(error)}") from error


def _answer(url: str, headers: Mapping[str, str], timeout_s: float) -> Any:
    opener = urllib.request.build_opener(_Redirects)
    return opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=timeout_s)


def _within(limit_s: float, ask: Callable[[], Any]) -> Any:
    """Result of `ask`, or TimeoutError after `limit_s` seconds.

    Timeouts of sockets begin anew with every byte.
    """
    outcome: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put((True, ask()))
        except Exception as error:  # noqa: BLE001 - handed to who asked
            outcome.put((False, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        fine, value = outcome.get(timeout=limit_s)
    except queue.Empty:
        raise TimeoutError(f"no whole answer within {limit_s:g} s") from None
    if not fine:
        raise value
    return value


def _continues(response: http.client.HTTPResponse, state: _State, offset: int) -> bool:
    """Return True if the response continues the download.

    Not every server looks at If-Range.
    """
    served = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if served is None or int(served[1]) != offset:
        return False
    if served[2] != "*" and state.total is not None and int(served[2]) != state.total:
        return False
    return _validator(response.headers) in ("", state.validator)


def _validator(headers: http.client.HTTPMessage) -> str:
    etag = headers.get("ETag", "")
    # A weak ETag does not promise the same bytes, so it cannot vouch for a part.
    return etag if etag.startswith('"') else headers.get("Last-Modified", "")


def _begin(part: Path, state: _State) -> None:
    # In this order no end in between leaves old bytes under a new note.
    discard(part)
    part.touch()
    if state.validator:
        with atomic_file(_note(part)) as draft:
            draft.write_text(json.dumps(asdict(state)), encoding="utf-8")


def _known(part: Path, url: str) -> _State | None:
    """State of a `.part` file.

    None where it is unknown or of something else.
    """
    if not (part.is_file() and _note(part).is_file()):
        return None
    try:
        state = _State(**json.loads(_note(part).read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError):
        return None
    counted = state.total is None or (type(state.total) is int and state.total >= 0)
    if not (counted and isinstance(state.url, str) and isinstance(state.validator, str)):
        return None
    whole = state.total is None or part.stat().st_size <= state.total
    return state if state.url == url and state.validator and whole else None


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _length(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 20 else None


def _reason(error: object) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
