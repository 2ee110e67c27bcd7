"""Command `edgeyolo serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeyolo.cli.completion import complete_models
from edgeyolo.cli.console import json_option, note, print_json
from edgeyolo.cli.options import device_option, imgsz_option, opened_model, target_option
from edgeyolo.support.install import install_hint

if TYPE_CHECKING:
    from edgeyolo.serve.settings import Model

_PACKAGES = ("starlette", "uvicorn", "prometheus_client", "python_multipart")


@click.command("serve")
@click.argument("models", nargs=-1, metavar="[[NAME=]MODEL]...", shell_complete=complete_models)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Processes with a session each for every model; 0: one session in the server's own.",
)
@click.option(
    "--max-batch", type=int, default=8, show_default=True, help="Most images of several requests run at once."
)
@click.option(
    "--max-delay",
    type=click.FloatRange(0),
    default=2.0,
    show_default=True,
    help="Milliseconds that an image waits for others while a worker is free.",
)
@click.option(
    "--queue", type=int, default=64, show_default=True, help="Images of a model accepted at once; then 503."
)
@click.option(
    "--max-body", type=float, default=32.0, show_default=True, help="MiB of a request; larger: 413."
)
@click.option(
    "--max-pixels", type=int, default=50_000_000, show_default=True, help="Pixels of an image; more: 413."
)
@click.option(
    "--timeout", type=float, default=30.0, show_default=True, help="Seconds for a request; then 504."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="Tokens, one a line; requests carry one as Authorization: Bearer TOKEN.",
)
@click.option("--live", metavar="SOURCE", help="Camera, film or address to be watched on the page /live.")
@imgsz_option
@target_option
@device_option
@click.option("--conf", "--conf-thres", type=float, help="Least confidence, as of detect.")
@click.option("--iou", "--iou-thres", type=float, help="IoU above which the weaker box goes, as of detect.")
@click.option("--classes", multiple=True, help="Only these classes: names or numbers, comma-separated.")
@click.option("--max-det", type=int, help="Most detections an image, as of detect.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of each session.")
@json_option
def command(
    models: tuple[str, ...], host: str, port: int, workers: int, max_batch: int, max_delay: float, queue: int,
    max_body: float, max_pixels: int, timeout: float, token_file: Path | None, live: str | None,
    size: tuple[int, int] | None, target: str | None, device: str | None, conf: float | None, iou: float | None,
    classes: tuple[str, ...], max_det: int | None, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Answer requests over HTTP: pictures in, detections out.

    MODEL is an artifact directory, weights or a published name; without one, the model that comes with the package.
    Several are told apart by NAME. POST /detect takes an image; / is a page to try it, /docs describes the rest: the
    KServe v2 protocol and Prometheus metrics. SIGTERM answers what was taken and ends; SIGHUP opens the artifacts
    again. --json prints the address and the models once it listens.

    \b
    edgeyolo serve cells-onnx
    curl --data-binary @photo.jpg http://127.0.0.1:8000/detect
    curl --data-binary @photo.jpg -H 'Accept: image/jpeg' http://127.0.0.1:8000/detect -o found.jpg
    edgeyolo serve day=day-openvino night=night-openvino --workers 2 --max-batch 4
    edgeyolo serve cells-onnx --live rtsp://camera/path
    edgeyolo serve cells-onnx --host 0.0.0.0 --token-file tokens.txt
    """
    _require_packages()
    from edgeyolo.serve.http.run import listen, serve
    from edgeyolo.serve.settings import Limits, Settings, read_tokens

    limits = Limits(queue=queue, body=int(max_body * (1 << 20)), pixels=max_pixels, timeout=timeout)
    tokens = read_tokens(token_file) if token_file else frozenset()
    options = {"conf": conf, "iou": iou, "max_det": max_det, "threads": threads, "device": device}
    found = [_model(text, size, target, device, options, classes) for text in models or ("builtin",)]
    settings = Settings(tuple(found), limits, max_batch, max_delay / 1e3, workers, tokens, live)
    with listen(host, port) as listening:
        number = listening.getsockname()[1]

        def started() -> None:
            shown = f"[{host}]" if ":" in host else host
            address, names = f"http://{shown}:{number}", [model.name for model in found]
            if as_json:
                print_json({"address": address, "models": names})
            note(f"serving {', '.join(names)} on {address}")
            if not tokens and not is_loopback(host):
                note("warning: other machines can reach it, and no --token-file is given")

        serve(settings, listening, started)


def _require_packages() -> None:
    from importlib.util import find_spec

    from edgeyolo.errors import RuntimeMissingError

    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise RuntimeMissingError(
            f"serve needs packages that are not installed: {', '.join(missing)}",
            hint=install_hint("serve"),
        )


def _model(
    text: str, size: tuple[int, int] | None, target: str | None, device: str | None, options: dict[str, Any],
    classes: tuple[str, ...],
) -> Model:  # fmt: skip
    """`NAME=PATH`, or a path whose last part is the name, as a model."""
    from edgeyolo.serve.settings import Model

    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        name, path = _name(Path(text)), text
    return Model(
        name, opened_model(path, size=size, target=target, device=device).artifact.path, options, classes
    )


def _name(path: Path) -> str:
    """Name of a model by its path: a folder's name, or a file's without suffix."""
    return path.stem if path.is_file() else path.resolve().name


def is_loopback(host: str) -> bool:
    """Return True for an address that other machines cannot reach."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
