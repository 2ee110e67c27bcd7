"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from copy import deepcopy
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

pytest.register_assert_rewrite("edgeyolo.backend.conformance")
from edgeyolo.backend.conformance import calibration, small_weights  # noqa: E402

__all__ = ["calibration", "small_weights"]  # fixtures of every test

GOLDEN = Path(__file__).parent / "golden"

# Time says more of what else runs than of the code, so no example has a deadline. Examples follow from the test alone:
# the same code passes or fails every time, and `make fuzz` is for new ones.
settings.register_profile("all", deadline=None, derandomize=True)
settings.load_profile("all")
FEWER = 5
"""`make test` runs this part of each property test's examples, `make test-slow` all of them."""

ALLOWED_SKIPS = (
    "this processor has no bfloat16",
    "needs a user whom a folder can be closed to",
    "TensorRT runs here",
    "this machine has an edge TPU",
    "tflite-runtime 2.14 has wheels up to Python 3.11",
    "there is no environment with OpenVINO 2021.4",
    "the file system of the temporary directory cannot exchange two directories",
    "needs ray, which is not installed for the tests",
    "needs a C++ compiler",
    "needs CMake",
    "needs Node.js",
    "needs onnxruntime-web",
    "needs supervision, which brings an opencv-python of its own",
)
"""Reasons for a skip that do not fail under TESTS_STRICT, which CI sets."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark property tests; run a part of their examples unless all are asked for."""
    whole = os.environ.get("TESTS_EXAMPLES") == "all"
    for item in items:
        function = getattr(item, "function", None)
        if not getattr(function, "is_hypothesis_test", False):
            continue
        item.add_marker("property")
        asked = getattr(function, "_hypothesis_internal_use_settings", settings.default)
        if not whole:
            fewer = settings(asked, max_examples=max(asked.max_examples // FEWER, 5))
            function._hypothesis_internal_use_settings = fewer  # type: ignore[union-attr]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that is skipped for a reason that is not on the list."""
    report = yield
    _judge_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that is skipped whole for a reason that is not on the list."""
    report = yield
    _judge_skip(report)
    return report


def _judge_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or "TESTS_STRICT" not in os.environ:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(allowed in reason for allowed in ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"skipped, and the reason is not on the list in tests/conftest.py: {reason}"


@pytest.fixture(scope="module", autouse=True)
def _give_back_memory() -> Iterator[None]:
    """Give back to the system what a file of tests freed: the C library keeps it, a gigabyte after large networks."""
    from edgeyolo.support.memory import release_memory

    yield
    release_memory()


class Once:
    """Files and folders that fixtures make for all processes of a run: the first that needs one makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, make: Callable[[Path], object]) -> Path:
        """The place called `name`, as `make` left it; not to be changed."""
        place = self.folder / name
        with FileLock(self.folder / f"{name}.lock"):
            if not place.exists():
                draft = self.folder / f"{name}.draft"
                make(draft)
                draft.rename(place)
        return place


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Things made once for all processes: `once(name, make)`."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    folder.mkdir(exist_ok=True)
    return Once(folder)


class Traces:
    """ONNX traces of equal networks, shared by all tests and processes of a run: most exports begin with the same one.

    Tests of tracing itself are marked `own_trace` and get theirs.
    """

    def __init__(
        self, once: Once, trace: Callable[[Any, int], bytes], operations: Callable[[Any, Any], Any]
    ) -> None:
        self._once, self.trace, self.shared = once, trace, True
        self._trace_operations, self._operations = operations, dict[str, Any]()

    def __call__(self, source: Any, opset: int) -> bytes:
        if not self.shared:
            return self.trace(source, opset)
        facts = (opset, source.input, source.output, source.class_names)
        name = f"{self._key(source.network, *facts)}.onnx"
        return self._once(name, lambda path: path.write_bytes(self.trace(source, opset))).read_bytes()

    def operations(self, network: Any, contract: Any) -> Any:
        """The list of operations that every export holds against its target's limits; kept by each process."""
        if not self.shared:
            return self._trace_operations(network, contract)
        key = self._key(network, contract, network.training)
        if key not in self._operations:
            self._operations[key] = self._trace_operations(network, contract)
        return self._operations[key]

    @staticmethod
    def _key(network: Any, *facts: Any) -> str:
        digest = sha256(f"{facts} {network}".encode())
        for name, value in network.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            if not value.is_meta:
                digest.update(value.detach().contiguous().numpy().tobytes())
        return digest.hexdigest()


@pytest.fixture(scope="session", autouse=True)
def traces(once: Once) -> Iterator[Traces | None]:
    """The shared traces, in place of tracing; None without torch."""
    if find_spec("torch") is None:
        yield None
        return
    from edgeyolo.export import source
    from edgeyolo.export import trace as tracing

    with pytest.MonkeyPatch.context() as patch:
        made = Traces(once, source.to_onnx, tracing.trace)
        patch.setattr(source, "to_onnx", made)
        patch.setattr(tracing, "trace", made.operations)
        yield made


@pytest.fixture(autouse=True)
def _own_trace(traces: Traces | None, request: pytest.FixtureRequest) -> Iterator[None]:
    if traces is None:
        yield
        return
    traces.shared = request.node.get_closest_marker("own_trace") is None
    yield
    traces.shared = True


@pytest.fixture(scope="session", autouse=True)
def _scenes() -> Iterator[None]:
    """Scenes of a seed, drawn once: a third of the time of a small export went to them. Each caller gets its copy."""
    from edgeyolo.datasets import scenes

    drawn = lru_cache(maxsize=64)(scenes._draw_scene)

    def copied(seed: int, size: tuple[int, int]) -> scenes.Scene:
        return deepcopy(drawn(seed, size))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "_draw_scene", copied)
        yield


def _shared_folder() -> Path | None:
    candidates = [Path(__file__).parents[2] / "shared"]
    if "EDGEYOLO_SHARED" in os.environ:
        candidates.insert(0, Path(os.environ["EDGEYOLO_SHARED"]))
    return next((path for path in candidates if (path / "spec").is_dir()), None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real images, annotations and the published-style checkpoint, beside the checkout."""
    folder = _shared_folder()
    if folder is None:
        pytest.skip(
            "needs the folder `shared` (real images and a checkpoint) beside the checkout or in EDGEYOLO_SHARED"
        )
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Golden numbers kept in the repository."""
    return GOLDEN


@pytest.fixture(scope="session")
def small_artifact(small_weights: Path, once: Once) -> Path:
    """The small network exported to ONNX Runtime; not to be changed."""
    from edgeyolo.export import export

    return once("small-onnx", lambda place: export(small_weights, "cpu-onnx-fp32", place))


@pytest.fixture(scope="session")
def bccd_artifact(shared: Path, once: Once) -> Callable[[str], Path]:
    """The blood-cell checkpoint exported for a target at 256 pixels; made once, not to be changed."""
    pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo.export import ExportOptions, export

    def artifact(target: str) -> Path:
        weights = shared / "data/checkpoints/yolov7-tiny-bccd-256.pt"
        options = ExportOptions(size=(256, 256))
        return once(f"bccd-{target}", lambda place: export(weights, target, place, options))

    return artifact
