"""Publishes the reports of a CI run: python ci/publish.py reports

Copies REPORTS/NAME/report.json to ci/reports/NAME.json as one line, and writes what follows from the published reports:
README.md, which puts them side by side, and the picture that READMEs show. Without REPORTS only the latter is written anew.
With --pages the published reports become HTML pages in a folder, index.html and NAME.html, with their JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, it has only its own folder there

from suites.report.load import ReportError, load_report
from suites.report.overview import Picture, Reports, Sweeps, overview
from suites.report.page import index_page, page, picture
from suites.report.write import as_one_line

PUBLISHED = Path(__file__).parent / "reports"
PICTURE = ("torch-eager", "cross_entropy", "float32")
"""Report, operation and dtype of the picture that READMEs show."""


def published(folder: Path) -> Reports:
    """The published reports of a folder, by name."""
    return {path.stem: load_report(path) for path in sorted(folder.glob("*.json"))}


def reports_of(run: Path) -> Reports:
    """The reports of a CI run, by name.

    Raises:
      ReportError: there are none, or one is not valid.
    """
    found = {path.parent.name: load_report(path) for path in sorted(run.glob("*/report.json"))}
    if not found:
        raise ReportError(f"{run} has no NAME/report.json; give the folder 'reports' that ci/run.sh wrote")
    return found


def sweeps(folder: Path) -> Sweeps:
    """What `python -m suites.sweep` wrote into a folder beside the published reports."""
    reports = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    maps = {name: f"{folder.name}/{name}.svg" for name in reports if (folder / f"{name}.svg").is_file()}
    return Sweeps(reports, tuple(Picture(file, f"Map of the errors: {name}") for name, file in maps.items()))


def as_json(reports: Reports) -> dict[str, str]:
    """The reports themselves: names of files, and their text."""
    return {f"{name}.json": as_one_line(report) for name, report in reports.items()}


def tracked(reports: Reports) -> dict[str, str]:
    """All that is published: names of files, and their text.

    Raises:
      ReportError: the reports lack what the picture shows.
    """
    name, operation, dtype = PICTURE
    if name not in reports:
        raise ReportError(f"the reports are {', '.join(reports) or 'none'}; allowed: with {name}, whose picture READMEs show")
    told = f"Error of {operation} in {dtype} over the gap between the two largest logits, in {name}"
    shown = Picture(f"{name}-{operation}-{dtype}.svg", told)
    try:
        drawn = picture(reports[name], operation, dtype)
    except ValueError as error:
        raise ReportError(f"{name}: {error}") from None
    return {**as_json(reports), shown.file: drawn, "README.md": overview(reports, sweeps(PUBLISHED / "sweeps"), shown)}


def pages(reports: Reports) -> dict[str, str]:
    """What a browser shows: names of files, and their text. The pages link to the JSON beside them."""
    made = {f"{name}.html": page(report) for name, report in reports.items()}
    return {**as_json(reports), **made, "index.html": index_page(reports)}


def publish(texts: dict[str, str], folder: Path) -> None:
    """Replace the files of a folder; what lies in its folders, such as sweeps/, is of other programs."""
    for old in folder.iterdir():
        if old.is_file() and old.name not in texts:
            old.unlink()
    write(texts, folder)


def write(texts: dict[str, str], folder: Path) -> None:
    """Write files into a folder."""
    for name, text in texts.items():
        (folder / name).write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "reports", type=Path, nargs="?", metavar="REPORTS", help="the folder of a CI run: NAME/report.json for each run"
    )
    parser.add_argument("--pages", type=Path, metavar="FOLDER", help="write the published reports as HTML pages there")
    given = parser.parse_args(arguments)
    try:
        if given.pages is not None:
            given.pages.mkdir(parents=True, exist_ok=True)
        if given.reports is not None or given.pages is None:
            publish(tracked(published(PUBLISHED) if given.reports is None else reports_of(given.reports)), PUBLISHED)
        if given.pages is not None:
            write(pages(published(PUBLISHED)), given.pages)
    except OSError as error:
        parser.error(
            f"{error.filename}: {error.strerror}; allowed: a folder that may be written; it is made if it is not there"
        )
    except ReportError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
