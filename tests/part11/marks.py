"""The marks ``@pytest.mark.part11("11.10(a)", ...)`` of the tests, read without running or importing any.

Reading is enough, as ``check`` lets no mark be set in another way than as a decorator with clause ids in quotes.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.part11.clauses import clauses

TESTS = Path(__file__).parents[1]


class Test(NamedTuple):
    """A test function; its cases, where it has parameters, count together."""

    __test__ = False
    path: str
    """From the root of the project, with slashes."""
    name: str


def marked(directory: Path = TESTS) -> dict[str, list[Test]]:
    """The marked tests below ``directory`` by clause, in the order of their files and places."""
    found: dict[str, list[Test]] = {}
    for path in sorted(directory.rglob("test_*.py")):
        for name, ids in marks_in(path):
            for one in ids:
                found.setdefault(one, []).append(Test(path.relative_to(directory.parent).as_posix(), name))
    return found


def marks_in(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each marked test function of a file, with the clauses that its decorators name."""
    text = path.read_text("utf-8")
    if "mark.part11(" not in text:
        return
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            calls = [one for one in node.decorator_list if isinstance(one, ast.Call)]
            named = [one.args for one in calls if ast.unparse(one.func) == "pytest.mark.part11"]
            ids = [arg.value for args in named for arg in args if isinstance(arg, ast.Constant)]
            if ids:
                yield node.name, ids


def check(items: Iterable[pytest.Item]) -> None:
    """Refuse a mark that names no clause, or that ``marks_in`` does not see.

    Raises:
        pytest.UsageError: which mark is wrong, and what to write instead.
    """
    known = {clause.id for clause in clauses().all}
    read: dict[Path, dict[str, list[str]]] = {}
    for item in items:
        for mark in item.iter_markers("part11"):
            for one in mark.args:
                if one not in known:
                    raise pytest.UsageError(
                        f"{item.nodeid}: part11 names {one!r}, which is no clause of tests/part11/clauses.yaml"
                    )
            there = read.setdefault(item.path, dict(marks_in(item.path)))
            if not mark.args or not set(mark.args) <= set(there.get(item.name.partition("[")[0], [])):
                raise pytest.UsageError(
                    f'{item.nodeid}: write part11 as a decorator of the test, @pytest.mark.part11("11.10(a)", ...)'
                )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check the marks of all that was collected."""
    check(items)
