"""The command line of the suites: options, header, selection of operations and dtypes, summary and report."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Generator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

import adapters
from adapters.adapter import Adapter, AdapterError
from adapters.isolation import Allowance, Isolated, Trial
from adapters.loading import backend_names, installed_backends, load_adapter, operations_on_trial
from adapters.operation import Operation, modes_of
from reference.formats import FORMATS, Format
from reference.grades import Grade, grade_named
from reference.quantity import Quantity
from suites.inputs.cases import CaseError, cases_matching, stored_cases
from suites.inputs.hazards import HAZARDS
from suites.judging.claims import ClaimsError, claims_of, claims_path
from suites.judging.effort import EFFORTS
from suites.judging.judge import Judge, Plan, askable
from suites.judging.reproducer import REPRODUCERS, write_reproducers
from suites.report.build import build_report
from suites.report.terminal import is_interactive, rendered, summary_lines, summary_tables
from suites.report.write import write_report

_ROOT = Path(__file__).parent.parent
_JUDGE = pytest.StashKey[Judge]()
_FAILURES = pytest.StashKey[int]()
WHOLE_FAILURES = 10
ALLOWED = Allowance()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options; README.md explains them and a test keeps the two together."""
    group = parser.getgroup("softmax-ce", "softmax cross-entropy conformance")
    grades = ", ".join(grade.label for grade in Grade)
    option = group.addoption
    option(
        "--backend",
        default="numpy",
        help=f"{', '.join([*backend_names(), *installed_backends()])}, file.py:Class or module:Class (default: numpy)",
    )
    option("--implementation", metavar="PLACE", help="judge your own callable instead: file.py:function or module:function")
    option("--device", default="cpu", help="cpu, cuda or cuda:INDEX (default: cpu)")
    option(
        "--mode",
        metavar="NAMES",
        help="comma-separated modes of the backend, such as eager,compiled (default: the backend's first)",
    )
    option("--dtype", metavar="NAMES", help=f"comma-separated formats (default: all of {','.join(FORMATS)})")
    option("--operation", metavar="GLOB", help="only operations whose name matches, e.g. cross_entropy* (default: all)")
    option("--hazard", metavar="NAMES", help=f"comma-separated hazards (default: all of {','.join(HAZARDS)})")
    option(
        "--case",
        metavar="ID",
        help="only this stored case: an id, a name, a name with *, or the JSON that a failure prints (default: all)",
    )
    option("--claim", metavar="GRADE", help=f"hold no operation to more than this grade: {grades}")
    option("--claims", metavar="FILE", help="claims file (default: ci/claims/BACKEND.toml)")
    option(
        "--effort",
        default="standard",
        help=f"{', '.join(EFFORTS)}: how many problems are generated (default: standard)",
    )
    option(
        "--isolate", action="store_true", help="make every call in another process, so that a crash or a hang costs one test"
    )
    option(
        "--call-timeout",
        type=float,
        metavar="SECONDS",
        default=ALLOWED.seconds,
        help=f"how long a call of --isolate may take (default: {ALLOWED.seconds:g})",
    )
    option(
        "--call-memory",
        type=float,
        metavar="GIB",
        default=ALLOWED.gib,
        help=f"by how much the process of --isolate may grow (default: {ALLOWED.gib:g})",
    )
    option("--report", metavar="DIR", help="write report.json, report.md, report.html and reproducers into this directory")


def pytest_configure(config: pytest.Config) -> None:
    """Turn the options into a plan; every mistake in them is a one-line usage error."""
    _check_own_packages()
    _check_one_process(config)
    if config.option.help or config.option.markers:
        return
    try:
        config.stash[_JUDGE] = Judge(_plan(config))
        _make_folder(config.option.report)
    except (AdapterError, CaseError, ClaimsError, ValueError) as error:
        raise pytest.UsageError(" ".join(str(error).split())) from None


def _check_one_process(config: pytest.Config) -> None:
    """Neither pytest-xdist nor pytest-forked: what their workers measure is not in the report."""
    spread = getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput")
    if spread or getattr(config.option, "forked", False):
        given = "-n" if spread else "--forked"
        raise pytest.UsageError(
            f"{given}: measurements are gathered in one process; run one process a backend, without {given}; "
            "--isolate makes the calls in another process"
        )


def _make_folder(place: str | None) -> None:
    """The folder of the report, made before the run: a run takes minutes, and its report must not be lost."""
    try:
        if place:
            Path(place).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"--report: {place!r}: {error.strerror}; allowed: a directory, which is made if it is not there"
        ) from None


def _check_own_packages() -> None:
    """A package named `adapters` exists on PyPI; the one beside this folder must be the one that is imported."""
    found = Path(str(adapters.__file__)).parent.parent
    if found != _ROOT:
        raise pytest.UsageError(
            f"the package 'adapters' was imported from {found}, not from {_ROOT}; uninstall it (pip uninstall adapters) "
            "or run from the checkout"
        )


