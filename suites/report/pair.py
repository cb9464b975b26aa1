"""Two reports held against each other: whether they are of one thing, and whether both runs asked the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from suites.report.schema import Report
from suites.report.wording import NOT_SEEN, limits, not_seen, processor, short_name

UNLIKE = (
    "Seeds, efforts, hazards, or versions of the suite or of Hypothesis differ: the runs searched other problems, so grades "
    "and errors may differ. Worst errors and numbers of entries are not held against each other"
)


def on_trial(report: Report) -> str:
    """What kind of thing a report is of: a backend's own operations, or what is the user's own beside them.

    A kernel under repair has another hash, and may have another name: it is the same thing all the same.
    """
    backend = report["environment"]["backend"]
    return str(backend) if report["environment"]["implementation"] is None else f"a kernel of one's own ({backend})"


def searched(report: Report) -> tuple[object, ...]:
    """What decides which problems a run searches."""
    run, packages = report["run"], report["environment"]["packages"]
    hazards = [option for option in run["reduced_by"] if option.startswith("--hazard=")]
    return run["seed"], run["effort"], packages.get("hypothesis"), report["suite"]["version"], tuple(hazards)


@dataclass(frozen=True)
class Pair:
    """A report and the first, the baseline."""

    first: Report
    later: Report

    @cached_property
    def is_of_one(self) -> bool:
        """True if one thing is on trial in both; a kernel that was changed is the same, whatever its name."""
        return on_trial(self.first) == on_trial(self.later)

    @cached_property
    def searched_alike(self) -> bool:
        """True if both runs searched the same problems."""
        return searched(self.first) == searched(self.later)

    def asked_alike(self, operation: str) -> bool:
        """True if an operation, by its short name, was asked the same: what it declares narrows its problems."""
        return self.searched_alike and _limits_of(self.first, operation) == _limits_of(self.later, operation)

    def notes(self) -> Iterator[str]:
        """What is no regression and may explain one."""
        if not self.searched_alike:
            yield UNLIKE
        before, after = (report["environment"]["implementation"] for report in (self.first, self.later))
        if before and after and before["name"] != after["name"]:
            names = f"{after['name']}, was {before['name']}"
            yield f"The kernel has another name ({names}): rows and tests are compared by the name of the operation"
        if processor(self.first) != processor(self.later):
            processors = f"{processor(self.later)}, was {processor(self.first)}"
            yield f"Another processor ({processors}): a framework chooses its code by it, so grades and errors may differ"
        if unseen := sorted(set(not_seen(self.later)) - set(not_seen(self.first))):
            yield f"Deviations {NOT_SEEN} ({processor(self.later)}): {', '.join(unseen)}"


def _limits_of(report: Report, operation: str) -> set[str]:
    return {text for text, names in limits(report).items() if operation in {short_name(report, name) for name in names}}
