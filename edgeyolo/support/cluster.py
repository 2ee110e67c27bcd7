"""Ray: the package, and a session of it that ends with the work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from edgeyolo.errors import EdgeYoloError, RuntimeMissingError
from edgeyolo.support.install import install_hint
from edgeyolo.support.usage_reports import send_none


def require_ray(*parts: str) -> Any:
    """The package ray with `parts` of it, such as "data".

    RuntimeMissingError where it is not installed.
    """
    send_none("ray")
    # Without a dashboard Ray Train says every second that it cannot ask it.
    os.environ.setdefault(
        "RAY_DEDUP_LOGS_SKIP_REGEX", "Failed to query Ray Train Controller|PreemptionWatcher"
    )
    try:
        import ray

        for part in parts:
            import_module(f"ray.{part}")
    except ImportError as missing:
        raise RuntimeMissingError(
            f"the engine ray needs the package ray, which is not installed ({missing})",
            hint=install_hint("ray"),
        ) from missing
    return ray


@contextmanager
def ray_session(ray: Any, *, show_workers: bool = False) -> Iterator[None]:
    """Join a cluster for the block.

    It is the one of RAY_ADDRESS, or the one that runs on this machine, or a new one here that ends with the block.
    show_workers: what they print is printed here too.

    Raises what Ray could not do, as EdgeYoloError.
    """
    began = not ray.is_initialized()
    if began:
        ray.init(log_to_driver=show_workers, logging_level="WARNING", include_dashboard=False)
    try:
        yield
    except ray.exceptions.RayError as error:
        raise EdgeYoloError(f"Ray: {error}", hint="`ray status` and Ray's dashboard say more.") from error
    finally:
        if began:
            ray.shutdown()
