"""Pickles that try to run something. Each must be refused by name, with nothing run."""

from __future__ import annotations

import copyreg
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

Forge = Callable[..., Path]
Refuse = Callable[..., str]
EXTENSION_CODE = 0x7E

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
        "importlib.import_module",
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


@pytest.mark.parametrize("row", ARMED, ids=[row[0] for row in ARMED])
def test_nothing_runs(row: Any, asm: SimpleNamespace, forge: Forge, refuse: Refuse, tmp_path: Path) -> None:
    _, build, named = row
    marker = tmp_path / "marker"
    message = refuse(forge(build(asm, f"echo > {marker}", f"open({str(marker)!r}, 'w').close()")))
    assert named in message
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
    dotted: str, asm: SimpleNamespace, forge: Forge, refuse: Refuse
) -> None:
    assert repr(dotted if "." in dotted else f".{dotted}") in refuse(forge(asm.stream(asm.name(dotted))))


def test_a_name_is_not_split_another_way(asm: SimpleNamespace, forge: Forge, refuse: Refuse) -> None:
    assert "not on the list" in refuse(forge(asm.stream(b"ctorch.nn.modules\nconv.Conv2d\n")))
    assert "not on the list" in refuse(forge(asm.stream(b"ctorch.nn.modules.conv\nConv\\x32d\n")))
    assert "not on the list" in refuse(forge(asm.stream(b"c torch.nn.modules.conv\nConv2d\n")))
    assert "not on the list" in refuse(
        forge(b"\x80\x04" + asm.text("torch.nn.modules") + asm.text("conv.Conv2d") + b"\x93.")
    )
