"""The files of a sweep's report: JSON, the picture, and worst inputs as stored cases."""

from __future__ import annotations

from pathlib import Path

from suites.report.write import as_json
from suites.sweep.chunk import SweepError
from suites.sweep.journal import Journal
from suites.sweep.report import Report


def write_files(report: Report, journal: Journal, stem: Path, cases: bool) -> list[Path]:
    """Write them beside the journal; the paths written.

    Raises:
      SweepError: one cannot be written; the journal has everything that it is made of.
    """
    texts = {stem.with_suffix(".json"): as_json(report)}
    for path, text in texts.items():
        try:
            path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        except OSError as error:
            raise SweepError(f"{path}: {error.strerror}; make room and give the same command again") from None
    return list(texts)
