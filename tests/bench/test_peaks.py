"""The limits of this machine: that they are measured, not that they are high."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from edgeyolo.errors import EdgeYoloError
from edgeyolo.support.dataclass_json import from_plain, to_plain
from edgeyolo_bench.limits import gemm
from edgeyolo_bench.limits.gemm import Peak, fastest, gemm_peaks, matmul_model
from edgeyolo_bench.limits.peaks import Peaks, measure_here, measure_peaks


def test_the_hand_written_model_multiplies() -> None:
    rng = np.random.default_rng(0)
    # Larger ones overflow on processors without VNNI.
    pixels = rng.integers(0, 128, (300, 300)).astype(np.uint8)
    weights = rng.integers(-127, 128, (300, 300)).astype(np.int8)
    session = onnxruntime.InferenceSession(matmul_model("MatMulInteger", ("uint8", "int8"), "int32", 300))
    (product,) = session.run(None, {"a": pixels, "b": weights})
    np.testing.assert_array_equal(product, pixels.astype(np.int32) @ weights.astype(np.int32))


def test_the_hand_written_model_is_what_onnx_writes() -> None:
    onnx = pytest.importorskip("onnx", reason="needs the export extra")
    model = onnx.load_from_string(matmul_model("MatMul", ("float32", "float32"), "float32", 5))
    onnx.checker.check_model(model, full_check=True)
    assert [dim.dim_value for dim in model.graph.input[1].type.tensor_type.shape.dim] == [5, 5]


def test_every_library_is_measured_and_the_fastest_counts() -> None:
    peaks = gemm_peaks(1, sides=(64, 96), seconds=0.01)
    assert {"fp32", "int8"} <= set(peaks)
    assert {"numpy", "onnxruntime"} <= {peak.by for peak in peaks["fp32"]}
    for found in peaks.values():
        assert len({peak.by for peak in found}) == len(found)  # one figure of a library, whatever the sizes
        rates = [peak.gops for peak in found]
        assert rates == sorted(rates, reverse=True)
        assert min(rates) > 0


@pytest.mark.parametrize("sides", [(10, 100), (100, 10)])
def test_the_fastest_size_counts(monkeypatch: pytest.MonkeyPatch, sides: tuple[int, int]) -> None:
    """Large products that were interrupted do not hide what small ones reached, nor the other way round."""
    seconds = {("fp32", 10): 1e-6, ("fp32", 100): 1e-2, ("int8", 10): 1e-5, ("int8", 100): 1e-3}

    def multiplications(threads: int, side: int) -> list[tuple[str, str, float]]:
        return [(name, "library", seconds[name, side]) for name in ("fp32", "int8")]

    monkeypatch.setattr(gemm, "_multiplications", multiplications)
    monkeypatch.setattr(gemm, "fastest", lambda took, _: took)
    peaks = gemm_peaks(1, sides=sides)
    assert peaks == {
        "fp32": (Peak(pytest.approx(2.0), "library"),),
        "int8": (Peak(pytest.approx(2.0), "library"),),
    }


def test_the_fastest_run_counts() -> None:
    calls = []
    fastest(lambda: calls.append(0), seconds=0, least=7)
    assert len(calls) == 8  # one to warm up


def test_peaks_here_and_back_from_json() -> None:
    peaks = measure_here(2, sides=(64,), seconds=0.01, array_bytes=1 << 20)
    assert set(peaks.bandwidth) == {"copy", "add", "read"}
    assert peaks.gbps == max(peaks.bandwidth.values()) > 0
    assert peaks.array_bytes == 1 << 20
    assert from_plain(Peaks, to_plain(peaks), "peaks") == peaks


def test_an_arithmetic_that_nobody_measured_has_no_limit() -> None:
    peaks = Peaks(1, {"fp32": (Peak(10.0, "numpy"), Peak(5.0, "torch"))}, {"copy": 1.0}, 1, None)
    assert peaks.gops("fp32") == 10.0
    assert peaks.gops("int8") is None


def test_a_measuring_process_that_fails_is_an_error() -> None:
    with pytest.raises(EdgeYoloError, match="ended with 1: "):
        measure_peaks(0)


def test_peaks_by_torch_here_on_its_cpu() -> None:
    pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo_bench.limits.gpu_peaks import torch_peaks

    peaks = torch_peaks("cpu", side=64, array_bytes=1 << 20, seconds=0.01)
    assert set(peaks.gemm) == {"fp32", "fp16"} and set(peaks.bandwidth) == {"copy"}
    assert all(found[0].gops > 0 and found[0].by == "torch" for found in peaks.gemm.values())
    assert from_plain(Peaks, to_plain(peaks), "peaks") == peaks


def test_without_a_gpu_there_are_no_limits_of_one() -> None:
    torch = pytest.importorskip("torch", reason="needs the export extra")
    from edgeyolo_bench.limits.gpu_peaks import measure_gpu_peaks

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert measure_gpu_peaks() is None
