"""Compiled functions are cached, for just the sources that they were compiled from; a broken cache is repaired."""

from __future__ import annotations

import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba")

from reference.fast.compiled import cache_of, compiled
from tests.command import ROOT

PROGRAM = """
import numpy as np
from reference.fast.sums import fill_powers
powers = np.empty(2)
fill_powers(np.array([1.0, 0.0]), 0, powers)
print(powers[1], sum(fill_powers.stats.cache_hits.values()))
"""


def _run(folder: Path) -> tuple[float, int, str]:
    """exp(-1), how often compiled code was found in the cache, and what was warned of."""
    result = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, check=True)
    power, hits = result.stdout.split()
    return float(power), int(hits), result.stderr


def _power_and_hits(folder: Path) -> tuple[float, int]:
    return _run(folder)[:2]


def test_a_change_of_a_function_that_is_called_is_not_missed(tmp_path: Path) -> None:
    """The polynomial is in another file than the loop that has it inlined."""
    shutil.copytree(ROOT / "reference", tmp_path / "reference", ignore=shutil.ignore_patterns("__pycache__"))
    power, hits = _power_and_hits(tmp_path)
    assert hits == 0
    assert _power_and_hits(tmp_path) == (power, 1)
    source = tmp_path / "reference" / "fast" / "elementary.py"
    changed = source.read_text().replace(
        "(1.0 / factorial(n) for n in range(2, 14))", "(2.0 / factorial(n) for n in range(2, 14))"
    )
    source.write_text(changed)
    assert _power_and_hits(tmp_path)[0] > 1.05 * power


def test_a_cache_of_which_every_file_was_cut_is_compiled_anew_with_one_warning(tmp_path: Path) -> None:
    """A pickle that ends early was an exception of every run, until somebody found the folder."""
    shutil.copytree(ROOT / "reference", tmp_path / "reference", ignore=shutil.ignore_patterns("__pycache__"))
    power, hits, warned = _run(tmp_path)
    assert (hits, warned) == (0, "")
    files = [path for path in tmp_path.rglob("*.nb[ic]") if path.stat().st_size]
    assert len(files) == 2
    for path in files:
        os.truncate(path, path.stat().st_size // 2)
    again, hits, warned = _run(tmp_path)
    assert (again, hits) == (power, 0)
    assert warned.count("RuntimeWarning: the cache of compiled functions has a broken file, which is compiled anew") == 1
    assert str(cache_folder(tmp_path / "reference" / "fast")) in warned
    assert _run(tmp_path) == (power, 1, "")


def cache_folder(of: Path) -> Path:
    (folder,) = (of / "__pycache__").glob("compiled-*")
    return folder


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def garbage(path: Path) -> None:
    path.write_bytes(b"\x80\x04garbage" * 99)


def flip(path: Path) -> None:
    """A bit in the machine code, of which nothing else would tell."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def another_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(["nothing", "of this"]))


def folder_in_its_place(path: Path) -> None:
    """What cannot be read, whoever asks, nor removed."""
    path.unlink()
    path.mkdir()


def own(folder: Path, name: str = "twice") -> Callable[[float], float]:
    """A function of a folder that nothing else is in."""
    (folder / "own.py").write_text("def twice(x):\n    return 2 * x\n\n\ndef more(x):\n    return x + 1\n")
    spec = importlib.util.spec_from_file_location(f"own_of_{folder.name}", folder / "own.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where what is cached looks for it
    spec.loader.exec_module(module)
    function: Callable[[float], float] = getattr(module, name)
    return function


def called(function: Callable[[float], float]) -> tuple[float, int, list[str]]:
    """What it returns once it is compiled, how often that was found in the cache, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dispatcher: Any = compiled(function)
        value = dispatcher(1.5)
    return value, sum(dispatcher.stats.cache_hits.values()), [str(warning.message) for warning in caught]


BROKEN = "the cache of compiled functions has a broken file, which is compiled anew"


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [cut, empty, garbage, flip, another_pickle, folder_in_its_place])
def test_a_broken_file_is_dropped_and_compiled_anew(damage: Callable[[Path], None], ending: str, tmp_path: Path) -> None:
    function = own(tmp_path)
    assert called(function) == (3.0, 0, [])
    assert called(function) == (3.0, 1, [])
    (path,) = tmp_path.rglob(f"*.{ending}")
    damage(path)
    value, hits, (warned,) = called(function)
    assert (value, hits) == (3.0, 0)
    assert warned.startswith(BROKEN)
    assert str(path.parent) in warned
    repaired = (3.0, 0 if damage is folder_in_its_place else 1, [])
    assert called(function) == repaired


def test_there_is_one_warning_for_a_folder(tmp_path: Path) -> None:
    functions = [own(tmp_path, name) for name in ("twice", "more")]
    assert [called(function) for function in functions] == [(3.0, 0, []), (2.5, 0, [])]
    for path in tmp_path.rglob("*.nb[ic]"):
        cut(path)
    assert [len(called(function)[2]) for function in functions] == [1, 0]
    assert [called(function) for function in functions] == [(3.0, 1, []), (2.5, 1, [])]


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
@pytest.mark.parametrize(("place", "mode"), [("folder", 0o777), ("folder", 0o770), ("below", 0o777)])
def test_a_cache_that_others_may_write_into_is_not_used(place: str, mode: int, tmp_path: Path) -> None:
    """A pickle that is loaded is code that is run."""
    function = own(tmp_path)
    assert called(function) == (3.0, 0, [])
    folder = cache_of(tmp_path / "own.py")
    assert folder.stat().st_mode & 0o777 == 0o700
    (path,) = tmp_path.rglob("*.nbi")
    (folder if place == "folder" else path.parent).chmod(mode)
    value, hits, (warned,) = called(function)
    assert (value, hits) == (3.0, 0)
    assert warned.startswith("the cache of compiled functions is not used, since other users may write into it: ")


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_umask_that_lets_the_group_write_costs_no_cache(tmp_path: Path) -> None:
    """The folder itself is closed to the group, whatever numba makes below it."""
    function = own(tmp_path)
    before = os.umask(0o002)
    try:
        assert called(function) == (3.0, 0, [])
    finally:
        os.umask(before)
    (path,) = tmp_path.rglob("*.nbi")
    assert path.parent.stat().st_mode & 0o777 == 0o775
    assert called(function) == (3.0, 1, [])


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root gives folders away")
def test_a_cache_of_another_user_is_not_used_but_that_of_the_owner_of_the_source_is(tmp_path: Path) -> None:
    function = own(tmp_path)
    assert called(function) == (3.0, 0, [])
    os.chown(cache_of(tmp_path / "own.py"), 12345, -1)
    assert called(function)[1] == 0
    os.chown(tmp_path / "own.py", 12345, -1)
    assert called(function) == (3.0, 1, [])
