"""The files of a sweep's report: JSON, the picture, and worst inputs as stored cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reference.formats import FORMATS, format_named
from suites.inputs.cases import problem_from
from suites.inputs.hazards import HAZARDS
from suites.inputs.own_file import write_anew
from suites.report.write import as_json
from suites.sweep.chunk import Job, SweepError
from suites.sweep.outcome import Outcome
from suites.sweep.picture import picture_of
from suites.sweep.report import Report

_EVERYWHERE = ("moderate", "bit_patterns", "offset")
"""Hazards that say little of a worst input: most rows belong to them."""


def write_files(report: Report, job: Job, total: Outcome, stem: Path) -> list[Path]:
    """Write JSON and picture beside the journal; the paths written.

    Raises:
      SweepError: one cannot be written; the journal has everything that it is made of.
    """
    texts = {stem.with_suffix(".json"): as_json(report)}
    if job.space.has_map:
        title = f"{report['operation']}, {report['space']}: {report['coverage']}"
        texts[stem.with_suffix(".svg")] = picture_of(job, total, title)
    return write_texts(texts)


def write_texts(texts: dict[Path, str]) -> list[Path]:
    """Write texts, each ending with one line end; the paths."""
    for path, text in texts.items():
        try:
            write_anew(path, text.rstrip("\n") + "\n")
        except OSError as error:
            raise SweepError(f"{path}: {error.strerror}; make room and give the same command again") from None
    return list(texts)


def case_text(name: str, worst: dict[str, Any], story: str, provenance: str) -> str:
    """One `[[case]]` of suites/cases/*.toml: the input of a worst error, as `recorder.worst_entry` describes it."""
    described = worst["problem"]
    problem = problem_from(described, format_named(described["dtype"], FORMATS))
    named = [name for name, hazard in HAZARDS.items() if hazard.holds(problem)]
    hazard = next((name for name in named if name not in _EVERYWHERE), named[0])
    rows = ", ".join("[" + ", ".join(f'"{number}"' for number in row) + "]" for row in described["logits"])
    return "\n".join(
        [
            "[[case]]",
            f'id = "{name}"',
            f'hazard = "{hazard}"',
            f'dtypes = ["{described["dtype"]}"]',
            f"logits = [{rows}]",
            f"target = {described['target']}",
            f'story = "{story}"',
            f'provenance = "{provenance}"',
            "",
        ]
    )


def cases_of(report: Report) -> str:
    """The worst inputs of a sweep as cases."""
    provenance = f"python -m suites.sweep: {report['coverage']} over {report['space']}"
    texts = []
    for result in report["results"]:
        if result["worst"] is None or "problem" not in result["worst"]:
            continue
        story = f"worst {result['quantity']} of {report['backend']} {report['operation']}: {result['worst_ulps']:.6g} ulp"
        texts.append(case_text(f"sweep-{report['dtype']}-{result['quantity']}", result["worst"], story, provenance))
    return "\n".join(texts)
