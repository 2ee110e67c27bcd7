"""The engine of Ray Data: actors hold the model and fill shards.

They run on a cluster or on this machine and write their shards themselves, so the output, the images and the artifact
lie on storage that every node has under the same name. Ray restarts an actor that is killed and gives it its shard
again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeyolo.errors import EdgeYoloError, RuntimeMissingError
from edgeyolo.predict.fill import Load, fill_shard
from edgeyolo.predict.shards import Shard
from edgeyolo.support.install import install_hint


def require_ray() -> Any:
    """The package ray with Ray Data; RuntimeMissingError where it is not installed."""
    # Ray's actors would count what is sent home otherwise.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as missing:
        raise RuntimeMissingError(
            f"the engine ray needs the package ray, which is not installed ({missing})",
            hint=install_hint("ray"),
        ) from missing
    return ray


def fill_by_ray(load: Load, shards: Sequence[Shard], workers: int, tell: Callable[[int], None]) -> None:
    """Fill shards by actors of Ray.

    The cluster is the one of RAY_ADDRESS, or the one that runs on this machine, or a new one here that ends with it.

    Raises what an actor could not do, as EdgeYoloError.
    """
    ray = require_ray()
    if not shards:
        return
    began = not ray.is_initialized()
    if began:
        ray.init(log_to_driver=False, logging_level="WARNING", include_dashboard=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        for count in _filled(ray, load, shards, workers):
            tell(count)
    except ray.exceptions.RayError as error:
        raise EdgeYoloError(f"Ray: {error}", hint="`ray status` and Ray's dashboard say more.") from error
    finally:
        if began:
            ray.shutdown()


def _filled(ray: Any, load: Load, shards: Sequence[Shard], workers: int) -> Any:
    """Yield the number of images that are done, as shards get done."""
    items = [
        {"number": shard.number, "images": list(shard.images), "file": str(shard.file.resolve())}
        for shard in shards
    ]
    done = 0
    filled = ray.data.from_items(items, override_num_blocks=len(items)).map(
        Filler,
        fn_constructor_args=(load,),
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
        num_cpus=load.arguments.get("threads", 1),
        num_gpus=int(load.gpu),
    )
    for row in filled.iter_rows():
        done += row["count"]
        yield done


class Filler:
    """An actor: it loads the model once and fills shards."""

    def __init__(self, load: Load) -> None:
        self._model = load.sha256
        self._detector = load.detector()

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        shard = Shard(int(row["number"]), tuple(map(str, row["images"])), Path(row["file"]))
        if not shard.done:  # Ray may do again what it does not know to be done
            fill_shard(shard, self._detector, self._model)
        return {"count": len(shard.images)}
