"""Finding the network in a checkpoint, and what is said about it; no torch is needed for any of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeyolo.errors import DamagedFileError, EdgeYoloError, UntrustedFileError
from edgeyolo.models.checkpoint import Contents, open_checkpoint, read_contents

Forge = Callable[..., Path]
ACT = "torch.nn.modules.activation"


def contents(path: Path) -> Contents:
    with open_checkpoint(path) as checkpoint:
        return read_contents(checkpoint)


def conv(asm: SimpleNamespace, act: bytes = b"", eps: bytes = b"G?PbM\xd2\xf1\xa9\xfc") -> bytes:
    """A Conv of a 2x2 weight, a batch norm and an activation; eps is 0.001 unless told."""
    norm = asm.module("torch.nn.modules.batchnorm.BatchNorm2d", eps=eps)
    inner = asm.module(
        "torch.nn.modules.conv.Conv2d", _parameters=asm.mapping(weight=asm.tensor(0, [2, 2], [2, 1]))
    )
    silu = asm.module(f"{ACT}.SiLU", inplace=b"\x88")
    return bytes(asm.module("models.common.Conv", _modules=asm.mapping(conv=inner, bn=norm, act=act or silu)))


def model(asm: SimpleNamespace, *nodes: bytes, **state: bytes) -> bytes:
    numbered = {str(index): node for index, node in enumerate(nodes)}
    sequence = asm.module("torch.nn.modules.container.Sequential", _modules=asm.mapping(**numbered))
    return bytes(asm.module("models.yolo.Model", _modules=asm.mapping(model=sequence), **state))


def names(asm: SimpleNamespace, *texts: str) -> bytes:
    return b"](" + b"".join(map(asm.text, texts)) + b"e"


def test_the_facts_of_a_pickled_model(asm: SimpleNamespace, forge: Forge) -> None:
    head = asm.module("models.yolo.IDetect", nc=asm.integer(2))
    root = model(asm, conv(asm), conv(asm), head, names=names(asm, "RBC", " WBC "))
    found = contents(
        forge(asm.stream(asm.mapping(epoch=asm.integer(7), model=root, optimizer=asm.mapping(state=b"}"))))
    )
    assert list(found.tensors) == ["model.0.conv.weight", "model.1.conv.weight"]
    assert (found.kind, found.source, found.activation) == ("models.yolo.Model", "model", "silu")
    assert (found.class_names, found.classes) == (("RBC", "WBC"), 2)
    assert found.training == {"epoch": 7, "optimizer": True, "ema": False}


def test_ema_wins_over_model(asm: SimpleNamespace, forge: Forge) -> None:
    old, averaged = (
        model(asm, conv(asm), names=names(asm, "old")),
        model(asm, conv(asm), names=names(asm, "new")),
    )
    assert contents(forge(asm.stream(asm.mapping(model=old, ema=averaged)))).class_names == ("new",)
    assert contents(forge(asm.stream(asm.mapping(model=old, ema=b"N")))).class_names == ("old",)


def test_a_model_saved_by_itself(asm: SimpleNamespace, forge: Forge) -> None:
    found = contents(forge(asm.stream(model(asm, conv(asm)))))
    assert (found.source, found.class_names, found.training) == ("", None, {})


@pytest.mark.parametrize(
    "block",
    [
        "Bottleneck",
        "BottleneckCSPA",
        "BottleneckCSPB",
        "BottleneckCSPC",
        "SPP",
        "Stem",
        "Res",
        "ResCSPB",
        "ResCSPC",
        "ResXCSPB",
        "ResXCSPC",
    ],
)
def test_the_blocks_of_the_baselines(block: str, asm: SimpleNamespace, forge: Forge) -> None:
    inner = asm.module(f"models.common.{block}", _modules=asm.mapping(cv1=conv(asm)))
    found = contents(forge(asm.stream(asm.mapping(model=model(asm, inner)))))
    assert list(found.tensors) == ["model.0.cv1.conv.weight"]


@pytest.mark.parametrize("wrapper", ["data_parallel.DataParallel", "distributed.DistributedDataParallel"])
def test_models_wrapped_for_several_devices(wrapper: str, asm: SimpleNamespace, forge: Forge) -> None:
    inner = model(asm, conv(asm), names=names(asm, "cell"))
    outer = asm.module(f"torch.nn.parallel.{wrapper}", _modules=asm.mapping(module=inner), dim=asm.integer(0))
    found = contents(forge(asm.stream(asm.mapping(model=outer))))
    assert (list(found.tensors), found.kind) == (["model.0.conv.weight"], "models.yolo.Model")
    assert found.class_names == ("cell",)
    hollow = asm.module(f"torch.nn.parallel.{wrapper}")
    assert contents(forge(asm.stream(asm.mapping(model=hollow, w=asm.tensor(0, [4], [1]))))).tensors == {}


def test_options_saved_beside_the_network_are_passed_over(asm: SimpleNamespace, forge: Forge) -> None:
    options = (
        asm.name("argparse.Namespace") + b")\x81" + asm.mapping(lr=asm.integer(1), cfg=asm.text("x")) + b"b"
    )
    root = asm.mapping(model=model(asm, conv(asm)), opt=options, kind=asm.name("numpy.float32"))
    assert list(contents(forge(asm.stream(root))).tensors) == ["model.0.conv.weight"]


@pytest.mark.parametrize("source", ["ema", "model", "state_dict", "model_state_dict"])
def test_state_dicts_under_their_usual_names(source: str, asm: SimpleNamespace, forge: Forge) -> None:
    weights = (
        asm.call("collections.OrderedDict")
        + b"("
        + asm.text("model.0.conv.weight")
        + asm.tensor(0, [4], [1])
        + b"u"
    )
    found = contents(forge(asm.stream(asm.mapping(**{source: weights, "names": names(asm, "cell")}))))
    assert (list(found.tensors), found.kind, found.source) == (["model.0.conv.weight"], "state dict", source)
    assert (found.class_names, found.activation) == (("cell",), None)


def test_a_state_dict_with_its_metadata_attribute(asm: SimpleNamespace, forge: Forge) -> None:
    weights = asm.call("collections.OrderedDict") + b"(" + asm.text("w") + asm.tensor(0, [4], [1]) + b"u"
    found = contents(
        forge(asm.stream(weights, asm.mapping(_metadata=asm.call("collections.OrderedDict")), b"b"))
    )
    assert list(found.tensors) == ["w"]


def test_buffers_that_are_not_persistent_are_left_out(asm: SimpleNamespace, forge: Forge) -> None:
    hidden = asm.call("__builtin__.set", b"]" + asm.text("grid") + b"a")
    buffers = asm.mapping(grid=asm.tensor(0, [1], [1]), anchors=asm.tensor(0, [2], [1]))
    head = asm.module("models.yolo.Detect", _buffers=buffers, _non_persistent_buffers_set=hidden)
    assert list(contents(forge(asm.stream(model(asm, head)))).tensors) == ["model.0.anchors"]


def test_leaky_relu(asm: SimpleNamespace, forge: Forge) -> None:
    tenth = asm.module(f"{ACT}.LeakyReLU", negative_slope=b"G?\xb9\x99\x99\x99\x99\x99\x9a")
    assert contents(forge(asm.stream(model(asm, conv(asm, tenth))))).activation == "leaky_relu"


def test_networks_that_compute_something_else_are_refused(asm: SimpleNamespace, forge: Forge) -> None:
    half = asm.module(f"{ACT}.LeakyReLU", negative_slope=b"G?\xe0\x00\x00\x00\x00\x00\x00")
    with pytest.raises(EdgeYoloError, match=r"LeakyReLU\(0\.5\)"):
        contents(forge(asm.stream(model(asm, conv(asm, half)))))
    tenth = asm.module(f"{ACT}.LeakyReLU", negative_slope=b"G?\xb9\x99\x99\x99\x99\x99\x9a")
    with pytest.raises(EdgeYoloError, match=r"LeakyReLU\(0\.1\), SiLU"):
        contents(forge(asm.stream(model(asm, conv(asm, tenth), conv(asm)))))
    with pytest.raises(EdgeYoloError, match=r"model\.0\.bn is a batch norm with eps 0\.5"):
        contents(forge(asm.stream(model(asm, conv(asm, eps=b"G?\xe0\x00\x00\x00\x00\x00\x00")))))
    with pytest.raises(EdgeYoloError, match="eps list"):
        contents(forge(asm.stream(model(asm, conv(asm, eps=b"]")))))


def test_class_names_as_a_dict(asm: SimpleNamespace, forge: Forge) -> None:
    named = b"}(" + asm.integer(1) + asm.text("b") + asm.integer(0) + asm.text("a") + b"u"
    assert contents(forge(asm.stream(model(asm, conv(asm), names=named)))).class_names == ("a", "b")


def texts_array(asm: SimpleNamespace, code: str, count: int, content: bytes) -> bytes:
    """A numpy array as it is pickled: an empty one, filled with (version, shape, dtype, order, content)."""
    empty = asm.call(
        "numpy.core.multiarray._reconstruct", asm.name("numpy.ndarray"), asm.many(asm.integer(0)), b"C\x01b"
    )
    return bytes(
        empty
        + asm.many(asm.integer(1), asm.many(asm.integer(count)), dtype(asm, code), b"\x89", content)
        + b"b"
    )


def dtype(asm: SimpleNamespace, code: str) -> bytes:
    made = asm.call("numpy.dtype", asm.text(code), b"\x89", b"\x88")
    return bytes(made + asm.many(asm.integer(3), asm.text("|" if code == "O8" else "<"), b"NNN") + b"b")


def letters(*texts: str) -> bytes:
    data = "".join(text.ljust(3, "\0") for text in texts).encode("utf-32-le")
    return b"C" + bytes([len(data)]) + data


def test_class_names_of_numpy(asm: SimpleNamespace, forge: Forge) -> None:
    texts = [
        asm.call("numpy._core.multiarray.scalar", dtype(asm, "U3"), letters(name)) for name in ("cat", "é")
    ]
    for named in (
        texts_array(asm, "U3", 2, letters("cat", "é")),
        texts_array(asm, "O8", 2, names(asm, "cat", "é")),
        b"](" + b"".join(texts) + b"e",
    ):
        found = contents(forge(asm.stream(model(asm, conv(asm), names=named))))
        assert (found.class_names, found.notes) == (("cat", "é"), ())


def test_class_names_that_yaml_reads_as_something_else(asm: SimpleNamespace, forge: Forge) -> None:
    date = asm.call("datetime.date", b"C\x04\x07\xe8\x05\x01")
    named = (
        b"](" + asm.integer(7) + b"\x89" + b"N" + asm.text("no\ttab") + date + b"G?\xe0\0\0\0\0\0\0" + b"e"
    )
    found = contents(forge(asm.stream(model(asm, conv(asm), names=named))))
    assert found.class_names == ("7", "False", "None", "no tab", "2024-05-01", "0.5")
    assert "4 class names are no text" in found.notes[0]
    assert "7, False, None, 0.5" in found.notes[0]


def test_class_names_that_cannot_be_names(asm: SimpleNamespace, forge: Forge) -> None:
    with pytest.raises(DamagedFileError, match="not all text"):
        contents(forge(asm.stream(model(asm, conv(asm), names=b"]]a"))))


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "x" * 300, "\x00"])
def test_class_names_that_could_disturb_a_terminal(text: str, asm: SimpleNamespace, forge: Forge) -> None:
    with pytest.raises(UntrustedFileError, match="no printable text"):
        contents(forge(asm.stream(model(asm, conv(asm), names=names(asm, "ok", text)))))


@pytest.mark.parametrize("build", ["number", "list", "empty", "strings", "mixed", "model of text"])
def test_files_without_a_network(build: str, asm: SimpleNamespace, forge: Forge) -> None:
    tensor = asm.tensor(0, [4], [1])
    pickled = {
        "number": asm.integer(3),
        "list": b"]" + tensor + b"a",
        "empty": b"}",
        "strings": asm.mapping(a=asm.text("x")),
        "mixed": asm.mapping(state_dict=asm.mapping(w=tensor, epoch=asm.integer(3))),
        "model of text": asm.mapping(model=asm.text("yolov7")),
    }[build]
    with pytest.raises(DamagedFileError, match=r"forged\.pt") as caught:
        contents(forge(asm.stream(pickled)))
    assert caught.value.exit_code == 6


def test_a_model_whose_parts_are_not_modules(asm: SimpleNamespace, forge: Forge) -> None:
    for node in (b"]", asm.text("x"), asm.tensor(0, [4], [1])):
        with pytest.raises(DamagedFileError, match=r"model\.0 is a .*, expected a module"):
            contents(forge(asm.stream(model(asm, node))))
    with pytest.raises(DamagedFileError, match="has no _parameters"):
        contents(forge(asm.stream(model(asm, asm.module("models.common.Conv", _parameters=b"]")))))
    with pytest.raises(DamagedFileError, match=r"model\.0\.weight is a str, expected a tensor"):
        bad = asm.module("models.common.Conv", _parameters=asm.mapping(weight=asm.text("x")))
        contents(forge(asm.stream(model(asm, bad))))


def test_modules_shared_level_by_level(asm: SimpleNamespace, forge: Forge) -> None:
    """Each level holds the one below twice: a file of a few kilobytes, a network of 2 ** 16 modules."""
    node = asm.module("models.common.Concat")
    levels = b"(" + node + b"q\x00"
    for _ in range(16):
        pair = b"}(" + asm.text("a") + b"h\x00" + asm.text("b") + b"h\x00u"
        levels += asm.module("models.common.MP", _modules=pair) + b"q\x00"
    path = forge(asm.stream(asm.mapping(levels=levels + b"t", model=b"h\x00")))
    assert path.stat().st_size < 10_000
    with pytest.raises(UntrustedFileError, match="more than 20,000 modules"):
        contents(path)


def test_one_storage_viewed_by_many_tensors(asm: SimpleNamespace, forge: Forge) -> None:
    many = {f"w{index}": asm.tensor(0, [4], [1]) for index in range(3)}
    with pytest.raises(UntrustedFileError, match="come to 48 bytes, but it stores 16"):
        contents(forge(asm.stream(asm.mapping(**many))))
    many.popitem()
    assert len(contents(forge(asm.stream(asm.mapping(**many)))).tensors) == 2


def test_it_needs_no_torch(asm: SimpleNamespace, forge: Forge) -> None:
    path = forge(asm.stream(asm.mapping(model=model(asm, conv(asm)))))
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from edgeyolo.models.checkpoint import open_checkpoint, read_contents, read_tensor\n"
        f"with open_checkpoint({str(path)!r}) as checkpoint:\n"
        "    tensors = read_contents(checkpoint).tensors\n"
        "    print(read_tensor(tensors['model.0.conv.weight']).sum())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "10.0\n"), done.stderr
