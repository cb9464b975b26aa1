"""Runs the examples in the docstrings of every module that imports here."""

from __future__ import annotations

import doctest
import importlib
import inspect
from types import ModuleType
from typing import Any

import pytest

from tests.command import ROOT

MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in ("reference", "adapters", "suites")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not path.name.startswith(("test_", "conftest", "__"))
]


class Finder(doctest.DocTestFinder):
    """Finds the examples of decorated functions, which doctest takes for functions of the decorator's module."""

    def _from_module(self, module: ModuleType | None, found: Any) -> bool:
        return bool(super()._from_module(module, inspect.unwrap(found)))  # type: ignore[misc]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    finder, runner = Finder(), doctest.DocTestRunner()
    for examples in finder.find(module, name):
        runner.run(examples)
    assert runner.summarize().failed == 0


def test_there_are_examples() -> None:
    finder = Finder()
    names = [name for name in MODULES if name.startswith("reference.") and ".fast." not in name]
    examples = [test for name in names for test in finder.find(importlib.import_module(name))]
    assert sum(len(test.examples) for test in examples) > 15
    assert "reference.evaluation.evaluate" in {test.name for test in examples}, "a decorated function has examples too"
