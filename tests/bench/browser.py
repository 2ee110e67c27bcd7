"""A headless Chromium, driven over its DevTools protocol: what a person at the page can do, and what they see."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from websocket import WebSocket, create_connection

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
    "--remote-allow-origins=*", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip


def find_chromium() -> str | None:
    """The program of an installed Chromium, None where there is none. Nothing is ever downloaded."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One open page."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that come meanwhile are kept."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]  # type: ignore[no-any-return]
            self.events.append(message)

    def open(self, page: Path | str, *, scheme: str = "light", width: int = 1160, height: int = 900) -> None:
        """Go to a file or an address and wait until it is loaded."""
        address = page if isinstance(page, str) else page.as_uri()
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=media)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        end = time.monotonic() + 20
        while self("document.readyState + location.href") != f"complete{address}":
            assert time.monotonic() < end, "the page did not load"

    def __call__(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def middle(self, selector: str) -> tuple[float, float]:
        """Place of an element, once it is scrolled into sight."""
        x, y = self(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        return x, y

    def move(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def becomes(self, expression: str, wanted: object, seconds: float = 10.0) -> bool:
        """Wait shortly for an expression to have a value: events take effect when the page gets to them."""
        end = time.monotonic() + seconds
        while (found := self(expression)) != wanted and time.monotonic() < end:
            time.sleep(0.05)
        return bool(found == wanted)

    def hover(self, selector: str) -> None:
        """Move the mouse onto an element."""
        self.move(*self.middle(selector))

    def click(self, selector: str) -> None:
        """Click in the middle of an element."""
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file in an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self) -> NDArray[np.uint8]:
        """(height, width, 3) RGB of what is in sight."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return np.asarray(picture[..., ::-1], np.uint8)

    def rgb(self, selector: str, style: str) -> tuple[int, int, int]:
        """A computed colour of an element."""
        words = self(f"getComputedStyle(document.querySelector({json.dumps(selector)})).{style}")
        red, green, blue = (
            int(part) for part in words[words.index("(") + 1 : words.index(")")].split(",")[:3]
        )
        return red, green, blue


@contextmanager
def chromium(program: str, profile: Path) -> Iterator[Page]:
    """A browser with a new profile, ended with the block."""
    port_file = profile / "DevToolsActivePort"
    with subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            end = time.monotonic() + 60
            while not (said := port_file.read_text().split() if port_file.exists() else []):
                assert process.poll() is None and time.monotonic() < end, "Chromium did not start"
                time.sleep(0.05)
            port = said[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=20) as answer:
                targets = json.load(answer)
            address = next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page")
            socket = create_connection(address, timeout=60)
            try:
                yield Page(socket)
            finally:
                socket.close()
        finally:
            process.terminate()
            process.wait(20)
