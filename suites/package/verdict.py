"""What a run says of a kernel, short: its verdict, the grade of each quantity, and each cause of failures in four lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

SCHEMA = "softmax-ce-verdict/1"


@dataclass(frozen=True)
class Reached:
    """The grade that an operation reached for a quantity in a format, and on how many numbers it rests."""

    operation: str
    mode: str
    dtype: str
    quantity: str
    claimed: str
    reached: str
    worst_ulps: float
    entries: int
    vacuous: int
    """How many of the entries say nothing: `stable` would let 0 or twice the value pass there."""


@dataclass(frozen=True)
class Failure:
    """Tests that failed alike, told at the smallest input: its lines are those of a failure of `pytest suites/`."""

    cause: str
    tests: int
    lines: Mapping[str, str]
    reproducer: str | None
    """The text of a script that shows it; None if there is none."""

    def __str__(self) -> str:
        return "\n".join(f"{name:7}: {line}" for name, line in self.lines.items())


@dataclass(frozen=True)
class Verdict:
    """What `judge` returns.

    `name` is CONFORMS, REDUCED, FAILS, NOTHING RAN or INTERRUPTED, `reason` says why. `holds` is True of the first two: every
    claim held that was tried, but for what the framework's own operation misses too, which `reason` names. `identifier` is that
    of the report, which is in `folder`, unless that was temporary: then `folder` is None. `printed` is all that the run wrote.
    """

    name: str
    reason: str
    identifier: str
    subject: str
    backend: str
    seed: int
    effort: str
    limits: tuple[str, ...]
    rows: tuple[Reached, ...]
    failures: tuple[Failure, ...]
    folder: Path | None = None
    printed: str = field(default="", repr=False)

    @property
    def holds(self) -> bool:
        """True if every claim held that was tried, but for what the framework misses too."""
        return self.name in {"CONFORMS", "REDUCED"}

    def __bool__(self) -> bool:
        """As `holds`, so that `assert judge(...)` is what it looks like."""
        return self.holds

    @property
    def entries(self) -> int:
        """How many numbers were compared."""
        return sum(row.entries for row in self.rows)

    @property
    def vacuous(self) -> int:
        """How many of them say nothing; see `Reached`."""
        return sum(row.vacuous for row in self.rows)

    def grade(self, dtype: str, quantity: str = "loss") -> str:
        """The grade that every operation of the kernel reached for a quantity in a format, by its name.

        Raises:
          KeyError: it was not asked; the message lists what was.
        """
        found = [row for row in self.rows if (row.dtype, row.quantity) == (dtype, quantity)]
        if not found:
            asked = ", ".join(dict.fromkeys(f"{row.dtype} {row.quantity}" for row in self.rows)) or "nothing"
            raise KeyError(f"{dtype} {quantity} was not asked; there is: {asked}")
        return min((row.reached for row in found), key=_GRADES.index)

    def as_dict(self) -> dict[str, Any]:
        """All but what was printed, as JSON has it."""
        told = {key: value for key, value in asdict(self).items() if key not in {"folder", "printed", "name"}}
        folder = None if self.folder is None else str(self.folder)
        numbers = {"entries": self.entries, "vacuous": self.vacuous}
        return {"schema": SCHEMA, "verdict": self.name, "holds": self.holds, **numbers, **told, "folder": folder}

    def to_json(self) -> str:
        """The verdict as one line of JSON, in ASCII: what a kernel raises may be of no other encoding."""
        return json.dumps(self.as_dict(), allow_nan=False)

    def __str__(self) -> str:
        """The verdict with its reason, and below it each cause of failures in its lines."""
        vacuous = f"; {self.vacuous} of {self.entries} entries judged vacuously" if self.vacuous else ""
        return "\n\n".join([f"{self.name}: {self.reason}{vacuous}", *map(str, self.failures)])

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, a table of the grades, and the causes of failures."""
        head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
        body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in _cells(row))}</tr>" for row in self.rows)
        failed = "".join(f"<pre>{escape(str(failure))}</pre>" for failure in self.failures)
        title = f"<p><b>{escape(self.subject)}: {escape(self.name)}</b>: {escape(self.reason)}</p>"
        return f"{title}<table><tr>{head}</tr>{body}</table>{failed}"


_COLUMNS = ("operation", "dtype", "quantity", "claimed", "reached", "worst error in ulp", "entries")
_GRADES = ("not measured", "none", "finite", "stable", "componentwise", "accurate", "faithful", "correct")
"""From the lowest to the highest: reference/grades.py, which this process does not import."""


def _cells(row: Reached) -> tuple[object, ...]:
    operation = row.operation if row.mode == "eager" else f"{row.operation}@{row.mode}"
    return operation, row.dtype, row.quantity, row.claimed, row.reached, f"{row.worst_ulps:.3g}", row.entries


def verdict_of(file: Path, printed: str) -> Verdict:
    """The verdict of a report.

    Arguments:
      file: the JSON of a report, its scripts beside it.
      printed: what the run wrote.
    """
    report = json.loads(file.read_text(encoding="utf-8"))
    subject = report["environment"]["implementation"]
    return Verdict(
        name=report["verdict"],
        reason=report["reason"],
        identifier=report["identifier"],
        subject=subject["name"] if subject else report["environment"]["backend"],
        backend=report["environment"]["backend"],
        seed=report["run"]["seed"],
        effort=report["run"]["effort"],
        limits=tuple(dict.fromkeys(limit["text"] for limit in report.get("limits", ()))),
        rows=tuple(map(_reached, report["results"])),
        failures=tuple(_failure(each, file.parent) for each in report["failures"]),
        folder=file.parent,
        printed=printed,
    )


def _reached(row: Mapping[str, Any]) -> Reached:
    return Reached(**{name: row[name] for name in Reached.__dataclass_fields__} | {"vacuous": row["vacuous"]["entries"]})


def _failure(told: Mapping[str, Any], folder: Path) -> Failure:
    script = told.get("script")
    text = (folder / script).read_text(encoding="utf-8") if script else None
    return Failure(told["cause"], len(told["tests"]), told["lines"], text)
