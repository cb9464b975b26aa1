"""Backends of installed packages: found by their entry point, listed, and refused where a name is taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapters.adapter import AdapterError
from adapters.loading import installed_backends, load_adapter
from tests.command import run_suites

ADAPTER = "from adapters.numpy.backend import NumpyAdapter\n\n\nclass Mine(NumpyAdapter):\n    name = {name!r}\n"


def install(folder: Path, package: str, name: str, value: str = "", calls_itself: str = "") -> None:
    """A package with an adapter and its metadata, as pip leaves them."""
    (folder / f"{package}.py").write_text(ADAPTER.format(name=calls_itself or name))
    metadata = folder / f"{package}-1.5.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
    offered = f"{name} = {value or f'{package}:Mine'}"
    (metadata / "entry_points.txt").write_text(f"[softmax_ce_conformance.backends]\n{offered}\n")


def test_an_installed_backend_is_loaded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "fused_losses", "fused")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(installed_backends()) == ["fused"]
    adapter = load_adapter("fused", "cpu")
    assert (adapter.name, type(adapter).__module__) == ("fused", "fused_losses")
    assert load_adapter("numpy", "cpu").name == "numpy"


def test_an_unknown_backend_is_told_of_the_installed_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "fused_listed", "fused")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AdapterError, match=r"'fsued' is not known; there is: .*numpy.*, fused \(fused_listed 1.5\); or give"):
        load_adapter("fsued", "cpu")


@pytest.mark.parametrize(
    ("name", "others", "says"),
    [
        ("numpy", (), r"'numpy' is offered by this project and fused_a 1.5 .*uninstall or rename all but one"),
        ("fused", ("fused_b",), r"'fused' is offered by fused_a 1.5 and fused_b 1.5"),
    ],
)
def test_a_name_that_is_taken_is_refused(
    name: str, others: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("fused_a", *others):
        install(tmp_path, package, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AdapterError, match=says):
        load_adapter(name, "cpu")


@pytest.mark.parametrize(
    ("value", "calls_itself", "says"),
    [
        ("fused_wrong:Nothing", "", "backend 'fused' of fused_wrong 1.5: loading 'fused_wrong:Nothing' failed: AttributeError"),
        ("nowhere_at_all:Mine", "", "loading 'nowhere_at_all:Mine' failed: ModuleNotFoundError"),
        ("pathlib:Path", "", "is not a subclass of adapters.adapter.Adapter"),
        ("", "torch", "the adapter calls itself 'torch'; allowed: name = 'fused'"),
    ],
)
def test_an_installed_backend_that_is_none_says_why(
    value: str, calls_itself: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = f"fused_{'named' if calls_itself else 'wrong'}"
    install(tmp_path, package, "fused", value, calls_itself)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AdapterError, match=says):
        load_adapter("fused", "cpu")


def test_the_command_line_runs_an_installed_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "fused_run", "fused")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    narrow = ("--operation=absorption_free", "--case=absorption/gap-20[float32]")
    result = run_suites("--backend=fused", *narrow)
    assert result.returncode == 0, result.stdout
    assert "12 passed" in result.stdout
    refused = run_suites("--backend=fsued")
    assert refused.returncode == 4
    assert "fused (fused_run 1.5)" in refused.stdout
