"""The known-bug corpus: public bugs, each with what catches its mistake here; writes ci/known_bugs.md.

python -m tests.planted.corpus
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DATA = Path(__file__).parent / "known_bugs.toml"
PAGE = ROOT / "ci" / "known_bugs.md"
OUTCOMES = ("caught", "missed", "out of reach")

_KINDS = {"defect": "planted", "case": "case", "deviation": "deviation", "test": "test"}
"""Kinds of references, as the page calls them."""

_HEAD = """# Known bugs

Public bugs of softmax cross-entropy and the losses around it, and what catches the same mistake here. Of those within
reach, {caught} of {reach} are caught. {out} more cannot show here, each for the reason given.

A *planted* defect is a wrong kernel of `tests/planted/` that the suite must reject. A *case* is a stored input of
`suites/cases/`. A *deviation* is a strict entry of `ci/claims/`, where the mistake still stands in a pinned version. A *test*
is a function of `suites/` or `tests/`.
"Emulated" is a bug of a device or another library whose mistake is planted in a kernel for the CPU.

Made of `tests/planted/known_bugs.toml` by `python -m tests.planted.corpus`; do not edit.
"""


@dataclass(frozen=True)
class Bug:
    """One entry; `reason` says why nothing catches it, and is empty where something does."""

    id: str
    category: str
    framework: str
    origin: str
    """The public thread, or else where it can be read or seen."""
    mistake: str
    caught_by: tuple[str, ...]
    outcome: str
    reason: str

    @property
    def name(self) -> str:
        """The id, a link where there is a thread."""
        return f"[{self.id}]({self.origin})" if self.origin.startswith("https://") else f"{self.id} ({self.origin})"

    @property
    def answer(self) -> str:
        """What catches it, or why nothing does."""
        if self.reason:
            return f"{self.outcome}: {self.reason}"
        split = (reference.split(":", 1) for reference in self.caught_by)
        return ", ".join(f"{_KINDS[kind]} `{what}`" for kind, what in split)


def parsed(entry: dict[str, object]) -> Bug:
    """One [[bug]] of the file.

    Raises:
      ValueError: it does not have exactly one origin and one outcome.
    """
    keys = {"caught_by": "caught", "missed": "missed", "out_of_reach": "out of reach"}
    given = [key for key in keys if entry.get(key)]
    origins = [str(entry[key]) for key in ("link", "source") if key in entry]
    if len(given) != 1 or len(origins) != 1:
        raise ValueError(f"{entry.get('id')}: one of link and source, and one of {', '.join(keys)}")
    told = {key: str(entry[key]) for key in ("id", "category", "framework", "mistake")}
    unknown = set(entry) - {*told, *keys, "link", "source"}
    if unknown:
        raise ValueError(f"{told['id']}: unknown keys {sorted(unknown)}")
    value = entry[given[0]]
    caught_by = tuple(map(str, value)) if isinstance(value, list) else ()
    return Bug(**told, origin=origins[0], caught_by=caught_by, outcome=keys[given[0]], reason="" if caught_by else str(value))


def known_bugs() -> list[Bug]:
    """All of them, in the order of the file."""
    return [parsed(entry) for entry in tomllib.loads(DATA.read_text())["bug"]]


def counts(bugs: list[Bug]) -> dict[str, Counter[str]]:
    """How many there are of each outcome, by category."""
    found: dict[str, Counter[str]] = {}
    for bug in bugs:
        found.setdefault(bug.category, Counter())[bug.outcome] += 1
    return found


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    escaped = [tuple(cell.replace("|", r"\|") for cell in row) for row in [head, tuple("---" for _ in head), *rows]]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped) + "\n"


def page(bugs: list[Bug]) -> str:
    """The page: how many of each category, then a table for each."""
    per_category = counts(bugs)
    total = sum(per_category.values(), Counter[str]())
    totals = {"caught": total["caught"], "reach": total["caught"] + total["missed"], "out": total["out of reach"]}
    numbers = [(name, *(str(n[outcome]) for outcome in OUTCOMES)) for name, n in [*per_category.items(), ("all", total)]]
    parts = [_HEAD.format(**totals), table(("category", *OUTCOMES), numbers)]
    for category in per_category:
        rows = [(bug.name, bug.framework, bug.mistake, bug.answer) for bug in bugs if bug.category == category]
        parts += [f"## {category.capitalize()}\n", table(("bug", "of", "mistake", "caught by, or why not"), rows)]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(known_bugs()))
