"""Reads a stored report and trusts nothing in it: it must be JSON, of this schema, and carry its own identifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reference.validation import check, validator
from suites.inputs.strict_json import json_of
from suites.inputs.user_file import text_of
from suites.report.escape import one_line
from suites.report.schema import SCHEMA, SCHEMA_NAME, Report, identifier

_WANTED = "give the report.json that 'pytest suites/ --report=DIR' writes"
_NAME = SCHEMA_NAME.rpartition("/")[0]
_STRICT = validator(SCHEMA)
LARGEST_REPORT = 2**27
"""Bytes: the largest of ours has 6 MiB."""


class ReportError(Exception):
    """A report that cannot be used; one line that says what was given, what is allowed and what to do."""


class PathError(ReportError):
    """There is no readable file at the path."""


def load_report(path: Path) -> Report:
    """The report of a file, or of a folder that has one.

    Raises:
      PathError: the path is no file and no folder with one report, or it may not be read.
      ReportError: the file is not JSON, not a report, of another schema, or was changed after it was written.
    """
    report = _parsed(path := _file_at(path))
    _check_schema_name(path, report)
    try:
        check(_STRICT, report)
    except ValueError as error:
        raise ReportError(f"{path}: not valid by {SCHEMA_NAME}: {_cut(str(error))}; {_WANTED}") from None
    if report["identifier"] != identifier(report):
        raise ReportError(
            f"{path}: its identifier is not that of its results ({report['identifier']}, should be {identifier(report)}): "
            "it was changed after it was written; run the suite again"
        )
    return report


def _file_at(path: Path) -> Path:
    """The file of a report, or the only one of a folder: report.json, or report-NAME.json of a kernel."""
    if not path.is_dir():
        return path
    found = sorted(path.glob("report*.json"))
    if len(found) != 1:
        has = ", ".join(file.name for file in found) or "no report*.json in it"
        raise PathError(f"{path}: a directory with {has}; {_WANTED}, such as {path / 'report.json'}")
    return found[0]


def _parsed(path: Path) -> Any:
    try:
        return json_of(text_of(path, LARGEST_REPORT))
    except FileNotFoundError:
        raise PathError(f"{path}: there is no such file; {_WANTED}") from None
    except OSError as error:
        raise PathError(f"{path}: {error.strerror or error}; {_WANTED}") from None
    except ValueError as error:
        raise ReportError(f"{path}: not JSON, or cut off ({_cut(str(error))}); {_WANTED}") from None


def _check_schema_name(path: Path, report: Any) -> None:
    """A report of another version is told from what is no report at all."""
    name = report.get("schema") if isinstance(report, dict) else None
    if name == SCHEMA_NAME:
        return
    if not isinstance(name, str) or name.rpartition("/")[0] != _NAME:
        raise ReportError(f'{path}: JSON, but not a report of this suite (no "schema": "{SCHEMA_NAME}"); {_WANTED}')
    raise ReportError(
        f"{path}: a report of schema {_cut(name)}; this version reads {SCHEMA_NAME}: run the suite again, or read it with the "
        "version that wrote it"
    )


def _cut(text: str) -> str:
    """The beginning of a message in one line: an error may quote the whole of what it found, and odd characters of it."""
    line = one_line(" ".join(text.split()))
    return line if len(line) <= 160 else line[:157] + "..."
