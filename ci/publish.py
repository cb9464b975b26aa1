"""Publishes the reports of a CI run: python ci/publish.py reports

Copies REPORTS/NAME/report.json and report.html to ci/reports/NAME.json and NAME.html, puts all of them side by side in
index.html, and draws the picture of the README.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from suites.report.load import load_report
from suites.report.page import index_page, page, picture

PUBLISHED = Path(__file__).parent / "reports"
PICTURE = ("torch-eager", "cross_entropy", "float32")
"""Report, operation and dtype of the picture in the README."""


def derived(folder: Path) -> dict[str, str]:
    """What follows from the published JSON reports of a folder: names of files, and their text."""
    reports = {path.stem: load_report(path) for path in sorted(folder.glob("*.json"))}
    pages = {f"{name}.html": page(report) for name, report in reports.items()}
    name, operation, dtype = PICTURE
    drawn = {f"{name}-{operation}-{dtype}.svg": picture(reports[name], operation, dtype)}
    return pages | drawn | {"index.html": index_page(reports)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, metavar="REPORTS", help="the folder of a CI run: NAME/report.json for each run")
    given = parser.parse_args().reports
    found = sorted(given.glob("*/report.json"))
    if not found:
        parser.error(f"{given} has no NAME/report.json; give the folder 'reports' that ci/run.sh wrote")
    PUBLISHED.mkdir(exist_ok=True)
    for old in PUBLISHED.iterdir():
        # What lies in folders, such as sweeps/, is of other programs.
        if old.is_file():
            old.unlink()
    for path in found:
        shutil.copy(path, PUBLISHED / f"{path.parent.name}.json")
    for name, text in derived(PUBLISHED).items():
        (PUBLISHED / name).write_text(text.rstrip("\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
