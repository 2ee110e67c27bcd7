"""Pickles that try to run something, or to use up the machine. Each must be refused by name."""

from __future__ import annotations

import copyreg
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeyolo.errors import DamagedFileError, FileRefusedError, UntrustedFileError
from edgeyolo.models.checkpoint import Limits, open_checkpoint

Forge = Callable[..., Path]
EXTENSION_CODE = 0x7E


def refuse(path: Path, error: type[FileRefusedError] = UntrustedFileError, **limits: int) -> str:
    """The message with which a file is refused; the error must be of exactly that class, and quick."""
    start = time.perf_counter()
    with pytest.raises(FileRefusedError) as caught, open_checkpoint(path, Limits(**limits)):
        pass
    assert type(caught.value) is error
    assert caught.value.exit_code == 6
    assert caught.value.hint
    assert time.perf_counter() - start < 5.0
    return str(caught.value)


# Every one of these creates the file `marker` when Python's own unpickler reads it: the second element is the
# pickle as a function of (assembler, shell command, Python statement), the third what the message must name.
ARMED: list[tuple[str, Callable[[Any, str, str], bytes], str]] = [
    ("os.system", lambda a, sh, py: a.stream(a.call("os.system", a.text(sh))), "os.system"),
    ("posix.system", lambda a, sh, py: a.stream(a.call("posix.system", a.text(sh))), "posix.system"),
    ("os.popen", lambda a, sh, py: a.stream(a.call("os.popen", a.text(sh))), "os.popen"),
    ("builtins.eval", lambda a, sh, py: a.stream(a.call("builtins.eval", a.text(py))), "builtins.eval"),
    ("builtins.exec", lambda a, sh, py: a.stream(a.call("builtins.exec", a.text(py))), "builtins.exec"),
    ("python 2 eval", lambda a, sh, py: a.stream(a.call("__builtin__.eval", a.text(py))), "__builtin__.eval"),
    (
        "getattr chain",
        lambda a, sh, py: a.stream(
            a.call("__builtin__.getattr", a.call("importlib.import_module", a.text("os")), a.text("system")),
            a.many(a.text(sh)) + b"R",
        ),
        "__builtin__.getattr",
    ),
    (
        "import_module",
        lambda a, sh, py: a.stream(
            a.call("importlib.import_module", a.text("os")) + b"0", a.call("os.system", a.text(sh))
        ),
        "importlib.import_module",
    ),
    ("INST", lambda a, sh, py: a.stream(b"(", a.text(sh), b"ios\nsystem\n"), "os.system"),
    ("OBJ", lambda a, sh, py: a.stream(b"(", a.name("os.system"), a.text(sh), b"o"), "os.system"),
    (
        "subprocess",
        lambda a, sh, py: a.stream(
            a.call("subprocess.call", b"](" + a.text("sh") + a.text("-c") + a.text(sh) + b"e")
        ),
        "subprocess.call",
    ),
    (
        "nested REDUCE in an allowed one",
        lambda a, sh, py: a.stream(
            a.call(
                "collections.OrderedDict", b"](](" + a.text("model") + a.call("os.system", a.text(sh)) + b"ee"
            )
        ),
        "os.system",
    ),
    (
        "as a value deep inside",
        lambda a, sh, py: a.stream(
            a.mapping(model=b"](" + a.mapping(x=a.call("os.system", a.text(sh))) + b"e")
        ),
        "os.system",
    ),
    (
        "STACK_GLOBAL",
        lambda a, sh, py: (
            b"\x80\x04" + a.text("os") + a.text("system") + b"\x93" + a.many(a.text(sh)) + b"R."
        ),
        "os.system",
    ),
    (
        "NEWOBJ_EX",
        lambda a, sh, py: (
            b"\x80\x04"
            + a.text("collections")
            + a.text("OrderedDict")
            + b"\x93)"
            + b"}\x92"
            + b"0"
            + a.call("os.system", a.text(sh))
            + b"."
        ),
        "NEWOBJ_EX",
    ),
    (
        "nested pickle",
        lambda a, sh, py: a.stream(
            a.call(
                "_pickle.loads",
                a.call("_codecs.encode", a.text(f"cos\nsystem\n(S'{sh}'\ntR."), a.text("latin1")),
            )
        ),
        "_pickle.loads",
    ),
    ("runpy", lambda a, sh, py: a.stream(a.call("runpy._run_code", a.text(py), b"}")), "runpy._run_code"),
    ("profiler", lambda a, sh, py: a.stream(a.call("cProfile.run", a.text(py))), "cProfile.run"),
    (
        "copyreg extension",
        lambda a, sh, py: a.stream(b"\x82" + bytes([EXTENSION_CODE]), a.many(a.text(sh)) + b"R"),
        "EXT1",
    ),
    (
        "BUILD through __setstate__",
        lambda a, sh, py: a.stream(
            a.call("types.SimpleNamespace"),
            a.mapping(__setstate__=a.name("os.system")),
            b"b",
            a.text(sh),
            b"b",
        ),
        "types.SimpleNamespace",
    ),
]


