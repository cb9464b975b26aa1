"""Tests of whose report it is: a kernel's can never be taken for a framework's, and a run owns its folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from suites.command.folder import ReportFolder
from suites.judging.subject import Subject, subject_of
from suites.report.cite import cited_as_bibtex, cited_as_text
from suites.report.load import load_report
from suites.report.markdown import markdown, summary_markdown
from suites.report.page import page
from suites.report.terminal import summary_lines
from tests.command import run_here
from tests.reports import report

KERNEL = """
from adapters.limits import limits

@limits("class indices alone", targets=["indices"], options=[], derivatives=1)
def my_loss(logits, labels):
    import numpy as np
    x = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    total = np.exp(x).sum(axis=1, keepdims=True)
    gradient = np.exp(x) / total
    gradient[np.arange(len(labels)), labels] -= 1
    losses = np.log(total[:, 0]) - x[np.arange(len(labels)), labels]
    return losses.astype(logits.dtype), gradient.astype(logits.dtype)
"""
NARROW = ("--claim=stable", "--effort=quick", "--dtype=float32", "--case=absorption/gap-20", "--operation=my_loss")


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "my_kernel.py"
    path.write_text(KERNEL)
    return path


def test_the_users_own_is_known_by_name_file_hash_and_package(kernel: Path) -> None:
    digest = hashlib.sha256(kernel.read_bytes()).hexdigest()
    assert subject_of("torch", f"{kernel}:my_loss") == Subject("my_loss", "my_kernel.py", digest)
    assert subject_of(f"{kernel}:MyBackend", None) == Subject("MyBackend", "my_kernel.py", digest)
    assert subject_of("numpy", None) is None
    found = subject_of("numpy", "numpy.linalg:norm")
    assert found is not None
    assert found.package is not None
    assert found.package.startswith("numpy ")
    assert found.sha256 is not None


def test_a_kernels_report_says_in_every_form_that_it_is_of_the_kernel(kernel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    status, printed = run_here("--backend=numpy", f"--implementation={kernel}:my_loss", *NARROW, f"--report={folder}")
    assert status == 0, printed
    made = load_report(folder)
    assert {path.name for path in folder.glob("report*")} == {f"report-my_loss.{ending}" for ending in ("json", "md", "html")}
    digest = hashlib.sha256(kernel.read_bytes()).hexdigest()[:8]
    said = f"my_loss of my_kernel.py (sha256 {digest}), judged beside numpy "
    assert printed.splitlines()[-2].startswith(said)
    for text in (cited_as_text(made), markdown(made), summary_markdown(made), page(made), "\n".join(summary_lines(made))):
        assert said in text
    for text in (cited_as_text(made), cited_as_bibtex(made).replace("\\_", "_"), markdown(made), page(made)):
        assert "report: my_loss of my_kernel.py" in text
    assert cited_as_bibtex(made).startswith("@misc{softmax-ce-my-loss-of-my-kernel-py-")


def test_the_identifier_does_not_depend_on_the_folder(kernel: Path, tmp_path: Path) -> None:
    broken = tmp_path / "other" / "my_kernel.py"
    broken.parent.mkdir()
    broken.write_text(KERNEL.replace("np.log(total[:, 0])", "np.log(total[:, 0] + 1e-6)"))
    for path, expected in ((kernel, 0), (broken, 1)):
        options = ("--backend=numpy", f"--implementation={path}:my_loss", *NARROW)
        runs = [run_here(*options), run_here(*options, f"--report={tmp_path / path.parent.name / 'reports'}")]
        assert [status for status, _ in runs] == [expected, expected]
        told = [next(line for line in printed.splitlines() if line.startswith("identifier ")) for _, printed in runs]
        assert told[0] == told[1]


def test_another_source_is_another_identifier(kernel: Path) -> None:
    first = report(
        environment=report()["environment"]
        | {"implementation": {"name": "f", "place": "f.py", "sha256": "0" * 64, "package": None}}
    )
    second = report(
        environment=report()["environment"]
        | {"implementation": {"name": "f", "place": "f.py", "sha256": "1" * 64, "package": None}}
    )
    assert len({report()["identifier"], first["identifier"], second["identifier"]}) == 3


def test_a_run_owns_its_folder(tmp_path: Path) -> None:
    first, second = ReportFolder(tmp_path / "out"), ReportFolder(tmp_path / "out")
    first.claim()
    with pytest.raises(ValueError, match="another run writes into"):
        second.claim()
    first.release()
    second.claim()
    second.release()


def test_the_report_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has report\.json, the report of something else; allowed: an empty folder"):
        ReportFolder(tmp_path, "report-mine").claim()
    ReportFolder(tmp_path).claim()


def test_scripts_of_earlier_runs_go_and_those_of_this_run_and_what_is_the_users_stay(tmp_path: Path) -> None:
    for name in ("reproducers/old.py", "reproducers/new.py", "reproducers/notes.txt", "cases/old.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    ReportFolder(tmp_path).clear([tmp_path / "reproducers/new.py"])
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"reproducers/new.py", "reproducers/notes.txt"}
    assert not (tmp_path / "cases").exists()


def test_failed_tests_are_listed_by_cause_with_message_and_script(kernel: Path, tmp_path: Path) -> None:
    kernel.write_text(KERNEL.replace("np.log(total[:, 0])", "np.log(total[:, 0] + 1e-6)"))
    folder = tmp_path / "out"
    options = ("--backend=numpy", f"--implementation={kernel}:my_loss", "--claim=stable", "--effort=quick", "--dtype=float32")
    status, printed = run_here(*options, "-k", "test_case or test_loss", f"--report={folder}")
    assert status == 1
    made = json.loads((folder / "report-my_loss.json").read_text())
    failed = [test for cause in made["failures"] for test in cause["tests"]]
    assert len(failed) == made["tests"]["failed"] > 10
    assert len(made["failures"]) < 5
    scripts = {cause["script"] for cause in made["failures"]}
    assert {f"reproducers/{path.name}" for path in (folder / "reproducers").iterdir()} == scripts
    assert printed.splitlines()[-1].startswith(f"FAILS: {len(failed)} tests failed for {len(made['failures'])} cause")
    assert len(printed.splitlines()) < 100
    for form in ("md", "html"):
        text = (folder / f"report-my_loss.{form}").read_text()
        for cause in made["failures"]:
            assert cause["script"] in text
            assert all(test in text for test in cause["tests"])
