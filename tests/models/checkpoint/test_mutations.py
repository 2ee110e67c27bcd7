"""Files damaged at random: whatever happens to a checkpoint, it is read or refused with our own errors."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeyolo.errors import EdgeYoloError
from edgeyolo.models.checkpoint import ObjectRecord, TensorRecord, open_checkpoint, read_tensor, state_dict

Forge = Callable[..., Path]
SECONDS = 2.0  # for a file of a few kilobytes; reading it takes about a millisecond


def small_checkpoint(asm: SimpleNamespace) -> bytes:
    """A pickle with one of everything: modules, tensors, numpy values, paths, sets, shared values."""
    weight = asm.call(
        "torch._utils._rebuild_parameter",
        asm.tensor(0, [2, 2], [2, 1]),
        b"\x88",
        asm.call("collections.OrderedDict"),
    )
    conv = asm.module("torch.nn.modules.conv.Conv2d", _parameters=asm.mapping(weight=weight, bias=b"N"))
    root = asm.module(
        "models.yolo.Model",
        _modules=asm.mapping(
            model=asm.module(
                "torch.nn.modules.container.Sequential", _modules=b"}(" + asm.text("0") + conv + b"u"
            )
        ),
        names=b"](" + asm.text("RBC") + asm.text("WBC") + b"e",
        _non_persistent_buffers_set=asm.call("__builtin__.set", b"]" + asm.text("x") + b"a"),
    )
    number = asm.call(
        "numpy.core.multiarray.scalar",
        asm.call("numpy.dtype", asm.text("f8"), b"\x89", b"\x88")
        + asm.many(asm.integer(3), asm.text("<"), b"N", b"N")
        + b"b",
        asm.call("_codecs.encode", asm.text("\x00" * 8), asm.text("latin1")),
    )
    return bytes(
        asm.stream(
            asm.mapping(
                epoch=asm.integer(-1),
                model=root,
                best_fitness=number,
                path=asm.call("pathlib.PosixPath", asm.text("runs"), asm.text("exp")),
                size=asm.call("torch.Size", asm.many(asm.integer(4))),
                shared=b"]q\x05h\x05\x86",
            )
        )
    )


def use(path: Path) -> Any:
    """Read everything that can be read from a file; errors of ours are fine, others come out."""
    start = time.process_time()
    try:
        with open_checkpoint(path) as checkpoint:
            root = checkpoint.root
            model = root.get("model") if isinstance(root, dict) else root
            tensors = state_dict(model, "file") if isinstance(model, ObjectRecord) else {}
            return {
                key: read_tensor(value) for key, value in tensors.items() if isinstance(value, TensorRecord)
            }
    except EdgeYoloError as error:
        assert str(error)
        return error
    finally:
        assert time.process_time() - start < SECONDS


def test_the_small_checkpoint_itself_is_read(asm: SimpleNamespace, forge: Forge) -> None:
    assert list(use(forge(small_checkpoint(asm)))) == ["model.0.weight"]


@pytest.mark.parametrize("seed", range(6))
def test_random_damage_to_the_file(seed: int, asm: SimpleNamespace, forge: Forge) -> None:
    whole, rng, outcomes = forge(small_checkpoint(asm)).read_bytes(), random.Random(seed), set()
    path = forge(small_checkpoint(asm))
    for _ in range(120):
        path.write_bytes(damage(whole, rng))
        outcomes.add(type(use(path)).__name__)
    assert "DamagedFileError" in outcomes


@pytest.mark.parametrize("seed", range(6))
def test_random_damage_to_the_pickle_inside_a_sound_archive(
    seed: int, asm: SimpleNamespace, forge: Forge
) -> None:
    """The archive's checksums catch the damage above; here they fit, so the pickle machine has to."""
    whole, rng, outcomes = small_checkpoint(asm), random.Random(1000 + seed), set()
    for _ in range(250):
        outcomes.add(type(use(forge(damage(whole, rng)))).__name__)
    assert {"DamagedFileError", "UntrustedFileError"} <= outcomes


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes_as_a_pickle(data: bytes, forge: Forge) -> None:
    use(forge(b"\x80\x02" + data))


def damage(whole: bytes, rng: random.Random) -> bytes:
    """One to four changes: a flipped bit, another byte, a piece removed, repeated, moved, the end cut off."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, length = rng.randrange(len(data)), rng.randrange(1, 24)
        match rng.randrange(6):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.randrange(256)
            case 2 if len(data) > 64:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length]
            case 4:
                data[at:at] = whole[rng.randrange(len(whole)) :][:length]
            case 5 if rng.random() < 0.2 and at > 64:
                del data[at:]
    return bytes(data)
