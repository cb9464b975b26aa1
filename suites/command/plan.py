"""Turns the options of the command line into the plan of a run."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from adapters.adapter import Adapter
from adapters.isolation import Isolated
from adapters.loading import load_adapter, operations_on_trial
from adapters.operation import Operation, modes_of
from adapters.process import Allowance, Trial
from reference.formats import FORMATS, Format
from reference.grades import Grade, grade_named
from reference.names import nearest, not_known
from suites.command.first_call import first_call
from suites.command.proposal import proposal_for
from suites.command.selection import case_combinations
from suites.command.values import check_options, name_of, names_of, seed_of
from suites.inputs.cases import Case, cases_matching, stored_cases
from suites.inputs.given import OF_CASES, Given, given_from, is_given
from suites.inputs.hazards import HAZARDS
from suites.judging.claims import Claims
from suites.judging.claims_file import claims_of, claims_path
from suites.judging.dead_entries import live_claims
from suites.judging.effort import EFFORTS
from suites.judging.judge import A_SELECTION, Plan
from suites.judging.subject import subject_of

ACCEPT = "--accept-limits"

COMMAND = os.environ.get("SOFTMAX_CE_COMMAND", "pytest suites/")
"""What starts a run; `softmax-ce` sets it, since `suites/` lies where its users do not look."""

SUITES = Path(__file__).parents[1].resolve()
"""The folder of the suites."""


_SELECTING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise")
"""Options of pytest that leave out tests."""


def plan_of(option: Any) -> Plan:
    """The plan that the options make; every mistake in them is an error in one line.

    Raises:
      AdapterError, CaseError, ClaimsError, ValueError: an option names what is not there.
    """
    check_options(option)
    effort, seed = EFFORTS[name_of(option.effort, EFFORTS, "effort")], seed_of(option.hypothesis_seed)
    adapter, operations = _on_trial(option)
    claims = live_claims(adapter, claims_path(option.backend, option.implementation, option.claims), operations)
    chosen = _chosen_operations(option, adapter, operations)
    given = _given(option.case)
    plan = Plan(
        adapter=adapter,
        operations=_within(chosen, claims, adapter),
        formats=_formats(option),
        hazards=names_of(option.hazard, tuple(HAZARDS), "hazard"),
        cases=_cases(option.case, given),
        claims=claims if option.claim is None else replace(claims, lowered_to=_grade(option.claim)),
        effort=effort,
        seed=seed,
        command=_command(option),
        given=given,
        folder=Path(option.report) if option.report else None,
        subject=subject_of(option.backend, option.implementation),
        framework=_framework(option, adapter),
    )
    _check_formats(plan)
    _check_cases(option.case, plan)
    plan = replace(plan, reduced_by=_reduced_by(option, plan))
    return _probed(plan, option.accept_limits) if _is_probed(option) else plan


def _framework(option: Any, adapter: Adapter) -> Claims:
    """What is known of the framework's own operations, where a kernel may share what it misses with them."""
    if option.implementation is None or option.fail_shared:
        return Claims()
    return claims_of(adapter, claims_path(option.backend))


def _within(chosen: tuple[Operation, ...], claims: Claims, adapter: Adapter) -> tuple[Operation, ...]:
    """The operations in their arithmetic and within their limits, those of the claims file too."""
    return tuple(claims.as_declared(op, adapter.device) for op in chosen)


def _is_probed(option: Any) -> bool:
    """True of an implementation, but where one case or none is asked, unless what the probe says counts."""
    return option.implementation is not None and (option.accept_limits or not (option.case or option.collectonly))


def _probed(plan: Plan, accept: bool) -> Plan:
    """The plan with what the start-up probe says, and with that as limits where it is accepted for this run."""
    first = first_call(plan)
    proposal = proposal_for(plan.adapter, plan.operations, plan.formats)
    plan = replace(
        plan,
        notes=tuple(proposal.lines(accept)),
        proposed="" if accept else proposal.decorator,
        heard=(*([first] if first else []), *proposal.heard),
    )
    if not accept or proposal.limit is None:
        return plan
    return replace(
        plan,
        operations=tuple(op.within((proposal.limit,), plan.adapter.device) for op in plan.operations),
        reduced_by=(*plan.reduced_by, f"{ACCEPT} ({proposal.said})"),
    )


