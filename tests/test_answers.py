"""What a user's backend raises while it is loaded is a usage error in one line, with the method and the user's own line."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.adapter import AdapterError
from adapters.loading import load_adapter, operations_on_trial
from tests.command import run_here

GOOD = """
import sys
from adapters.adapter import Adapter
from adapters.numpy.backend import NumpyAdapter

def helper():
    return [][1]


class Mine(Adapter):
    name = "mine"
    def __init__(self, device="cpu"):
        super().__init__(device)
    def devices(self):
        return ("cpu",)
    def versions(self):
        return {"mine": "1.0"}
    def operations(self):
        return NumpyAdapter().operations()
    def implementation(self, function):
        return NumpyAdapter().implementation(function)
    def call(self, question):
        raise AssertionError


def kernel(logits, labels): ...
"""
DEVICES, OPERATIONS, VERSIONS = 'return ("cpu",)', "return NumpyAdapter().operations()", 'return {"mine": "1.0"}'
TAKES = "return NumpyAdapter().implementation(function)"
FAULTS = {
    "operations": (OPERATIONS, 'raise ValueError("two\\nlines")', "operations() raised ValueError: two lines (", ""),
    "generated": (OPERATIONS, "yield helper()", "operations() raised IndexError: list index out of range (", "[][1]"),
    "devices": (DEVICES, "return helper()", "devices() raised IndexError: list index out of range (", "[][1]"),
    "versions": (VERSIONS, "return self.nothing", "versions() raised AttributeError: 'Mine' object has no", ""),
    "__init__": ("super().__init__(device)", 'raise OSError("no driver")', "__init__() raised OSError: no driver (", ""),
    "exit": (OPERATIONS, "sys.exit(0)", "operations() raised SystemExit: 0 (", ""),
    "abstract": (
        "def versions(",
        "def version(",
        "its class leaves out versions(); adapters/README.md says what they return (",
        "class Mine(Adapter)",
    ),
    "inherited": (
        "class Mine(Adapter):",
        "class Mine(NumpyAdapter):\n    packages = 7",
        "versions() raised TypeError: 'int'",
        "",
    ),
    "no device": ("super().__init__(device)", "pass", "its device is None; allowed: a string", None),
    "no name": ('name = "mine"', "name = None", "backend 'Mine': its name is None; allowed: a string", None),
    "no versions": (VERSIONS, "return {}", "versions() is {}; allowed: {'package': 'version', ...}", None),
    "no Operation": (OPERATIONS, 'return ("loss",)', "operations() gives 'loss'; allowed: adapters.operation.Operation", None),
}
"""What stands in the place of what, what is said, and on which line: that of what stands there if "", nowhere if None."""


def faulty(folder: Path, fault: str) -> tuple[str, str, str]:
    """--backend of a class with a fault, what is said of it, and FILE:LINE."""
    was, becomes, says, blamed = FAULTS[fault]
    source = GOOD.replace(was, becomes)
    if fault == "inherited":
        blamed, source = "class Mine", source.replace("    def versions(self):\n        " + VERSIONS, "")
    path = folder / "mine.py"
    path.write_text(source)
    assert source != GOOD
    lines = source.splitlines()
    if blamed is None:
        return f"{path}:Mine", says, ""
    wanted = blamed or becomes.splitlines()[0]
    return f"{path}:Mine", says, f"({path}:{next(n for n, line in enumerate(lines, 1) if wanted in line)})"


@pytest.mark.parametrize(
    ("fault", "options"),
    [*((fault, []) for fault in FAULTS), *((fault, ["--isolate"]) for fault in ("operations", "devices", "versions", "exit"))],
    ids=lambda value: value if isinstance(value, str) else "".join(value),
)
def test_a_fault_is_a_usage_error_in_one_line(fault: str, options: list[str], tmp_path: Path) -> None:
    """It was pytest's INTERNALERROR, with a traceback of ours; sys.exit(0) ended the run as if all was well."""
    backend, says, place = faulty(tmp_path, fault)
    status, output = run_here(f"--backend={backend}", *options)
    assert status == 4, output
    (line,) = [line for line in output.splitlines() if line.strip()]
    assert line.startswith("ERROR: backend 'mine': " if fault != "no name" else "ERROR: backend 'Mine': ")
    assert says in line
    assert line.endswith(place)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_sweep_says_the_same(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("numba")
    from suites.sweep.__main__ import main

    backend, says, place = faulty(tmp_path, fault)
    for what in ([], ["--search"], ["--plan"]):
        assert main([f"--backend={backend}", f"--report={tmp_path}", *what]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert says in told
        assert told.endswith(f"{place}\n")


def test_what_a_backend_makes_of_an_implementation_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    adapter = load_adapter(f"{path}:Mine", "cpu")
    assert [op.name for op in operations_on_trial(adapter, f"{path}:kernel")] == ["kernel"]
    path.write_text(GOOD.replace(TAKES, "return function.nothing"))
    adapter = load_adapter(f"{path}:Mine", "cpu")
    with pytest.raises(AdapterError, match=r"backend 'mine': implementation\(\) raised AttributeError: .*mine.py:21\)$"):
        operations_on_trial(adapter, f"{path}:kernel")


def test_a_file_that_exits_when_it_is_imported_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(AdapterError, match=r"importing .*mine.py failed: SystemExit: 0 \(mine.py, line 2\)$"):
        load_adapter(f"{tmp_path / 'mine.py'}:Mine", "cpu")
