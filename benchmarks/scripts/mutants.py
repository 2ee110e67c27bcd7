"""Share of small changes to the code that the nearest tests notice.

The code is broken on purpose, one small change at a time.

    python benchmarks/scripts/mutants.py [--each 25] [--seed 0 --seed 1] [--only edgeyolo/runtime/nms.py]

Changes are of comparisons, arithmetic, numbers, signs, `and`/`or`, `min`/`max`, `any`/`all`. Each runs in a process of
its own that was forked from one with the libraries loaded; the module is given to Python changed, no file is. A change
that no test notices is printed with its line: a test is missing, or the change changes nothing. Exit code 1 where
a seed's share is below LEAST. Writes benchmarks/results/mutants.json and mutants.md.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib.abc
import importlib.util
import os
import random
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from equivalent_mutants import EQUIVALENT
from result_files import write

ROOT = Path(__file__).parents[2]
LEAST = 0.90
SMALL = 1e-4  # numbers below it are guards, not amounts
SECONDS = 120  # of processor time: a change that makes the tests take longer was noticed

NEAREST = {
    "edgeyolo/runtime/decode.py": ("tests/runtime/test_decode.py", "tests/runtime/test_postprocess.py"),
    "edgeyolo/runtime/nms.py": ("tests/runtime/test_nms.py", "tests/runtime/test_postprocess.py"),
    "edgeyolo/runtime/preprocess.py": ("tests/runtime/test_preprocess.py", "tests/runtime/test_planes.py"),
    "edgeyolo/runtime/agreement.py": ("tests/runtime/test_agreement.py",),
    "edgeyolo/export/parity_gate.py": ("tests/export/test_parity_gate.py",),
    "edgeyolo/export/accuracy_gate.py": ("tests/export/test_accuracy_gate.py",),
    "edgeyolo/training/loss/assign.py": ("tests/training/loss/test_assign.py", "tests/training/loss/test_loss.py"),
    "edgeyolo/training/loss/candidates.py": ("tests/training/loss/test_assign.py",),
    "edgeyolo/training/loss/loss.py": ("tests/training/loss/test_loss.py",),
    "calib/edgeyolo_calib/quantize/even_sums.py": ("tests/calib/test_even_sums.py",),
}  # fmt: skip
"""By file, the tests that are asked."""

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_CALLS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "floor": "ceil",
    "ceil": "floor",
    "sum": "mean",
}


@dataclass(frozen=True)
class Change:
    """One change: `index` counts the places of a file that can be changed.

    `within` is the function; `of` the code that is changed, of a number that around it.
    """

    file: str
    index: int
    line: int
    said: str
    within: str
    of: str


Samples = Mapping[tuple[str, int], list[Change]]
"""Changes by file and seed."""


def changes(file: str) -> list[Change]:
    """Every change that can be made to a file, in the order of its nodes."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    around = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    def code(node: ast.expr | ast.AugAssign) -> str:
        return ast.unparse(around[node] if isinstance(node, ast.Constant) else node)

    return [
        Change(file, i, place.node.lineno, place.said, _function(tree, place.node), code(place.node))
        for i, place in enumerate(_places(tree))
    ]


def countable(file: str) -> list[Change]:
    """The changes to a file but for those that are known to change no result.

    SystemExit for an entry of EQUIVALENT that meets no code of the file.
    """
    possible = changes(file)
    known = {(each.within, each.of, each.said) for each in EQUIVALENT if each.file == file}
    if stale := known - {_known_by(each) for each in possible}:
        raise SystemExit(f"equivalent_mutants.py speaks of code that {file} does not have: {sorted(stale)}")
    return [each for each in possible if _known_by(each) not in known]


def _known_by(change: Change) -> tuple[str, str, str]:
    return change.within, change.of, change.said


def changed(change: Change) -> ast.Module:
    """The file's tree with one change made."""
    tree = ast.parse((ROOT / change.file).read_text(encoding="utf-8"))
    list(_places(tree))[change.index].make()
    return ast.fix_missing_locations(tree)