def _plan(config: pytest.Config) -> Plan:
    option = config.option
    adapter, operations = _on_trial(option)
    claims = claims_of(adapter, claims_path(option.backend, option.implementation, option.claims))
    chosen = _chosen_operations(option, adapter, operations)
    plan = Plan(
        adapter=adapter,
        operations=tuple(operation.within(claims.declared_limits(operation), adapter.device) for operation in chosen),
        formats=_formats(option),
        hazards=_chosen(option.hazard, tuple(HAZARDS), "hazard"),
        cases=cases_matching(option.case) if option.case else stored_cases(),
        claims=claims if option.claim is None else replace(claims, lowered_to=grade_named(option.claim)),
        effort=EFFORTS[_chosen(option.effort, tuple(EFFORTS), "effort")[0]],
        seed=int(option.hypothesis_seed or 0),
        command=_command(option),
    )
    _check_formats(plan)
    return replace(plan, reduced_by=_reduced_by(option, plan))


def _chosen(given: str | None, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    if given is None:
        return known
    names = tuple(name.strip() for name in given.split(","))
    for name in names:
        if name not in known:
            raise ValueError(f"--{what}: {name!r} is not known; allowed: {', '.join(known)}")
    return names


def _formats(option: Any) -> tuple[Format, ...]:
    return tuple(FORMATS[name] for name in _chosen(option.dtype, tuple(FORMATS), "dtype"))


def _on_trial(option: Any) -> tuple[Adapter, tuple[Operation, ...]]:
    """The backend, here or in another process, and what is on trial of it."""
    if not option.isolate:
        adapter = load_adapter(option.backend, option.device)
        return adapter, operations_on_trial(adapter, option.implementation)
    trial = Trial(option.backend, option.device, option.implementation)
    isolated = Isolated(trial, Allowance(option.call_timeout, option.call_memory))
    return isolated, isolated.operations()


def _chosen_operations(option: Any, adapter: Adapter, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    known = modes_of(operations)
    modes = known[:1] if option.mode is None else _chosen(option.mode, known, "mode")
    pattern = option.operation or "*"
    in_modes = [operation for operation in operations if operation.mode in modes]
    chosen = tuple(operation for operation in in_modes if fnmatchcase(operation.name, pattern))
    if not chosen:
        names = ", ".join(operation.name for operation in in_modes)
        raise ValueError(f"--operation: nothing of backend {adapter.name!r} matches {pattern!r}; there is: {names}")
    return chosen


def _check_formats(plan: Plan) -> None:
    taken = {name for operation in plan.operations for name in operation.whole.arithmetic}
    if not any(fmt.name in taken for fmt in plan.formats):
        asked = ", ".join(fmt.name for fmt in plan.formats)
        raise ValueError(f"--dtype: no chosen operation takes {asked}; they take: {', '.join(sorted(taken))}")


def _command(option: Any) -> str:
    given = {name: getattr(option, name) for name in ("backend", "implementation", "device", "mode", "claims", "claim")}
    changed = {name: value for name, value in given.items() if value and (name, value) != ("device", "cpu")}
    isolated = ["--isolate"] if option.isolate else []
    return " ".join(["pytest suites/", *(f"--{name}={shlex.quote(value)}" for name, value in changed.items()), *isolated])


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process of --isolate."""
    if _JUDGE in config.stash:
        config.stash[_JUDGE].plan.adapter.close()


def _reduced_by(option: Any, plan: Plan) -> tuple[str, ...]:
    narrowing = ("dtype", "operation", "hazard", "case", "claim")
    reasons = [f"--{name}={getattr(option, name)}" for name in narrowing if getattr(option, name)]
    if plan.effort.is_reduced:
        reasons.append(f"--effort={plan.effort.name}")
    if option.keyword or option.markexpr or (option.file_or_dir and not _whole_suite(option.file_or_dir)):
        reasons.append("a selection of tests")
    return tuple(reasons)


def _whole_suite(places: list[str]) -> bool:
    return any(Path(place).resolve() in (_ROOT, Path(__file__).parent.resolve()) for place in places)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What is on trial, with which versions, on which device, by which claims, from which seed."""
    plan = config.stash[_JUDGE].plan
    versions = ", ".join(f"{name} {version}" for name, version in plan.adapter.versions().items())
    names = ", ".join(operation.label for operation in plan.operations)
    dtypes = ", ".join(fmt.name for fmt in plan.formats)
    entries = f"{len(plan.claims.claims)} claims, {len(plan.claims.deviations)} deviations"
    return [
        f"softmax-ce: backend {plan.adapter.name} ({versions}), device {plan.adapter.device}, mode {', '.join(plan.modes)}",
        f"softmax-ce: operations {names}",
        f"softmax-ce: dtypes {dtypes}; {entries}; effort {plan.effort.name}, seed {plan.seed}",
        *_isolation_header(plan.adapter),
    ]


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
    """One test for each operation and dtype that can answer it; for stored cases, each case and quantity too."""
    if _JUDGE not in metafunc.config.stash:
        return
    plan = metafunc.config.stash[_JUDGE].plan
    if "case" in metafunc.fixturenames:
        metafunc.parametrize(("case", "operation", "quantity"), _case_combinations(plan))
    elif "operation" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("asks")
        asked = marker.args if marker else tuple(Quantity)
        metafunc.parametrize(("operation", "fmt"), _format_combinations(plan, asked))


def _format_combinations(plan: Plan, asked: tuple[Quantity, ...]) -> list[Any]:
    """An operation and a format, for each that would be asked one of the quantities were it not for its limits."""
    return [
        _asked_or_skipped((op, fmt), f"{op.label}-{fmt.name}", op.declared_away(asked, fmt.name, plan.adapter.device))
        for op in plan.operations
        if set(op.whole.quantities) & set(asked)
        for fmt in plan.formats
        if fmt.name in op.whole.arithmetic
    ]


def _case_combinations(plan: Plan) -> list[Any]:
    """A case, an operation and a quantity, as above."""
    formats, device = {fmt.name for fmt in plan.formats}, plan.adapter.device
    return [
        _asked_or_skipped(
            (case, op, quantity),
            f"{case.id}-{op.label}-{quantity}",
            op.declared_away((quantity,), case.problem.format.name, device) or op.problem_declared_away(case.problem),
        )
        for case in plan.cases
        for op in plan.operations
        if case.problem.format.name in formats and (case.hazard in plan.hazards or case.hazard == "given")
        if op.whole.refusal(case.problem) is None
        for quantity in askable(op.whole, case.problem)
    ]


def _asked_or_skipped(values: tuple[Any, ...], name: str, declared: str | None) -> Any:
    """A test's parameters; what is declared away is skipped, and says by which limit."""
    return pytest.param(*values, id=name, marks=() if declared is None else pytest.mark.skip(reason=declared))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """--case runs the stored cases only."""
    if config.option.case:
        kept = [item for item in items if "case" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """--junitxml: the lowest grade and the worst error that a test measured become its properties."""
    recorder = item.config.stash[_JUDGE].recorder
    recorder.begin_test()
    try:
        yield
    finally:
        if recorder.test is not None:
            item.user_properties += [("grade", recorder.test.reached.label), ("worst_ulps", recorder.test.worst_ulps)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The first failures whole, of the others one line: a wrong kernel fails hundreds of tests for one reason."""
    report = yield
    _reproduce(item, report)
    if report.failed and item.config.option.verbose < 1:
        shown = item.config.stash.get(_FAILURES, 0)
        item.config.stash[_FAILURES] = shown + 1
        if shown >= WHOLE_FAILURES:
            text = next((line for line in str(report.longrepr).splitlines() if line.strip()), "")
            report.longrepr = f"{text}\n(the first {WHOLE_FAILURES} failures are whole; -v shows all of them so)"
    return report


def _reproduce(item: pytest.Item, report: pytest.TestReport) -> None:
    """Write the reproducer of a failed test beside the report, where there will be one, and name it."""
    judge = item.config.stash.get(_JUDGE, None)
    miss = None if judge is None else judge.failure
    if judge is None or miss is None or not report.failed:
        return
    judge.failure = None
    if item.config.option.report:
        named = replace(miss, name=item.name)
        for path in write_reproducers([named], judge.plan.adapter, Path(item.config.option.report)).values():
            report.sections.append(("reproducer", f"python {path}"))


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """The conformance table, the deviations seen, and the verdict; then the report, if one was asked for."""
    judge = config.stash.get(_JUDGE, None)
    if judge is None or config.option.collectonly:
        return
    counts = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed", "xfailed", "skipped", "error")}
    folder = Path(config.option.report) if config.option.report else None
    scripts = write_reproducers(list(judge.deviations_seen.values()), judge.plan.adapter, folder) if folder else {}
    places = {name: f"{REPRODUCERS}/{path.name}" for name, path in scripts.items()}
    report = build_report(judge, counts, int(exitstatus), places)
    terminalreporter.section("softmax-ce conformance")
    if terminalreporter.hasmarkup and is_interactive(sys.stdout):
        terminalreporter.write_line(rendered(summary_tables(report), shutil.get_terminal_size().columns))
    else:
        for line in summary_lines(report):
            terminalreporter.write_line(line)
    if folder:
        for path in write_report(report, folder):
            terminalreporter.write_line(f"wrote {path}")
        terminalreporter.write_line(f"wrote reproducers of {len(scripts)} deviations into {folder / REPRODUCERS}")
