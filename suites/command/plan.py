"""Turns the options of the command line into the plan of a run."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from adapters.adapter import Adapter
from adapters.isolation import Allowance, Isolated, Trial
from adapters.loading import load_adapter, operations_on_trial
from adapters.operation import Operation, modes_of
from reference.formats import FORMATS, Format
from reference.grades import grade_named
from suites.inputs.cases import Case, cases_matching, stored_cases
from suites.inputs.given import Given, given_from, is_given
from suites.inputs.hazards import HAZARDS
from suites.judging.claims import claims_of, claims_path
from suites.judging.effort import EFFORTS
from suites.judging.judge import A_SELECTION, Plan
from suites.judging.subject import subject_of

SUITES = Path(__file__).parents[1].resolve()
"""The folder of the suites."""


_SELECTING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise")
"""Options of pytest that leave out tests."""


def plan_of(option: Any) -> Plan:
    """The plan that the options make; every mistake in them is an error in one line.

    Raises:
      AdapterError, CaseError, ClaimsError, ValueError: an option names what is not there.
    """
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
        subject=subject_of(option.backend, option.implementation),
    )
    _check_formats(plan)
    return replace(plan, reduced_by=_reduced_by(option, plan))


def _given(text: str | None) -> Given | None:
    """The problem of --case, if it gives one, for a test that there is."""
    if text is None or not is_given(text):
        return None
    given, files = given_from(text), sorted(SUITES.glob("test_*.py"))
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


def _reduced_by(option: Any, plan: Plan) -> tuple[str, ...]:
    narrowing = ("dtype", "operation", "hazard", "case", "claim")
    reasons = [f"--{name}={getattr(option, name)}" for name in narrowing if getattr(option, name)]
    if plan.effort.is_reduced:
        reasons.append(f"--effort={plan.effort.name}")
    if any(getattr(option, name, None) for name in _SELECTING) or not _whole_suite(option.file_or_dir or [str(SUITES)]):
        reasons.append(A_SELECTION)
    return tuple(reasons)


def _whole_suite(places: list[str]) -> bool:
    return any(Path(place).resolve() in (SUITES.parent, SUITES) for place in places)