def _given(text: str | None) -> Given | None:
    """The problem of --case, if it gives one, for a test that there is."""
    if text is None or not is_given(text):
        return None
    given, files = given_from(text), sorted(SUITES.glob("test_*.py"))
    known = [name for path in files for name in re.findall(r"^def (test_\w+)", path.read_text(), flags=re.MULTILINE)]
    if given.test not in known:
        raise ValueError(f"--case: test {not_known(given.test, sorted(known))}")
    return given


def _cases(pattern: str | None, given: Given | None) -> tuple[Case, ...]:
    """The stored cases that are asked for, or the given one."""
    if given is not None:
        return (given.case,)
    return cases_matching(pattern) if pattern else stored_cases()


def _grade(name: str) -> Grade:
    try:
        return grade_named(name)
    except ValueError as error:
        raise ValueError(f"--claim: {error}") from None


def _formats(option: Any) -> tuple[Format, ...]:
    return tuple(FORMATS[name] for name in names_of(option.dtype, tuple(FORMATS), "dtype"))


def _on_trial(option: Any) -> tuple[Adapter, tuple[Operation, ...]]:
    """The backend, here or in another process, and what is on trial of it."""
    if not option.isolate:
        adapter = load_adapter(option.backend, option.device)
        return adapter, operations_on_trial(adapter, option.implementation)
    trial = Trial(option.backend, option.device, option.implementation)
    given = {"seconds": option.call_timeout, "gib": option.call_memory}
    isolated = Isolated(trial, Allowance(**{name: value for name, value in given.items() if value is not None}))
    return isolated, isolated.operations()


def _chosen_operations(option: Any, adapter: Adapter, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    known = modes_of(operations)
    modes = known[:1] if option.mode is None else names_of(option.mode, known, "mode")
    pattern = option.operation or "*"
    in_modes = [operation for operation in operations if operation.mode in modes]
    chosen = tuple(operation for operation in in_modes if fnmatchcase(operation.name, pattern))
    if not chosen:
        names = [operation.name for operation in in_modes]
        none = f"--operation: nothing of backend {adapter.name!r} matches {pattern!r}"
        raise ValueError(f"{none}; there is: {', '.join(names)}{nearest(pattern, names)}")
    return chosen


def _check_formats(plan: Plan) -> None:
    taken = {name for operation in plan.operations for name in operation.whole.arithmetic}
    if not any(fmt.name in taken for fmt in plan.formats):
        asked = ", ".join(fmt.name for fmt in plan.formats)
        raise ValueError(f"--dtype: no chosen operation takes {asked}; they take: {', '.join(sorted(taken))}")


def _check_cases(given: str | None, plan: Plan) -> None:
    """Refuse stored cases that no chosen operation is asked: nothing would run, and nothing would fail."""
    of_cases = plan.given is None or plan.given.test == OF_CASES
    if given is not None and of_cases and not case_combinations(plan):
        dtypes = ", ".join(fmt.name for fmt in plan.formats)
        raise ValueError(
            f"--case: {given[:60]!r} is asked of no chosen operation, in none of {dtypes}; "
            "allowed: a case of a chosen dtype, hazard and kind of target"
        )


def _command(option: Any) -> str:
    given = {name: getattr(option, name) for name in ("backend", "implementation", "device", "mode", "claims", "claim")}
    changed = {name: value for name, value in given.items() if value and (name, value) != ("device", "cpu")}
    given_flags = {"--isolate": option.isolate, ACCEPT: option.accept_limits, "--fail-shared": option.fail_shared}
    flags = [flag for flag, is_set in given_flags.items() if is_set]
    return " ".join([COMMAND, *(f"--{name}={shlex.quote(value)}" for name, value in changed.items()), *flags])


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
