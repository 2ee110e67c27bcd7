"""The house rules that tools can check: style, types, the direction of imports, and what must never be written."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", [("check", "."), ("format", "--check", ".")], ids=" ".join)
def test_ruff(command: tuple[str, ...]) -> None:
    run("ruff", *command)


def test_spelling() -> None:
    run("codespell_lib")


@pytest.mark.slow
def test_types() -> None:
    run("mypy")


def test_direction_of_imports() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def sources() -> list[Path]:
    folders = ("edgeyolo", "backends", "calib", "benchmarks")
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py")]


def test_files_stay_readable() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long, f"each is a question whether it is one thing: {long}"


RELATIVE = (
    *("By", "From", "How", "Of", "That", "Those", "What", "Whatever", "When", "Where", "Whether"),
    *("Which", "Whichever", "Who", "Whose", "Why"),
)


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Docstrings of a module, its classes and its functions, private ones included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str()) as text), *_]:
                    yield text


def title_faults(docstring: str) -> list[str]:
    """Reasons why the first line of a docstring is no title."""
    title, *body = docstring.strip().split("\n")
    faults = {
        "opens with a relative word": title.partition(" ")[0].rstrip(",.:;") in RELATIVE,
        "is longer than 80 characters": len(title) > 80,
        "does not end as a sentence": not title.endswith((".", "!", "?", ":")),
        "has no blank line below": bool(body and body[0].strip()),
    }
    return [fault for fault, found in faults.items() if found]


@pytest.mark.parametrize(
    ("docstring", "faults"),
    [
        ("Limits and budgets of a target.", 0),
        ("Return True unless EDGEYOLO_MEASURE is 0.\n\n    Device auto may then measure.\n    ", 0),
        ("x" * 79 + ".", 0),
        ("x" * 80 + ".", 1),
        ("What a target takes and promises.", 1),
        ("Whether device auto may measure.", 1),
        ("Of two boxes, the better one.", 1),
        ("A title that goes\n    on below.", 2),
        ("", 1),
    ],
)
def test_titles_are_told_from_others(docstring: str, faults: int) -> None:
    assert len(title_faults(docstring)) == faults


def test_docstrings_open_with_a_title() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{text.lineno}: the first line {fault}"
        for path in sources()
        for text in docstrings(ast.parse(path.read_text()))
        for fault in title_faults(str(text.value))
    ]
    assert not found, "\n".join(found)


def test_messages_say_what_they_got() -> None:
    """A message reads "expected X, got Y"."""
    found = []
    for path in sources():
        tree = ast.parse(path.read_text())
        prose = {id(text) for text in docstrings(tree)}
        found += [
            f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
            if re.search(r"(?:^|, )came\b", node.value)
        ]
    assert not found, "\n".join(found)


def test_no_paths_of_a_machine() -> None:
    pattern = re.compile(r"""["' (`]/(?:work|root|home|tmp)/""")
    files = [*sources(), ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "Makefile"]
    found = [str(path.relative_to(ROOT)) for path in files if pattern.search(path.read_text())]
    assert not found
