"""The engine of Ray Data: actors hold the model and fill shards.

They run on a cluster or on this machine and write their shards themselves, so the output, the images and the artifact
lie on storage that every node has under the same name. Ray restarts an actor that is killed and gives it its shard
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeyolo.predict.fill import Load, fill_shard
from edgeyolo.predict.shards import Shard
from edgeyolo.support.cluster import ray_session, require_ray


def fill_by_ray(load: Load, shards: Sequence[Shard], workers: int, tell: Callable[[int], None]) -> None:
    """Fill shards by actors of Ray.

    The cluster is the one of RAY_ADDRESS, or the one that runs on this machine, or a new one here that ends with it.

    Raises what an actor could not do, as EdgeYoloError.
    """
    ray = require_ray("data")
    if not shards:
        return
    with ray_session(ray):
        ray.data.DataContext.get_current().enable_progress_bars = False
        for count in _filled(ray, load, shards, workers):
            tell(count)


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
