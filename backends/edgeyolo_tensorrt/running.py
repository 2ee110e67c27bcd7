"""From an engine file to a session."""

from __future__ import annotations

from pathlib import Path

from edgeyolo.contracts import InputContract, OutputContract
from edgeyolo.errors import DamagedFileError, RuntimeMissingError
from edgeyolo_tensorrt.cuda import Gpu, open_cuda
from edgeyolo_tensorrt.engine_cache import RECORD, EngineRecord, misfits
from edgeyolo_tensorrt.library import load_library, refuse_unsupported_gpu
from edgeyolo_tensorrt.options import DeviceOptions
from edgeyolo_tensorrt.session import TensorrtSession


def open_engine(
    engine: Path,
    input: InputContract,
    output: OutputContract,
    options: DeviceOptions | None = None,
    *,
    threads: int | None = None,
) -> TensorrtSession:
    """Load an engine, ours or one that trtexec made; the contracts say what its tensors mean.

    Where `engine.json` lies beside it, GPU and TensorRT version are compared before TensorRT sees the file.

    Raises:
        RuntimeMissingError: no TensorRT, no GPU, or the engine was built for others; the message says what to rebuild.
        DamagedFileError: there is no such file, or its tensors are not the contracts'.
    """
    if not engine.is_file():
        raise DamagedFileError(f"{engine}: there is no such engine", hint="edgeyolo build DIR makes it.")
    options = options or DeviceOptions()
    library = load_library()
    cuda = open_cuda(options.device)
    try:
        refuse_unsupported_gpu(library, cuda.gpu.name, cuda.gpu.compute_capability)
        _require_built_here(engine, cuda.gpu, library.text)
    except BaseException:
        cuda.close()
        raise
    return TensorrtSession(
        engine, input, output, library, cuda, cuda_graph=options.cuda_graph, threads=threads
    )


def _require_built_here(engine: Path, gpu: Gpu, tensorrt: str) -> None:
    record = engine.with_name(RECORD)
    if record.is_file() and (wrong := misfits(EngineRecord.read(record), gpu, tensorrt)):
        raise RuntimeMissingError(
            f"{engine} does not run here: {'; '.join(wrong)}",
            hint="Engines belong to one GPU and one TensorRT version: run `edgeyolo build DIR` on this machine.",
        )
