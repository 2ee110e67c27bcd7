"""Storages and tensors: every number in the file is checked; what is right comes out as torch reads it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeyolo.errors import DamagedFileError, FileRefusedError, UntrustedFileError
from edgeyolo.models.checkpoint import open_checkpoint, read_tensor

Forge = Callable[..., Path]

WRONG: list[tuple[str, Callable[[Any], bytes], type[FileRefusedError], str]] = [
    ("more elements than stored", lambda a: a.storage(numel=5), DamagedFileError, "holds 16 bytes"),
    ("fewer elements than stored", lambda a: a.storage(numel=3), DamagedFileError, "holds 16 bytes"),
    ("another element type", lambda a: a.storage(kind="HalfStorage"), DamagedFileError, "4 x HalfStorage"),
    ("a storage that is not there", lambda a: a.storage(key="7"), DamagedFileError, "data/7 is missing"),
    ("a negative number of elements", lambda a: a.storage(numel=-4), DamagedFileError, "claims -4 elements"),
    ("2**62 elements", lambda a: a.storage(numel=1 << 62), DamagedFileError, "claims 46116860184"),
    ("a negative offset", lambda a: a.tensor(-1, [2], [1]), DamagedFileError, "offset -1"),
    ("an offset beyond the end", lambda a: a.tensor(4, [1], [1]), DamagedFileError, "reaches element 4"),
    (
        "an offset that wraps",
        lambda a: a.tensor((1 << 62) + 1, [1], [1]),
        DamagedFileError,
        "offset 46116860184",
    ),
    ("a shape beyond the end", lambda a: a.tensor(1, [4], [1]), DamagedFileError, "reaches element 4"),
    ("a stride beyond the end", lambda a: a.tensor(0, [2, 2], [3, 1]), DamagedFileError, "reaches element 4"),
    ("a negative stride", lambda a: a.tensor(3, [4], [-1]), DamagedFileError, "strides (-1)"),
    ("a negative size", lambda a: a.tensor(0, [-2, -2], [1, 1]), DamagedFileError, "shape (-2, -2)"),
    (
        "2**60 elements by stride 0",
        lambda a: a.tensor(0, [1 << 40, 1 << 20], [0, 0]),
        UntrustedFileError,
        "overlap",
    ),
    ("100 elements by stride 0", lambda a: a.tensor(0, [25, 4], [0, 1]), UntrustedFileError, "overlap"),
    ("overlapping rows", lambda a: a.tensor(0, [2, 3], [1, 1]), UntrustedFileError, "overlap"),
    ("rows that overlap by one", lambda a: a.tensor(0, [2, 2], [1, 1]), UntrustedFileError, "overlap"),
    (
        "a huge shape",
        lambda a: a.tensor(0, [1 << 30, 1 << 30], [1 << 30, 1]),
        DamagedFileError,
        "reaches element",
    ),
    ("sizes without strides", lambda a: a.tensor(0, [2, 2], [1]), DamagedFileError, "as many strides"),
    ("too many dimensions", lambda a: a.tensor(0, [1] * 40, [1] * 40), DamagedFileError, "at most 8"),
    (
        "no storage",
        lambda a: a.tensor(0, [4], [1], a.text("data/0")),
        UntrustedFileError,
        "not built from a storage",
    ),
    (
        "a shape of other things",
        lambda a: a.call("torch._utils._rebuild_tensor_v2", a.storage(), b"K\x00", b"]", b")"),
        DamagedFileError,
        "shape list",
    ),
    (
        "hooks",
        lambda a: a.call(
            "torch._utils._rebuild_tensor_v2",
            a.storage(),
            b"K\x00",
            b")",
            b")",
            b"\x89",
            a.mapping(hook=b"N"),
        ),
        UntrustedFileError,
        "hooks",
    ),
    (
        "a conjugate view",
        lambda a: a.call(
            "torch._utils._rebuild_tensor_v2",
            a.storage(),
            b"K\x00",
            b")",
            b")",
            b"\x89",
            b"}",
            a.mapping(conj=b"\x88"),
        ),
        UntrustedFileError,
        "metadata",
    ),
    (
        "one storage in two types",
        lambda a: a.many(a.storage(), a.storage(kind="IntStorage")),
        DamagedFileError,
        "described twice",
    ),
]


@pytest.mark.parametrize(
    ("build", "error", "named"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_wrong_tensors(
    build: Callable[[Any], bytes],
    error: type[FileRefusedError],
    named: str,
    asm: SimpleNamespace,
    forge: Forge,
) -> None:
    path = forge(asm.stream(build(asm)))
    with pytest.raises(FileRefusedError) as caught, open_checkpoint(path):
        pass
    assert type(caught.value) is error
    assert caught.value.exit_code == 6
    assert named in str(caught.value)
    assert "forged.pt" in str(caught.value)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ((0, [4], [1]), [1.0, 2.0, 3.0, 4.0]),
        ((0, [2, 2], [2, 1]), [[1.0, 2.0], [3.0, 4.0]]),
        ((0, [2, 2], [1, 2]), [[1.0, 3.0], [2.0, 4.0]]),
        ((1, [2], [2]), [2.0, 4.0]),
        ((3, [], []), 4.0),
        ((0, [1, 1, 4], [0, 99, 1]), [[[1.0, 2.0, 3.0, 4.0]]]),
        ((0, [0, 7], [7, 1]), np.zeros((0, 7))),
    ],
)
def test_views_within_bounds(
    view: tuple[int, list[int], list[int]], expected: Any, asm: SimpleNamespace, forge: Forge
) -> None:
    with open_checkpoint(forge(asm.stream(asm.tensor(*view)))) as checkpoint:
        array = read_tensor(checkpoint.root)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(array, np.asarray(expected, dtype=np.float32))


def test_views_may_share_a_storage(asm: SimpleNamespace, forge: Forge) -> None:
    pair = asm.many(asm.tensor(0, [2], [1]), asm.tensor(1, [3], [1]))
    with open_checkpoint(forge(asm.stream(pair))) as checkpoint:
        first, second = (read_tensor(tensor) for tensor in checkpoint.root)
    assert (first.tolist(), second.tolist()) == ([1.0, 2.0], [2.0, 3.0, 4.0])


@pytest.mark.parametrize("device", ["cpu", "cuda:0", "cuda:12", "mps", "xpu:0"])
def test_the_device_it_lay_on_does_not_matter(device: str, asm: SimpleNamespace, forge: Forge) -> None:
    with open_checkpoint(
        forge(asm.stream(asm.tensor(0, [4], [1], asm.storage(device=device))))
    ) as checkpoint:
        assert read_tensor(checkpoint.root).tolist() == [1.0, 2.0, 3.0, 4.0]


def test_big_endian_files(asm: SimpleNamespace, tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "big.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "archive/data.pkl", asm.stream(asm.tensor(0, [4], [1], asm.storage(kind="IntStorage")))
        )
        archive.writestr("archive/byteorder", b"big")
        archive.writestr("archive/data/0", struct.pack(">4i", 1, -2, 3, 1 << 30))
    with open_checkpoint(path) as checkpoint:
        array = read_tensor(checkpoint.root)
    assert array.dtype.isnative
    assert array.tolist() == [1, -2, 3, 1 << 30]


def test_every_type_and_layout_is_read_as_torch_wrote_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    base = torch.arange(24).reshape(2, 3, 4)
    kinds = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32)
    kinds += (torch.int16, torch.int8, torch.uint8, torch.bool)
    tensors = {str(kind): (base % 100 - (10 if kind.is_signed else 0)).to(kind) for kind in kinds}
    tensors |= {"transposed": base.float().transpose(0, 2), "slice": base.half()[1:, ::2, 1]}
    tensors |= {
        "parameter": torch.nn.Parameter(base.float()),
        "channels last": base.float()[None].to(memory_format=torch.channels_last),
    }
    torch.save(tensors, tmp_path / "kinds.pt")
    with open_checkpoint(tmp_path / "kinds.pt") as checkpoint:
        for key, tensor in tensors.items():
            record = checkpoint.root[key]
            expected = (
                tensor.detach().float().numpy() if tensor.dtype == torch.bfloat16 else tensor.detach().numpy()
            )
            array = read_tensor(record)
            assert record.dtype == str(tensor.dtype).removeprefix("torch.")
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)
