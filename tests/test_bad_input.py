"""What a user gives that is wrong is told in a sentence: never a traceback of ours, and never accepted in silence.

tests/bad_input.toml has the table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zlib
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

from suites.report.__main__ import main
from tests.command import QUICKLY, ROOT, run_here
from tests.reports import report

BAD = ROOT / "tests" / "bad"
TABLE = tomllib.loads((ROOT / "tests" / "bad_input.toml").read_text())
DEVIATION = (
    "[[deviation]]\nid = 'tail'\noperations = ['naive']\ndtypes = ['float32']\n"
    "quantities = ['loss']\nmisses = 'accurate'\nreason = 'the tail is lost'\n"
)
FAILED, USAGE_ERROR = 1, 4

Row = dict[str, Any]


def rows(kind: str) -> Any:
    """The rows of a kind, each named by what is given."""
    names = [
        " ".join([row.get("place", ""), *row.get("given", row.get("options", [])), row["says"]])[:90] for row in TABLE[kind]
    ]
    return pytest.mark.parametrize("row", TABLE[kind], ids=names)


def check(row: Row, output: str, line: int = 0) -> None:
    for said in (row["says"], row.get("also", "")):
        assert said.replace("{line}", str(line)) in output
    assert "INTERNALERROR" not in output
    assert "Traceback" not in output


def check_usage_error(row: Row, *options: str) -> str:
    """The one line that is printed."""
    status, output = run_here(*QUICKLY, *options)
    assert status == USAGE_ERROR, output
    check(row, output)
    (line,) = [line for line in output.splitlines() if line.strip()]
    assert line.startswith("ERROR: ")
    return line


def bomb() -> str:
    """A hundred thousand characters that are a hundred million when they are decompressed."""
    return urlsafe_b64encode(zlib.compress(b" " * 10**8)).decode()


@rows("option")
def test_an_option_is_a_usage_error_in_one_line(row: Row, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    if "text" in row:
        file.write_text(row["text"])
    places = {"{file}": str(file), "{bad}": str(BAD), "{fifo}": str(tmp_path / "pipe")}
    os.mkfifo(tmp_path / "pipe.json")
    given = row["given"]
    for mark, place in places.items():
        given = [option.replace(mark, place) for option in given]
    check_usage_error(row, *(option.replace("{bomb}", bomb()) if "{bomb}" in option else option for option in given))


@rows("claims")
def test_a_claims_file_is_a_usage_error_in_one_line(row: Row, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(row["text"] if "text" in row else with_keys(row["deviation"]))
    assert str(file) in check_usage_error(row, f"--claims={file}")


def with_keys(changed: str) -> str:
    """The deviation, with some lines in the place of its own."""
    keys = {line.partition(" = ")[0] for line in changed.splitlines()}
    kept = [line for line in DEVIATION.splitlines() if line.partition(" = ")[0] not in keys]
    return "\n".join([*kept, changed, ""])


@rows("kernel")
def test_a_kernel_or_a_call_is_a_failed_test(row: Row) -> None:
    kind, _, name = row["place"].partition(":")
    own = kind == "backends"
    if not own:
        pytest.importorskip(kind)
    file = BAD / (f"{kind}.py" if own else f"{kind}_kernels.py")
    place = [f"--backend={file}:{name}"] if own else [f"--backend={kind}", f"--implementation={file}:{name}"]
    case = "--case=absorption/gap-37.4[float64]" if own else "--case=absorption/gap-17[float32]"
    operation = "my_logsumexp" if own else name
    status, output = run_here(
        *QUICKLY, *place, f"--operation={operation}", case, "--claim=stable", "-x", *row.get("options", [])
    )
    assert status == row.get("status", FAILED), output
    lines = file.read_text().splitlines()
    check(row, output, next((n for n, text in enumerate(lines, 1) if row.get("line", "\n") in text), 0))
    if status == FAILED:
        (what,) = [text for text in output.splitlines() if text.startswith("what   : ")]
        assert row["says"].partition("{line}")[0] in what


@rows("report")
def test_a_report_is_refused_in_one_line(row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, good = tmp_path / "report.json", json.dumps(report())
    made = {"cut": good[:-40], "changed": good.replace('"CONFORMS"', '"REDUCED"')}
    if row.get("made") == "binary":
        path.write_bytes(bytes(range(256)))
    elif row.get("made") == "directory":
        path.mkdir()
    elif row.get("made") != "missing":
        path.write_text(row["text"] if "text" in row else made[row["made"]])
    for command in (["show"], ["cite"], ["compare", str(path)]):
        assert main([*command, str(path)]) == 2
        printed = capsys.readouterr()
        assert not printed.out
        assert printed.err.count("\n") == 1
        check(row, printed.err)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--backend=torch"], 4, "ERROR: --backend is an option of the suites; run them: pytest suites/ --backend=torch"),
        (["tests/test_mutants.py", "--effort", "quick"], 4, "run them: pytest suites/ --effort quick"),
        (["--help"], 0, "--implementation=PLACE"),
        (["tests/test_mutants.py", "suites/", "--case=absorption/gap-20[float32]", "--operation=naive"], 0, "REDUCED: "),
    ],
    ids=str,
)
def test_an_option_of_the_suites_is_known_at_the_root(arguments: list[str], status: int, says: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert says in done.stdout + done.stderr
    assert "Traceback (most recent" not in done.stdout + done.stderr