@pytest.mark.parametrize(("build", "named"), [row[1:] for row in ARMED], ids=[row[0] for row in ARMED])
def test_nothing_runs(
    build: Callable[[Any, str, str], bytes], named: str, asm: SimpleNamespace, forge: Forge, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    pickled = build(asm, f"echo > {marker}", f"open({str(marker)!r}, 'w').close()")
    message = refuse(forge(pickled))
    assert named in message
    assert "forged.pt" in message
    assert not marker.exists()


@pytest.mark.parametrize("build", [row[1] for row in ARMED], ids=[row[0] for row in ARMED])
def test_the_hostile_files_are_armed(
    build: Callable[[Any, str, str], bytes], asm: SimpleNamespace, tmp_path: Path
) -> None:
    """Python's own unpickler does run them; otherwise the test above would prove nothing."""
    marker = tmp_path / "marker"
    copyreg.add_extension("os", "system", EXTENSION_CODE)
    try:
        pickle.loads(build(asm, f"echo > {marker}", f"open({str(marker)!r}, 'w').close()"))
    except Exception as error:  # noqa: BLE001  what happens after the call does not matter
        print(f"after the call: {error!r}")
    finally:
        copyreg.remove_extension("os", "system", EXTENSION_CODE)
    deadline = time.monotonic() + 5.0
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert marker.exists()


NAMES = [
    "nt.system",
    "webbrowser.open",
    "operator.attrgetter",
    "functools.partial",
    "copyreg._reconstructor",
    "types.CodeType",
    "types.FunctionType",
    "builtins.getattr",
    "builtins.__import__",
    "builtins.object",
    "torch.load",
    "torch.serialization.load",
    "torch.hub.load",
    "torch.jit.load",
    "torch.ops.load_library",
    "torch.utils.cpp_extension.load",
    "torch._utils._rebuild_qtensor",
    "torch._utils._rebuild_sparse_tensor",
    "torch._tensor._rebuild_from_type_v2",
    "torch.nn.modules.rnn.LSTM",
    "torch.nn.modules.module.Module",
    "torch.nn.parallel.data_parallel.DataParallel",
    "torch.ComplexFloatStorage",
    "models.yolo.Model.forward",
    "models.yolo.parse_model",
    "models.experimental.Ensemble",
    "numpy.load",
    "numpy.f2py.compile",
    "numpy.testing._private.utils.runstring",
    "collections.Counter",
    "collections.OrderedDict.fromkeys",
    "torch._utils.sys.modules",
    "pathlib.os.system",
    "_codecs.lookup",
    ".system",
    "os",
]


@pytest.mark.parametrize("dotted", NAMES)
def test_names_off_the_list_are_refused_even_uncalled(
    dotted: str, asm: SimpleNamespace, forge: Forge
) -> None:
    assert repr(dotted if "." in dotted else f".{dotted}") in refuse(forge(asm.stream(asm.name(dotted))))


def test_a_name_is_not_split_another_way(asm: SimpleNamespace, forge: Forge) -> None:
    assert "not on the list" in refuse(forge(asm.stream(b"ctorch.nn.modules\nconv.Conv2d\n")))
    assert "not on the list" in refuse(forge(asm.stream(b"ctorch.nn.modules.conv\nConv\\x32d\n")))
    assert "not on the list" in refuse(forge(asm.stream(b"c torch.nn.modules.conv\nConv2d\n")))
    assert "not on the list" in refuse(
        forge(b"\x80\x04" + asm.text("torch.nn.modules") + asm.text("conv.Conv2d") + b"\x93.")
    )


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
    ("numpy object dtype", lambda a: a.call("numpy.dtype", a.text("O8"), b"\x89", b"\x88"), "'O8'"),
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
    build: Callable[[Any], bytes], named: str, asm: SimpleNamespace, forge: Forge
) -> None:
    assert named in refuse(forge(asm.stream(build(asm))))


