"""Applies each change of mutants.toml to a copy of the project and runs the tests that must fail.

python -m tests.planted.mutants [FILE ...]

Prints what survives, and exits with 1 if anything does.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
_DOCUMENTS = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "README.md")
_COPIED = (".ci", "adapters", "ci", "reference", "suites", "tests", "pyproject.toml", *_DOCUMENTS)
_FAILED = 1
"""Exit status of pytest when tests failed; anything else says that it could not run them."""


@dataclass(frozen=True)
class Mutant:
    """A change of one place of a file, and the test files of which one must fail."""

    file: str
    was: str
    becomes: str
    killed_by: tuple[str, ...]


def mutants() -> list[Mutant]:
    """All of mutants.toml."""
    table = tomllib.loads((FOLDER / "mutants.toml").read_text())
    return [Mutant(m["file"], m["was"], m["becomes"], tuple(m["killed_by"])) for m in table["mutant"]]


def survives(mutant: Mutant, copy: Path) -> bool:
    """True if the tests pass on a copy of the project with the mutant in it; the copy is set back."""
    path = copy / mutant.file
    right = path.read_text()
    path.write_text(right.replace(mutant.was, mutant.becomes))
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.killed_by]
    status = subprocess.run(command, cwd=copy, capture_output=True, check=False).returncode
    path.write_text(right)
    return status != _FAILED


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="only mutants of these files, such as reference/exact/softmax.py")
    files = parser.parse_args().files
    chosen = [mutant for mutant in mutants() if not files or mutant.file in files]
    with tempfile.TemporaryDirectory() as folder:
        for name in _COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, Path(folder) / name)
        survivors = [mutant for mutant in chosen if survives(mutant, Path(folder))]
    for mutant in survivors:
        print(f"survives: {mutant.file}: {mutant.was!r} -> {mutant.becomes!r}")
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
