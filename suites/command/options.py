"""The options of `pytest suites/`, with their defaults and help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters.loading import backend_names, installed_backends
from adapters.process import Allowance
from reference.formats import FORMATS
from reference.grades import Grade
from suites.inputs.hazards import HAZARDS
from suites.judging.effort import EFFORTS

ALLOWED = Allowance()
_ADDED = "softmax-ce-options"

Option = Callable[..., None]
"""Adds an option, as `Added.option` does."""


@dataclass
class Added:
    """The options that are there, and whether each takes a value: a plugin, since suites/ and tests/ both add them."""

    group: pytest.OptionGroup
    takes_value: dict[str, bool] = field(default_factory=dict)

    def option(self, name: str, **attributes: Any) -> None:
        """Add one."""
        self.takes_value[name] = "action" not in attributes
        self.group.addoption(name, **attributes)


def add_options(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options to a parser, once; suites/README.md explains them and a test keeps the two together."""
    if pluginmanager.has_plugin(_ADDED):
        return
    added = Added(parser.getgroup("softmax-ce", "softmax cross-entropy conformance"))
    pluginmanager.register(added, _ADDED)
    for add in (_add_what_is_tried, _add_what_is_asked, _add_what_it_is_held_to, _add_how_it_is_called):
        add(added.option)
    added.option(
        "--report",
        metavar="DIR",
        help="write report.json, report.md, report.html and reproducers into this directory; of a kernel report-NAME.json, ...",
    )


def _add_what_is_tried(option: Option) -> None:
    option(
        "--backend",
        default="numpy",
        help=f"{', '.join([*backend_names(), *installed_backends()])}, file.py:Class or module:Class (default: numpy)",
    )
    option("--implementation", metavar="PLACE", help="judge your own callable instead: file.py:function or module:function")
    option(
        "--accept-limits",
        action="store_true",
        help="take what the start-up probe finds of an implementation as its declared limits; the run is then REDUCED",
    )
    option(
        "--fail-shared",
        action="store_true",
        help="fail what an implementation misses no worse than the framework's own operation, as its claims file knows",
    )
    option("--device", default="cpu", help="cpu, cuda or cuda:INDEX (default: cpu)")
    option(
        "--mode",
        metavar="NAMES",
        help="comma-separated modes of the backend, such as eager,compiled (default: the backend's first)",
    )


def _add_what_is_asked(option: Option) -> None:
    option("--dtype", metavar="NAMES", help=f"comma-separated formats (default: all of {','.join(FORMATS)})")
    option("--operation", metavar="GLOB", help="only operations whose name matches, e.g. cross_entropy* (default: all)")
    option("--hazard", metavar="NAMES", help=f"comma-separated hazards (default: all of {','.join(HAZARDS)})")
    option(
        "--case",
        metavar="ID",
        help="only this stored case: an id, a name or a name with *; or the problem of a failure, in the test that failed: "
        "its JSON, the same compressed (z:...) or a file of it (default: all)",
    )


def _add_what_it_is_held_to(option: Option) -> None:
    grades = ", ".join(grade.label for grade in Grade)
    option("--claim", metavar="GRADE", help=f"hold no operation to more than this grade: {grades}")
    option("--claims", metavar="FILE", help="claims file (default: ci/claims/BACKEND.toml)")
    option(
        "--effort",
        default="standard",
        help=f"{', '.join(EFFORTS)}: how many problems are generated (default: standard)",
    )


def _add_how_it_is_called(option: Option) -> None:
    option(
        "--isolate", action="store_true", help="make every call in another process, so that a crash or a hang costs one test"
    )
    option(
        "--call-timeout",
        type=float,
        metavar="SECONDS",
        help=f"how long a call of --isolate may take (default: {ALLOWED.seconds:g})",
    )
    option(
        "--call-memory",
        type=float,
        metavar="GIB",
        help=f"by how much the process of --isolate may grow (default: {ALLOWED.gib:g})",
    )


def given_options(config: pytest.Config) -> list[str]:
    """Those of the arguments of a command line that are options here, with their values."""
    added, arguments = config.pluginmanager.get_plugin(_ADDED), config.invocation_params.args
    assert isinstance(added, Added)
    given: list[str] = []
    for i, argument in enumerate(arguments):
        name, equals, _ = str(argument).partition("=")
        if name in added.takes_value:
            alone = equals or not added.takes_value[name]
            given += map(str, arguments[i : i + (1 if alone else 2)])
    return given