DAMAGED: list[tuple[str, bytes]] = [
    ("empty", b""),
    ("no STOP", b"\x80\x02}"),
    ("nothing before STOP", b"\x80\x02."),
    ("two values", b"\x80\x02NN."),
    ("an open mark", b"\x80\x02N(."),
    ("pop of nothing", b"\x80\x02\x86."),
    ("no mark", b"\x80\x02Nt."),
    ("below the mark", b"\x80\x02N(\x85t."),
    ("memo before its time", b"\x80\x02h\x05."),
    ("key without value", b"\x80\x02}(Nu."),
    ("memo of nothing", b"\x80\x02q\x00."),
    ("unknown opcode", b"\x80\x02\xff."),
    ("newer protocol", b"\x80\x06N."),
    ("text longer than the file", b"\x80\x02X\xff\xff\xff\x7fa."),
    ("text of 2**60 bytes", b"\x80\x04\x8d\x00\x00\x00\x00\x00\x00\x00\x10a."),
    ("bytes of 2**60 bytes", b"\x80\x04\x8e\x00\x00\x00\x00\x00\x00\x00\x10a."),
    ("text that is no UTF-8", b"\x80\x02X\x01\x00\x00\x00\xff."),
    ("name without an end", b"\x80\x02cos"),
]


@pytest.mark.parametrize("pickled", [row[1] for row in DAMAGED], ids=[row[0] for row in DAMAGED])
def test_damaged_pickles(pickled: bytes, forge: Forge) -> None:
    assert "data.pkl" in refuse(forge(pickled), DamagedFileError)


def doubling(levels: int) -> bytes:
    """A list of the list before it, twice: 2 ** levels values in a few bytes each."""
    return b"\x80\x02(]q\x00" + b"](h\x00h\x00eq\x00" * levels + b"t."


BOMBS: list[tuple[str, bytes, str, dict[str, int]]] = [
    ("shared lists, doubled 60 times", doubling(60), "expand to more", {}),
    ("nested lists", b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".", "nested deeper", {}),
    (
        "nested from the inside",
        b"\x80\x02(]q\x00" + b"]h\x00aq\x00" * 20_000 + b"t.",
        "nested deeper",
        {},
    ),
    ("nested tuples", b"\x80\x02N" + b"\x85" * 50_000 + b".", "nested deeper", {}),
    ("nested marks", b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".", "nested deeper", {}),
    ("a list that contains itself", b"\x80\x02]q\x00h\x00a.", "contains itself", {}),
    ("a dict that contains itself", b"\x80\x02}q\x00(X\x01\x00\x00\x00ah\x00u.", "contains itself", {}),
    ("two lists that contain each other", b"\x80\x02]q\x00]h\x00aa.", "contains itself", {}),
    ("stack", b"\x80\x02(" + b"N" * 200_000 + b"t.", "values at once", {}),
    ("operations", b"\x80\x02(" + b"N" * 2_000 + b"t.", "pickle operations", {"operations": 1_000}),
    ("memo", b"\x80\x04N" + b"\x94" * 2_000 + b".", "pickle operations", {"operations": 1_000}),
    ("long text", b"\x80\x02X\x88\x13\x00\x00" + b"a" * 5_000 + b".", "text of 5,000", {"text_bytes": 4_000}),
    ("large pickle", b"\x80\x02X\x88\x13\x00\x00" + b"a" * 5_000 + b".", "data.pkl", {"pickle_bytes": 4_000}),
    ("huge integer", b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".", "integer of", {}),
    ("huge integer, long form", b"\x80\x02\x8b\x00\x00\x10\x00" + b"\x7f" * (1 << 20) + b".", "LONG4", {}),
]


@pytest.mark.parametrize(
    ("pickled", "named", "limits"), [row[1:] for row in BOMBS], ids=[row[0] for row in BOMBS]
)
def test_bombs(pickled: bytes, named: str, limits: dict[str, int], forge: Forge) -> None:
    assert named in refuse(forge(pickled), **limits)


def test_the_shared_lists_are_fine_in_moderation(forge: Forge) -> None:
    with open_checkpoint(forge(doubling(10))) as checkpoint:
        assert len(checkpoint.root) == 11
        assert checkpoint.root[-1] == [checkpoint.root[-2], checkpoint.root[-2]]
