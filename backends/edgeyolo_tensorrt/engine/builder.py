"""The engine of an artifact for this machine.

Found in the cache, or built and put there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeyolo.artifact.artifact import Artifact
from edgeyolo.errors import RuntimeMissingError, UsageError
from edgeyolo.support.files import atomic_directory
from edgeyolo.support.hashes import sha256 as file_sha256
from edgeyolo.support.locks import locked
from edgeyolo_tensorrt.cuda.interface import Cuda, Gpu
from edgeyolo_tensorrt.cuda.open_cuda import open_cuda
from edgeyolo_tensorrt.engine.engine_cache import (
    ENGINE,
    RECORD,
    EngineRecord,
    engine_folder,
    network_hash,
    stored,
    timing_file,
)
from edgeyolo_tensorrt.engine.job import Job
from edgeyolo_tensorrt.engine.progress import Progress, can_be_stopped, run_interruptibly
from edgeyolo_tensorrt.facts import DLA_VERSIONS, supports_dla, version_text, version_tuple
from edgeyolo_tensorrt.library import Library, load_library, refuse_unsupported_gpu
from edgeyolo_tensorrt.options import DeviceOptions
from edgeyolo_tensorrt.package.recipe import FILE, Recipe

PATIENCE_S = 30.0  # for a build that was asked to stop: TensorRT asks back after every step


@dataclass(frozen=True)
class Engine:
    """A built engine: its file, its record, and whether it was there already."""

    path: Path
    record: EngineRecord
    reused: bool


def build_engine(
    artifact: Artifact,
    options: DeviceOptions | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Engine:
    """The engine of an artifact for this machine.

    It comes from the cache, or is built now, which takes minutes.

    Two processes that want the same engine build it once. A build that fails or is interrupted leaves nothing.

    Raises:
        RuntimeMissingError: no TensorRT, no GPU, or a version that does not serve this GPU or this artifact.
        UnsupportedTargetError: TensorRT's parser does not take the graph; each node is named.
        EdgeYoloError: TensorRT could not build the engine; its messages follow.
    """
    options = options or DeviceOptions()
    library = load_library()
    cuda = open_cuda(options.device)
    try:
        recipe = Recipe.read(artifact.file(FILE))
        require_buildable(library, recipe, cuda.gpu, options)
        network = network_hash(artifact)
        folder = engine_folder(network, cuda.gpu, library.text, options.dla_core)
        with locked(folder.with_name(folder.name + ".lock"), waiting=_waiting(progress)):
            record = None if force else stored(folder, network)
            if record is not None:
                return Engine(folder / ENGINE, record, reused=True)
            job = Job(library, recipe, artifact.path, cuda.gpu, options, progress)
            return Engine(folder / ENGINE, _build(job, network, folder, cuda), reused=False)
    finally:
        cuda.close()


def find_engine(artifact: Artifact, options: DeviceOptions | None = None) -> Engine | None:
    """The engine of an artifact for this machine where it was built before, else None.

    Raises as `build_engine`.
    """
    options = options or DeviceOptions()
    library = load_library()
    cuda = open_cuda(options.device)
    cuda.close()
    require_buildable(library, Recipe.read(artifact.file(FILE)), cuda.gpu, options)
    network = network_hash(artifact)
    folder = engine_folder(network, cuda.gpu, library.text, options.dla_core)
    record = stored(folder, network)
    return None if record is None else Engine(folder / ENGINE, record, reused=True)


def require_buildable(library: Library, recipe: Recipe, gpu: Gpu, options: DeviceOptions) -> None:
    """Raise where this TensorRT cannot build this recipe for this GPU.

    It does so before any work.
    """
    refuse_unsupported_gpu(library, gpu.name, gpu.compute_capability)
    first, end = version_tuple(recipe.tensorrt_from), version_tuple(recipe.tensorrt_below)
    if library.version < first or (end and library.version >= end):
        below = f"<{recipe.tensorrt_below}" if end else ""
        wanted = f">={recipe.tensorrt_from}" + (f",{below}" if end else "")
        raise RuntimeMissingError(
            f"{recipe.target} is for TensorRT {wanted}; this is TensorRT {library.text}"
            + (f". {recipe.reason}" if recipe.reason else ""),
            hint=f"pip install 'tensorrt{wanted}', or export for another target.",
        )
    if options.dla_core is not None:
        _require_dla(library, recipe)


def _require_dla(library: Library, recipe: Recipe) -> None:
    if "float16" not in recipe.types and "int8" not in recipe.types:
        hint = "Export for jetson-trt-fp16, or build without DLA."
        raise UsageError("DLA computes in float16 and int8, this artifact is fp32", hint=hint)
    if not supports_dla(library.version):
        served = ", ".join(
            f"{version_text(first)} to below {version_text(end)}" for first, end in DLA_VERSIONS
        )
        raise RuntimeMissingError(
            f"TensorRT {library.text} has no DLA; versions that have: {served}", hint="Build without DLA."
        )


def _waiting(progress: Progress | None) -> Callable[[], None]:
    return lambda: progress("waiting for another build", 0, None) if progress else None


def _build(job: Job, network: str, folder: Path, cuda: Cuda) -> EngineRecord:
    started = time.monotonic()
    timing = timing_file(job.gpu, job.library.text)
    with (
        atomic_directory(folder, overwrite=True, marker=RECORD) as draft,
        # Held for the whole build: kernels timed while another build keeps the GPU busy are timed wrong.
        locked(timing.with_name(timing.name + ".lock"), waiting=_waiting(job.progress)),
    ):

        def work() -> None:
            with cuda.current():
                job.write_engine(draft / ENGINE, timing)

        patience = PATIENCE_S if can_be_stopped(job.trt) else 0.0
        run_interruptibly(work, job.cancel, patience_s=patience)
        record = EngineRecord(
            network=network,
            engine_sha256=file_sha256(draft / ENGINE),
            tensorrt=job.library.text,
            gpu=job.gpu.name,
            compute_capability=version_text(job.gpu.compute_capability),
            driver=job.gpu.driver,
            dla_core=job.options.dla_core,
            strongly_typed=job.strongly_typed,
            seconds=round(time.monotonic() - started, 1),
        )
        (draft / RECORD).write_text(record.to_json(), encoding="utf-8")
    return record
