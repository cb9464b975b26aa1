"""The options of the suites where only tests/ is run: `pytest --help` shows them, and giving one says where it belongs."""

from __future__ import annotations

import pytest

from suites.command.options import add_options, given_options
from tests.command import ROOT


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    add_options(parser, pluginmanager)


def pytest_configure(config: pytest.Config) -> None:
    """An option of the suites would do nothing here: `pytest` without a path runs tests/."""
    given = given_options(config)
    if given and not config.pluginmanager.has_plugin(str(ROOT / "suites" / "conftest.py")):
        name = given[0].partition("=")[0]
        raise pytest.UsageError(f"{name} is an option of the suites; run them: pytest suites/ {' '.join(given)}")
