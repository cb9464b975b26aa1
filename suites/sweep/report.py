"""The report of a sweep: worst errors, grades reached, regions of kinds of failure; `exhaustive` if nothing is left out."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from adapters.adapter import Adapter
from adapters.operation import Operation
from adapters.question import Question
from reference.grades import Grade
from reference.problem import Problem
from suites.judging.claims import Claims
from suites.judging.claims_file import claims_of, claims_path
from suites.judging.recorder import worst_entry
from suites.sweep.adding_up import entries_of
from suites.sweep.chunk import Job
from suites.sweep.compiled.tally import FAILURES, QUANTITIES
from suites.sweep.journal import Journal, JournalError
from suites.sweep.outcome import Outcome
from suites.sweep.run import SCHEMA
from suites.sweep.settle import measured

Report = dict[str, Any]


def left_out(job: Job, journal: Journal) -> str | None:
    """Why a sweep is REDUCED; None if it is exhaustive."""
    missing = job.space.chunks - len(journal.finished)
    return job.space.left_out or (f"{missing} of {job.space.chunks} chunks have not been run" if missing else None)


def report_of(job: Job, adapter: Adapter, operation: Operation, journal: Journal) -> Report:
    """What the journal shows; JSON.

    Raises:
      JournalError: its chunks are not those of the job.
    """
    _check_total(job, journal)
    total, reason = journal.total, left_out(job, journal)
    claims = claims_of(adapter, claims_path(job.backend, job.implementation, job.claims))
    # They ask the worst entries again, here: what that leaves behind is told of every worker.
    results = [_result(job, adapter, operation, claims, total, q) for q in job.quantities if total.rows]
    states = {"floating_point_states": list(adapter.foreign.told)} if adapter.foreign.told else {}
    return {
        "schema": SCHEMA,
        "coverage": "REDUCED" if reason else job.space.extent,
        "left_out": reason,
        "backend": job.backend,
        "operation": job.operation,
        "formula": operation.formula,
        "device": adapter.device,
        "made_with": dict(job.made_with),
        "platform": f"{platform.system()} {platform.machine()}",
        "dtype": job.space.dtype,
        "space": job.space.story,
        "chunks": {"finished": len(journal.finished), "planned": job.space.chunks},
        "questions": total.rows,
        "undecided_by_the_compiled_pass": total.undecided,
        "seconds": {name: round(value, 1) for name, value in total.seconds.items()},
        "ratio": round(total.seconds["chunk"] / total.seconds["framework"], 3) if total.seconds["framework"] else None,
        "results": results,
        **states,
    }


def _check_total(job: Job, journal: Journal) -> None:
    """Refuse a journal whose counts agree with one another, and not with what the job asks."""
    rows, asked = journal.total.rows, job.space.questions
    counted = {QUANTITIES[q]: int(journal.total.tally.grades[q].sum()) for q in job.quantities}
    is_asked = all(counted[QUANTITIES[q]] == rows * entries_of(q, job.space.classes) for q in job.quantities)
    is_whole = len(journal.finished) == job.space.chunks
    if not is_asked or rows > asked or (is_whole and rows != asked):
        told = ", ".join(f"{count} of {quantity}" for quantity, count in counted.items())
        chunks = f"{len(journal.finished)} of {job.space.chunks} chunks"
        raise JournalError(
            f"{journal.path}: {chunks} have {rows} questions and as entries {told}; the whole sweep has {asked} questions; "
            "move the file away to start anew"
        )


def holds(report: Report) -> bool:
    """True if every claim held for all that was swept."""
    return all(result["claim_holds"] for result in report["results"])


def _result(job: Job, adapter: Adapter, operation: Operation, claims: Claims, total: Outcome, q: int) -> dict[str, Any]:
    quantity, tally = QUANTITIES[q], total.tally
    reached = Grade(int(np.flatnonzero(tally.grades[q])[0]))
    claimed = claims.claimed(operation, job.space.dtype, quantity)
    return {
        "quantity": str(quantity),
        "returned_dtype": operation.returned(quantity, job.space.format).name,
        "entries": int(tally.grades[q].sum()),
        "reached": reached.label,
        "claimed": claimed.label,
        "claim_holds": reached >= claimed,
        "worst_ulps": float(tally.worst[q]),
        "worst": worst_of(adapter, operation, job, total, q),
        "grades": {grade.label: int(tally.grades[q, grade]) for grade in Grade},
        "failing": {name: _region(job, total, q, which) for which, name in enumerate(FAILURES) if tally.failing[q, which]},
    }


def _region(job: Job, total: Outcome, q: int, which: int) -> dict[str, Any]:
    """How many entries fail in a way, and the least box that has them: exact, both ends included."""
    names = [f"x{n}" for n in range(job.space.classes)] + ["gap"]
    box = {name: [low.hex(), high.hex()] for name, (low, high) in zip(names, total.tally.box[q, which].tolist(), strict=True)}
    bins = {"bins_of_the_map": int(np.count_nonzero(total.tally.seen[q] & (1 << which)))} if job.space.has_map else {}
    return {"entries": int(total.tally.failing[q, which])} | box | bins


def worst_of(adapter: Adapter, operation: Operation, job: Job, total: Outcome, q: int) -> dict[str, Any] | None:
    """The worst error asked for again, alone; `repeated` says whether it was the same. None if nothing was measured."""
    tally, quantity = total.tally, QUANTITIES[q]
    if tally.worst[q] < 0:
        return None
    target = int(tally.worst_place[q, 0])
    problem = Problem(tally.worst_logits[q][None, :], np.array([target]), job.space.format)
    seen = adapter.observe(Question(operation, problem, (quantity,)))
    if seen.error or seen.violations:
        return {"error": seen.error or seen.violations[0]}
    measurement = measured(operation, job.space.format, problem.logits, target, q, seen.values[quantity])
    entry = worst_entry(measurement)
    again = float(np.where(measurement.measurable, measurement.ulps, -1.0).max())
    return entry | {"ulps": again, "repeated": bool(np.isclose(again, tally.worst[q], rtol=1e-6, atol=1e-9))}


def lines_of(report: Report) -> list[str]:
    """The report in words."""
    seconds, ratio = report["seconds"], report["ratio"]
    lines = [
        f"{report['operation']} ({report['formula']}), {report['dtype']}, {report['backend']} on {report['device']}",
        (
            f"{report['space']}, every target: {report['questions']} questions, "
            f"{report['chunks']['finished']} of {report['chunks']['planned']} chunks"
        ),
        f"processor time: {seconds['framework']} s framework, {seconds['comparison']} s comparison"
        + (f", together {ratio} of the framework's own" if ratio else ""),
    ]
    lines += [f"{told}; it ran so, and was judged in the default state" for told in report.get("floating_point_states", ())]
    for result in report["results"]:
        verb = "holds" if result["claim_holds"] else "FAILS"
        lines.append(
            f"{result['quantity']}: {result['reached']}, worst {result['worst_ulps']:.10g} ulp; "
            f"claim {result['claimed']!r} {verb}; {result['entries']} entries"
        )
        for name, region in result["failing"].items():
            low, high = (float.fromhex(end) for end in region["gap"])
            lines.append(f"    {name}: {region['entries']} entries, gaps {low:.8g} to {high:.8g}")
    lines.append(f"coverage: {report['coverage']}" + (f" ({report['left_out']})" if report["left_out"] else ""))
    return lines
