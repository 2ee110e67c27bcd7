"""Allowed names, used in ways that no checkpoint uses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Forge = Callable[..., Path]
Refuse = Callable[..., str]

CALLS: list[tuple[str, Callable[[Any], bytes], str]] = [
    ("text is called", lambda a: a.text("os.system") + a.many(a.text("true")) + b"R", "call of a str"),
    (
        "a record is called",
        lambda a: a.module("models.common.Conv") + a.many() + b"R",
        "call of a ObjectRecord",
    ),
    ("a dtype is called", lambda a: a.call("torch.float16"), "call of a Named"),
    (
        "a storage class is called",
        lambda a: a.call("torch.HalfStorage", a.integer(1 << 40)),
        "call of a StorageType",
    ),
    ("arguments are a list", lambda a: a.name("collections.OrderedDict") + b"]R", "with a list"),
    ("a module with arguments", lambda a: a.call("torch.nn.modules.conv.Conv2d", a.text("x")), "Conv2d"),
    (
        "numpy.ndarray is called",
        lambda a: a.call("numpy.ndarray", a.many(a.integer(1 << 40))),
        "numpy.ndarray",
    ),
    ("a path of other things", lambda a: a.call("pathlib.PosixPath", b"}"), "pathlib.PosixPath"),
    ("a device of other things", lambda a: a.call("torch.device", b"}"), "torch.device"),
    ("a size of other things", lambda a: a.call("torch.Size", b"]"), "torch.Size"),
    (
        "encode with another codec",
        lambda a: a.call("_codecs.encode", a.text("x"), a.text("hex")),
        "_codecs.encode",
    ),
    (
        "encode beyond latin1",
        lambda a: a.call("_codecs.encode", a.text("\u20ac"), a.text("latin1")),
        "_codecs.encode",
    ),
    (
        "defaultdict of a call",
        lambda a: a.call("collections.defaultdict", a.name("torch.device")),
        "defaultdict",
    ),
    ("set of dicts", lambda a: a.call("__builtin__.set", b"]}a"), "__builtin__.set"),
    (
        "a parameter of no tensor",
        lambda a: a.call("torch._utils._rebuild_parameter", b"N", b"\x89", b"}"),
        "_rebuild_parameter",
    ),
    (
        "a parameter with hooks",
        lambda a: a.call(
            "torch._utils._rebuild_parameter", a.tensor(0, [4], [1]), b"\x89", a.mapping(hook=b"N")
        ),
        "_rebuild_parameter",
    ),
    ("numpy void dtype", lambda a: a.call("numpy.dtype", a.text("V8"), b"\x89", b"\x88"), "'V8'"),
    (
        "numpy object scalar",
        lambda a: a.call(
            "numpy.core.multiarray.scalar", a.call("numpy.dtype", a.text("O8")), b"C\x08abcdefgh"
        ),
        "multiarray.scalar",
    ),
    (
        "numpy text of no letters",
        lambda a: a.call(
            "numpy.core.multiarray.scalar", a.call("numpy.dtype", a.text("U1")), b"C\x04\xff\xff\xff\x7f"
        ),
        "multiarray.scalar",
    ),
    (
        "getattr of a model",
        lambda a: a.call("__builtin__.getattr", a.module("models.yolo.Model"), a.text("forward")),
        "getattr",
    ),
    (
        "getattr of a class",
        lambda a: a.call("__builtin__.getattr", a.name("models.yolo.Model"), a.text("fuseforward")),
        "models.yolo.Model, fuseforward",
    ),
    (
        "getattr of getattr",
        lambda a: a.call("builtins.getattr", a.name("builtins.getattr"), a.text("__self__")),
        "__self__",
    ),
    ("a date of other things", lambda a: a.call("datetime.date", a.text("2024")), "datetime.date"),
    (
        "a date that does not exist",
        lambda a: a.call("datetime.date", b"C\x04\x07\xe8\x0d\x01"),
        "datetime.date",
    ),
    ("a namespace with arguments", lambda a: a.call("argparse.Namespace", a.text("x")), "argparse.Namespace"),
    (
        "numpy object array",
        lambda a: (
            a.call(
                "numpy.core.multiarray._reconstruct", a.name("numpy.ndarray"), a.many(a.integer(0)), b"C\x01b"
            )
            + a.many(a.integer(1), a.many(a.integer(1)), a.call("numpy.dtype", a.text("f8")), b"\x89", b"]")
            + b"b"
        ),
        "numpy array",
    ),
    (
        "numpy object array of lists",
        lambda a: (
            a.call(
                "numpy.core.multiarray._reconstruct", a.name("numpy.ndarray"), a.many(a.integer(0)), b"C\x01b"
            )
            + a.many(a.integer(1), a.many(a.integer(1)), a.call("numpy.dtype", a.text("O8")), b"\x89", b"]]a")
            + b"b"
        ),
        "not all text",
    ),
    (
        "numpy array of another class",
        lambda a: a.call(
            "numpy.core.multiarray._reconstruct", a.name("collections.OrderedDict"), a.many(), b"C\x01b"
        ),
        "_reconstruct",
    ),
    (
        "numpy scalar of the wrong size",
        lambda a: a.call("numpy.core.multiarray.scalar", a.call("numpy.dtype", a.text("f8")), b"C\x02ab"),
        "multiarray.scalar",
    ),
    (
        "__setstate__ on a module",
        lambda a: a.module("models.yolo.Model", __setstate__=b"N"),
        "'__setstate__'",
    ),
    ("__class__ on a module", lambda a: a.module("models.yolo.Model", __class__=b"N"), "'__class__'"),
    (
        "state for a class",
        lambda a: a.name("models.yolo.Model") + a.mapping(x=b"N") + b"b",
        "models.yolo.Model",
    ),
    ("state for a tensor", lambda a: a.tensor(0, [4], [1]) + a.mapping(x=b"N") + b"b", "TensorRecord"),
    ("state for a list", lambda a: b"]" + a.mapping(x=b"N") + b"b", "state for a list"),
    (
        "state that is a tuple",
        lambda a: a.name("models.yolo.Model") + b")\x81" + b"NN\x86b",
        "models.yolo.Model",
    ),
    ("state twice", lambda a: a.module("models.yolo.Model") + a.mapping(x=b"N") + b"b", "twice"),
    (
        "attribute through SETITEMS",
        lambda a: a.module("models.yolo.Model") + b"(" + a.text("x") + b"Nu",
        "SETITEMS",
    ),
    ("append to a module", lambda a: a.module("models.yolo.Model") + b"Na", "APPENDS"),
    ("a tuple as a key", lambda a: b"}" + b"(" + a.many(a.integer(1)) + b"Nu", "key of type tuple"),
    ("PERSID", lambda a: b"Pstorage\n", "PERSID"),
    ("persistent id that is text", lambda a: a.text("storage") + b"Q", "persistent id"),
    (
        "persistent id of another kind",
        lambda a: a.many(a.text("module"), b"N", b"N", b"N", b"N") + b"Q",
        "persistent id",
    ),
    (
        "storage class as text",
        lambda a: a.many(*map(a.text, ("storage", "FloatStorage", "0", "cpu", "4"))) + b"Q",
        "persistent id",
    ),
    ("storage outside the archive", lambda a: a.storage(key="../../../etc/passwd"), "key is no number"),
    ("storage on an odd device", lambda a: a.storage(device="cpu; true"), "device"),
    ("EXT2", lambda a: b"\x83\x01\x00", "EXT2"),
    ("EXT4", lambda a: b"\x84\x01\x00\x00\x00", "EXT4"),
    ("DUP", lambda a: b"]2", "DUP"),
    ("NEXT_BUFFER", lambda a: b"\x97", "NEXT_BUFFER"),
    ("old text opcodes", lambda a: b"S'os'\n", "STRING"),
]


@pytest.mark.parametrize(("build", "named"), [row[1:] for row in CALLS], ids=[row[0] for row in CALLS])
def test_allowed_names_used_in_other_ways(
    build: Callable[[Any], bytes], named: str, asm: SimpleNamespace, forge: Forge, refuse: Refuse
) -> None:
    assert named in refuse(forge(asm.stream(build(asm))))
