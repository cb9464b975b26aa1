"""The verdict of a run and its reason: CONFORMS, REDUCED, FAILS, NOTHING RAN or INTERRUPTED."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from suites.report.wording import counted, first_of

if TYPE_CHECKING:  # reading a report imports no pytest
    from suites.judging.outcomes import Ending, Outcomes

CONFORMS, REDUCED, FAILS, NOTHING_RAN, INTERRUPTED = "CONFORMS", "REDUCED", "FAILS", "NOTHING RAN", "INTERRUPTED"

VERDICTS = {
    CONFORMS: "Every claim held, but for what the framework's own operation misses too, and nothing was left out.",
    REDUCED: "Every claim that was tried held, but the run was narrowed: it says nothing about the rest.",
    FAILS: "A claim, or a test of an invariant, failed.",
    NOTHING_RAN: "No test ran: nothing was judged.",
    INTERRUPTED: "The run ended before its tests had: nothing is judged as a whole.",
}
"""What each verdict means, from best to worst."""

TESTS_FAILED, STOPPED, CRASHED, NO_TESTS = 1, 2, 3, 5
"""Exit statuses of pytest."""


def verdict_of(ending: Ending, reduced_by: Sequence[str]) -> tuple[str, str]:
    """The verdict and, in words, its reason.

    >>> from suites.judging.outcomes import Ending
    >>> verdict_of(Ending(NO_TESTS), ["-k nothing"])
    ('NOTHING RAN', 'no test is left; narrowed by -k nothing')
    """
    verdict, reason = _verdict(ending, reduced_by)
    narrowed = f"narrowed by {', '.join(reduced_by)}" if reduced_by else ""
    return verdict, "; ".join(part for part in (reason, narrowed) if part)


def _verdict(ending: Ending, reduced_by: Sequence[str]) -> tuple[str, str]:
    counts, causes = ending.outcomes.counts, ending.outcomes.causes
    wrong = counts["failed"] + counts["error"]
    failed = f"{counted(wrong, 'test')} failed for {counted(len(causes), 'cause')}{_shared(ending.outcomes)}"
    if ending.exit_status not in (0, TESTS_FAILED, NO_TESTS):
        return INTERRUPTED, f"{_interruption(ending)}{f'; {failed} before' if wrong else ''}"
    if wrong:
        left = ending.collected - sum(counts.values())
        return FAILS, failed + (f"; {counted(left, 'test')} were not run any more" if left > 0 else "")
    if not ending.outcomes.ran:
        skipped = f"all {counted(counts['skipped'], 'test')} were skipped: {ending.outcomes.skipped_for}"
        return NOTHING_RAN, skipped if counts["skipped"] else "no test is left"
    if ending.exit_status != 0:
        return FAILS, f"pytest ended with exit status {ending.exit_status}"
    shown = _shown(ending.outcomes)
    if not counts["passed"]:
        return REDUCED, f"{shown}; no other claim was tried"
    held = f"{shown}; every {'other ' if ending.outcomes.shared else ''}claim held"
    return (REDUCED, f"{held} that was tried") if reduced_by else (CONFORMS, held)


def _shown(outcomes: Outcomes) -> str:
    """What a run without failures showed."""
    counts = outcomes.counts
    known = f", {counted(counts['xfailed'], 'test')} showed what is known" if counts["xfailed"] else ""
    return f"{counted(counts['passed'], 'test')} passed{known}{_shared(outcomes)}"


def _shared(outcomes: Outcomes) -> str:
    """How many failures a kernel shares with which operations of the framework, and which entries of it; or nothing."""
    if not outcomes.shared:
        return ""
    failures = counted(outcomes.counts["shared"], "failure")
    (framework,) = {shared.framework for shared in outcomes.shared}
    operations = dict.fromkeys(shared.operation for shared in outcomes.shared)
    entries = dict.fromkeys(shared.entry.id for shared in outcomes.shared)
    return f", {failures} shared with {framework}'s own {' and '.join(operations)} ({first_of([*entries])})"


def _interruption(ending: Ending) -> str:
    done, why = ending.outcomes.ran + ending.outcomes.counts["skipped"], ending.said or "pytest was stopped"
    if ending.exit_status == CRASHED:
        why = "the suite itself failed (INTERNALERROR above)"
    return f"{why} after {done} of {counted(ending.collected, 'test')}"