def _function(tree: ast.Module, node: ast.expr | ast.AugAssign) -> str:
    """Name of the innermost function that holds a node, "" at the top of a file."""
    around = [
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef) and each.lineno <= node.lineno <= (each.end_lineno or 0)
    ]
    return max(around, key=lambda each: each.lineno).name if around else ""


class Place(NamedTuple):
    """A node that can be changed, the change in words, and the function that makes it."""

    node: ast.expr | ast.AugAssign
    said: str
    make: Callable[[], None]


def _places(tree: ast.Module) -> Iterator[Place]:
    """Changes that a tree allows.

    Annotations, docstrings and messages are left out.
    """
    for node in _code(tree):
        if isinstance(node, ast.Compare):
            for i, old in enumerate(node.ops):
                if (kind := _COMPARISONS.get(type(old))) is not None:
                    said = f"{type(old).__name__} -> {kind.__name__}"
                    yield Place(node, said, partial(node.ops.__setitem__, i, kind()))
        elif isinstance(node, ast.BinOp | ast.AugAssign):
            if (operator := _ARITHMETIC.get(type(node.op))) is not None:
                said = f"{type(node.op).__name__} -> {operator.__name__}"
                yield Place(node, said, partial(setattr, node, "op", operator()))
        elif isinstance(node, ast.expr):
            yield from _simple(node)


def _simple(node: ast.expr) -> Iterator[Place]:
    if isinstance(node, ast.BoolOp):
        either = isinstance(node.op, ast.And)
        other = ast.Or() if either else ast.And()
        yield Place(node, "and -> or" if either else "or -> and", partial(setattr, node, "op", other))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        twice = ast.UnaryOp(ast.Not(), node.operand)
        yield Place(node, "not dropped", partial(setattr, node, "operand", twice))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield Place(node, "minus dropped", partial(setattr, node, "op", ast.UAdd()))
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        value = _other(node.value)  # type: ignore[arg-type]
        yield Place(node, f"{node.value!r} -> {value}", partial(setattr, node, "value", value))
    elif isinstance(node, ast.Call) and (name := _CALLS.get(_called(node))):
        attribute = "attr" if isinstance(node.func, ast.Attribute) else "id"
        yield Place(node, f"{_called(node)} -> {name}", partial(setattr, node.func, attribute, name))


