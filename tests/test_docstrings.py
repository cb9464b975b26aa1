"""What docstrings and comments name in backquotes by its whole path is there."""

from __future__ import annotations

import ast
import re

from tests.command import ROOT

_NAMED = re.compile(r"`((?:adapters|reference|suites|tests)(?:\.\w+)+)`")
SOURCES = [
    path for folder in ("adapters", "reference", "suites", "tests", "ci") for path in sorted((ROOT / folder).rglob("*.py"))
]


def names_in(body: list[ast.stmt]) -> set[str]:
    """The names that statements define, by assignment, class, function or import."""
    found = set()
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            found.add(statement.name)
        elif isinstance(statement, ast.ImportFrom | ast.Import):
            found |= {alias.asname or alias.name for alias in statement.names}
        else:
            found |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return found


def is_there(name: str) -> bool:
    """True if a module, or what a module or a class of one defines, has this dotted name; nothing is imported."""
    place, parts = ROOT, name.split(".")
    while parts and (place / parts[0]).is_dir():
        place = place / parts.pop(0)
    source = place / "__init__.py"
    if parts and (place / f"{parts[0]}.py").is_file():
        source = place / f"{parts.pop(0)}.py"
    body = ast.parse(source.read_text()).body
    for part in parts:
        if part not in names_in(body):
            return False
        inner = [statement for statement in body if isinstance(statement, ast.ClassDef) and statement.name == part]
        body = inner[0].body if inner else []
    return True


def test_names_in_backquotes_are_there() -> None:
    """A limit referred to `OPTIONS` of a module that has none."""
    named = [(path, name) for path in SOURCES for name in _NAMED.findall(path.read_text())]
    assert len(named) > 20
    assert [(str(path), name) for path, name in named if not is_there(name)] == []


def test_a_name_that_is_not_there_is_seen() -> None:
    there = ("reference.enclosure.Enclosure.ulps_from", "adapters.isolation.HANG", "reference.exact", "suites.report.page")
    gone = ("adapters.operation.options", "reference.nothing", "reference.enclosure.Enclosure.nothing", "suites.report.page.x")
    assert [is_there(name) for name in (*there, *gone)] == [True] * 4 + [False] * 4
