"""The command line of the suites: options, header, selection of operations and dtypes, summary and report."""

from __future__ import annotations

import re
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
from suites.inputs.cases import Case, CaseError, cases_matching, stored_cases
from suites.inputs.given import OF_CASES, Given, given_from, is_given
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
_COMMON = ("case", "operation", "fmt", "quantity")
WHOLE_FAILURES = 10
ALLOWED = Allowance()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options; suites/README.md explains them and a test keeps the two together."""
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
        help="only this stored case: an id, a name or a name with *; or the problem of a failure, in the test that failed: "
        "its JSON, the same compressed (z:...) or a file of it (default: all)",
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
    given = _given(option.case)
    plan = Plan(
        adapter=adapter,
        operations=tuple(operation.within(claims.declared_limits(operation), adapter.device) for operation in chosen),
        formats=_formats(option),
        hazards=_chosen(option.hazard, tuple(HAZARDS), "hazard"),
        cases=_cases(option.case, given),
        claims=claims if option.claim is None else replace(claims, lowered_to=grade_named(option.claim)),
        effort=EFFORTS[_chosen(option.effort, tuple(EFFORTS), "effort")[0]],
        seed=int(option.hypothesis_seed or 0),
        command=_command(option),
        given=given,
        folder=Path(option.report) if option.report else None,
    )
    _check_formats(plan)
    return replace(plan, reduced_by=_reduced_by(option, plan))


def _given(text: str | None) -> Given | None:
    """The problem of --case, if it gives one, for a test that there is."""
    if text is None or not is_given(text):
        return None
    given, files = given_from(text), sorted(Path(__file__).parent.glob("test_*.py"))
    known = [name for path in files for name in re.findall(r"^def (test_\w+)", path.read_text(), flags=re.MULTILINE)]
    if given.test not in known:
        raise ValueError(f"--case: test {given.test!r} is not known; allowed: {', '.join(sorted(known))}")
    return given


def _cases(pattern: str | None, given: Given | None) -> tuple[Case, ...]:
    """The stored cases that are asked for, or the given one."""
    if given is not None:
        return (given.case,)
    return cases_matching(pattern) if pattern else stored_cases()


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
    """--case runs the stored cases only, or the test that a failure names."""
    if not config.option.case:
        return
    given = config.stash[_JUDGE].plan.given
    kept = [item for item in items if (_function(item) == OF_CASES if given is None else _is_asked(item, given))]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _function(item: pytest.Item) -> str:
    return str(getattr(item, "originalname", item.name))


def _parameters(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return {} if callspec is None else dict(callspec.params)


def _is_asked(item: pytest.Item, given: Given) -> bool:
    """True of the test that is given, in the format of the problem, with its parameters, of what can be asked the problem."""
    if _function(item) != given.test or given.test == OF_CASES:
        return _function(item) == given.test
    parameters, problem = _parameters(item), given.problem
    same = all(parameters.get(name, value) == value for name, value in given.parameters.items())
    has_answer = "label" not in given.parameters and problem.num_classes > 0
    fits = not has_answer or parameters["operation"].whole.refusal(problem) is None
    return same and fits and parameters["fmt"] == problem.format


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tell the judge which test the next measurements and failures belong to."""
    others = {name: value for name, value in _parameters(item).items() if name not in _COMMON}
    item.config.stash[_JUDGE].begin_test(_function(item), others)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """--junitxml: the lowest grade and the worst error that a test measured become its properties."""
    recorder = item.config.stash[_JUDGE].recorder
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
    """Write what reproduces a failed test beside the report, where there will be one: a long input, and a script."""
    judge = item.config.stash.get(_JUDGE, None)
    if judge is None or not report.failed:
        return
    judge.repro.write(str(report.longrepr))
    miss, judge.failure = judge.failure, None
    if miss is not None and item.config.option.report:
        named = replace(miss, name=item.name)
        written = write_reproducers([named], judge.plan.adapter, Path(item.config.option.report)).values()
        report.sections += [("reproducer", f"python {path}") for path in written]


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
