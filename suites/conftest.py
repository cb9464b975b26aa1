"""The hooks of the suites: options, header, selection of operations and dtypes, summary and report."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from warnings import WarningMessage

import pytest

import adapters
from adapters.adapter import Adapter, AdapterError
from adapters.isolation import Isolated
from suites.command.ending import Run
from suites.command.folder import folder_of
from suites.command.options import add_options
from suites.command.overheard import SECTION, kept_back, make_harmless, make_one_line
from suites.command.plan import plan_of
from suites.command.selection import (
    Asked,
    case_combinations,
    format_combinations,
    function_of,
    is_asked,
    label_combinations,
    layout_combinations,
    parameters_of,
    usage_combinations,
)
from suites.command.signals import end_at_signals
from suites.command.workers import Worker, is_worker
from suites.inputs.cases import CaseError
from suites.inputs.given import OF_CASES
from suites.judging.claims_file import ClaimsError
from suites.judging.judge import Judge
from suites.report.escape import one_line
from suites.report.wording import subject_in_full

_ROOT = Path(__file__).parent.parent
_JUDGE = pytest.StashKey[Judge]()
_COMMON = ("case", "operation", "fmt", "quantity")
_GIVEN = {"usage": usage_combinations, "layout": layout_combinations, "label_dtype": label_combinations}
"""How a problem is given, by the parameter of the tests that vary it."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """The options; see suites/command/options.py."""
    add_options(parser, pluginmanager)


def pytest_configure(config: pytest.Config) -> None:
    """Turn the options into a plan; every mistake in them is a one-line usage error."""
    _check_own_packages()
    _check_one_process(config)
    if config.option.help or config.option.markers:
        return
    try:
        with kept_back(config):
            judge = Judge(plan_of(config.option))
        folder = None if is_worker(config) else folder_of(judge.plan)
        if folder is not None:
            folder.claim()
    except (AdapterError, CaseError, ClaimsError, ValueError) as error:
        raise pytest.UsageError(one_line(" ".join(str(error).split()))) from None
    _leave_failures_to_the_end(config.option)
    config.stash[_JUDGE] = judge
    config.pluginmanager.register(
        Worker(judge) if is_worker(config) else Run(judge, folder=folder, told=end_at_signals(config))
    )


def _leave_failures_to_the_end(option: Any) -> None:
    """A wrong kernel fails hundreds of tests for one cause: unless more is asked for, each cause is told once, at the end."""
    if option.verbose < 1 and option.tbstyle == "auto":
        option.tbstyle = "no"
    if option.verbose < 1 and option.reportchars == "fE":
        option.reportchars = ""


def _check_one_process(config: pytest.Config) -> None:
    """Not pytest-forked, whose measurements are not in the report; nor each test several times."""
    if getattr(config.option, "forked", False):
        raise pytest.UsageError("--forked: what is measured there is lost; --isolate makes the calls in another process")
    if getattr(config.option, "dist", "no") == "each":
        raise pytest.UsageError("--dist=each: every test would count several times; allowed: another value, such as load")


def _check_own_packages() -> None:
    """A package named `adapters` exists on PyPI; the one beside this folder must be the one that is imported."""
    found = Path(str(adapters.__file__)).parent.parent
    if found != _ROOT:
        raise pytest.UsageError(
            f"the package 'adapters' was imported from {found}, not from {_ROOT}; uninstall it (pip uninstall adapters) "
            "or run from the checkout"
        )


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process of --isolate."""
    if _JUDGE in config.stash:
        config.stash[_JUDGE].plan.adapter.close()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What is on trial, with which versions, on which device, by which claims, from which seed."""
    plan = config.stash[_JUDGE].plan
    versions = ", ".join(f"{name} {version}" for name, version in plan.adapter.versions().items())
    names = ", ".join(operation.label for operation in plan.operations)
    dtypes = ", ".join(fmt.name for fmt in plan.formats)
    tried = [] if plan.subject is None else [f"softmax-ce: judges {subject_in_full(asdict(plan.subject))}"]
    entries = f"{len(plan.claims.claims)} claims, {len(plan.claims.deviations)} deviations"
    lines = [
        *tried,
        f"softmax-ce: backend {plan.adapter.name} ({versions}), device {plan.adapter.device}, mode {', '.join(plan.modes)}",
        f"softmax-ce: operations {names}",
        f"softmax-ce: dtypes {dtypes}; {entries}; effort {plan.effort.name}, seed {plan.seed}",
        *_isolation_header(plan.adapter),
        *(f"softmax-ce: {told}; its calls go on so, what judges them does not" for told in plan.adapter.foreign.told),
        *(f"softmax-ce: probe: {note}" for note in plan.notes),
    ]
    return list(map(one_line, lines))


def _isolation_header(adapter: Adapter) -> list[str]:
    if not isinstance(adapter, Isolated):
        return []
    allowed = adapter.allowance
    return [f"softmax-ce: every call in another process, for at most {allowed.seconds:g} s and {allowed.gib:g} GiB more"]


@pytest.fixture(scope="session")
def judge(request: pytest.FixtureRequest) -> Judge:
    """The judge of this run."""
    return request.config.stash[_JUDGE]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each operation and dtype that can answer it; and for each usage, or stored case and quantity, of those."""
    if _JUDGE not in metafunc.config.stash:
        return
    plan = metafunc.config.stash[_JUDGE].plan
    if "case" in metafunc.fixturenames:
        metafunc.parametrize(("case", "operation", "quantity"), case_combinations(plan))
    elif "operation" in metafunc.fixturenames:
        asked = Asked.by(metafunc.definition.get_closest_marker("asks"))
        varied = next((name for name in _GIVEN if name in metafunc.fixturenames), None)
        combinations = format_combinations if varied is None else _GIVEN[varied]
        metafunc.parametrize(["operation", "fmt", *([] if varied is None else [varied])], combinations(plan, asked))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """--case runs the stored cases only, or the test that a failure names."""
    if _JUDGE in config.stash and not config.stash[_JUDGE].plan.heard:
        items[:] = [item for item in items if item.get_closest_marker("heard") is None]
    if not config.option.case:
        return
    given = config.stash[_JUDGE].plan.given
    kept = [item for item in items if (function_of(item) == OF_CASES if given is None else is_asked(item, given))]
    if items and not kept:
        asking = OF_CASES if given is None else given.test
        raise pytest.UsageError(f"--case: no test of this run asks it; it is asked by {asking}, of an operation that takes it")
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tell the judge which test the next measurements and failures belong to."""
    others = {name: value for name, value in parameters_of(item).items() if name not in _COMMON}
    item.config.stash[_JUDGE].begin_test(function_of(item), others)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """--junitxml: the lowest grade and the worst error that a test measured, and what they rest on, become its properties.

    What its calls have written in another process becomes a section of its own.
    """
    judge = item.config.stash[_JUDGE]
    judge.plan.adapter.take_written()  # what was written before is no output of this test
    try:
        yield
        judge.sharing.end_test()
    finally:
        item.user_properties += judge.recorder.test.as_properties()
        if written := judge.plan.adapter.take_written():
            item.add_report_section("call", SECTION, written)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Nothing that a kernel wrote or raised is obeyed where it is shown."""
    report = yield
    make_harmless(report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: WarningMessage) -> None:
    """Nor what it warns of."""
    make_one_line(warning_message)