def _code(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Raise | ast.JoinedStr):
                continue  # the words of an error are not the logic
            if isinstance(child, ast.AST):
                yield child
                yield from _code(child)


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _other(value: float) -> float:
    """Another number in place of one.

    A guard against division by zero becomes 0, as another small number would do as well.
    """
    if isinstance(value, int):
        return value + 1
    return 0.0 if 0 < value < SMALL else value * 1.5 + (value == 0)


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module from a changed tree in place of its file."""

    def __init__(self, file: str, tree: ast.Module) -> None:
        self._name = file.removeprefix("calib/").removesuffix(".py").replace("/", ".")
        self._path, self._tree = str(ROOT / file), tree

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, self._path, "exec"), module.__dict__)


def judge(change: Change) -> bool:
    """Run the nearest tests on the change: True if one notices.

    They run in a process that is forked for it.
    """
    process = os.fork()
    if not process:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        os._exit(_run(change.file, changed(change)))
    return os.waitpid(process, 0)[1] != 0


def _run(file: str, tree: ast.Module) -> int:
    import pytest

    with open(os.devnull, "w", encoding="utf-8") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    sys.meta_path.insert(0, _Changed(file, tree))
    tests = [str(ROOT / name) for name in NEAREST[file]]
    options = ["-x", "-q", "--assert=plain", "--hypothesis-seed=0", "--hypothesis-profile=unshrunk"]
    without = ("cacheprovider", "xdist", "anyio", "unraisableexception")  # half of a short run's time
    plugins = [part for name in without for part in ("-p", f"no:{name}")]
    return int(pytest.main([*options, *plugins, f"--rootdir={ROOT}", *tests]))


def require_passing(files: list[str]) -> None:
    """Raise SystemExit where the tests fail on the code as it is.

    Nothing would be judged then.
    """
    for file in files:
        process = os.fork()
        if not process:
            os._exit(_run(file, ast.parse((ROOT / file).read_text(encoding="utf-8"))))
        if os.waitpid(process, 0)[1]:
            raise SystemExit(f"the tests of {file} fail without any change: {', '.join(NEAREST[file])}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--each", type=int, default=25, help="changes drawn from each file (default 25)")
    parser.add_argument("--seed", type=int, action="append", help="of a sample (default 0); may be repeated")
    parser.add_argument("--only", action="append", choices=sorted(NEAREST), help="one file; may be repeated")
    options = parser.parse_args()
    files, seeds = options.only or list(NEAREST), options.seed or [0]
    import cv2  # noqa: F401 - loaded once, in the process that all others are forked from
    import onnxruntime  # noqa: F401
    import pytest  # noqa: F401
    import torch
    from hypothesis import Phase, settings

    torch.set_num_threads(1)
    # A failure is enough; the smallest one is not looked for.
    found = [Phase.explicit, Phase.generate]
    settings.register_profile("unshrunk", deadline=None, database=None, phases=found)
    gc.freeze()
    require_passing(files)
    samples = {(file, seed): draw(file, options.each, seed) for seed in seeds for file in files}
    noticed: dict[Change, bool] = {}
    for change in sorted({each for drawn in samples.values() for each in drawn}, key=lambda each: each.file):
        noticed[change] = judge(change)
        if not noticed[change]:
            print(f"not noticed: {change.file}:{change.line}: {change.said}", flush=True)
    return report(samples, noticed, whole=not options.only)


def draw(file: str, count: int, seed: int) -> list[Change]:
    """A sample of the changes to a file."""
    possible = countable(file)
    return random.Random(seed).sample(possible, min(count, len(possible)))


def report(samples: Samples, noticed: Mapping[Change, bool], *, whole: bool) -> int:
    """Print the share by file and sample, and return the exit code.

    It is written where all files were asked.
    """
    files, seeds = list(dict.fromkeys(file for file, _ in samples)), sorted({seed for _, seed in samples})
    lines = [f"| file | {' | '.join(f'seed {seed}' for seed in seeds)} |", "|---" * (1 + len(seeds)) + "|"]
    for file in files:
        drawn = [[noticed[change] for change in samples[file, seed]] for seed in seeds]
        lines.append(f"| {file} | {' | '.join(f'{sum(each)} of {len(each)}' for each in drawn)} |")
    shares = [share(samples, noticed, seed) for seed in seeds]
    lines.append(f"| all | {' | '.join(f'{each:.1%}' for each in shares)} |")
    missed = sorted(
        (each for each, seen in noticed.items() if not seen), key=lambda each: (each.file, each.line)
    )
    lines += ["", f"{len(noticed)} changes were tried. Not noticed:", ""]
    lines += [f"- {each.file}:{each.line}: {each.said}" for each in missed] or ["- none"]
    lines += ["", "Not counted, as they change no result:", ""]
    alike = [each for each in EQUIVALENT if each.file in files]
    lines += [f"- {each.file}, `{each.of}`, {each.said}: {each.reason}" for each in alike] or ["- none"]
    print("\n".join(lines))
    if whole:
        facts = {"shares": dict(zip(seeds, shares, strict=True)), "missed": [asdict(each) for each in missed]}
        write("mutants", facts, lines)
    return int(min(shares) < LEAST)


def share(samples: Samples, noticed: Mapping[Change, bool], seed: int) -> float:
    """Share of one seed's changes, of all files, that were noticed."""
    seen = [noticed[change] for (_, of), drawn in samples.items() if of == seed for change in drawn]
    return sum(seen) / len(seen)


if __name__ == "__main__":
    sys.exit(main())
