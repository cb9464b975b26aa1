"""The pytest plugin: fixtures `assert_conforms` and `assert_reaches`, and the marker `softmax_ce` with options for them.

It does nothing unless a test asks for a fixture, and has no options of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

_MARKER = "softmax_ce"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    said = f"{_MARKER}(**options): options of assert_conforms in this test, such as like='torch', claim='stable'"
    config.addinivalue_line("markers", said)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that has the marker itself, and never asks for the fixture, would pass and judge nothing."""
    if not any(marker.name == _MARKER for marker in item.own_markers):
        return
    if not {"assert_conforms", "request"} & set(getattr(item, "fixturenames", ())):
        pytest.fail(f"{_MARKER} is given, and nothing is judged; allowed: a test that takes assert_conforms", pytrace=False)


@pytest.fixture
def assert_conforms(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`softmax_ce_conformance.assert_conforms`, with the options of the markers of the test, the nearest first.

    Raises:
      TypeError: a marker has a value without a name.
    """
    from .call import assert_conforms

    options: dict[str, Any] = {}
    for marker in request.node.iter_markers(_MARKER):
        if marker.args:
            raise TypeError(f"{_MARKER}: {marker.args[0]!r} has no name; allowed: options by their names, such as like='torch'")
        options = marker.kwargs | options
    return partial(assert_conforms, **options)


@pytest.fixture(scope="session")
def assert_reaches() -> Callable[..., Any]:
    """`softmax_ce_conformance.assert_reaches`."""
    from .compare import assert_reaches

    return assert_reaches
