"""Judges planted kernels and backends as a user's own, one after another in this process; writes what rejected each as JSON.

python -m tests.planted.trial OUTPUT FILE:NAME ...
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import TypedDict

from tests.command import first_failures
from tests.planted.array_kernel import ArrayKernel
from tests.planted.kernel import Kernel
from tests.planted.other_losses import WrongBackend

Planted = Kernel | ArrayKernel | type[WrongBackend]

FOLDER = Path(__file__).parent


class Outcome(TypedDict):
    """The tests that a kernel failed, by name, each with its first message; and how long that took."""

    failed: dict[str, str]
    seconds: float


def planted_kernels() -> dict[str, Planted]:
    """All planted kernels and backends by FILE:NAME, in the order of the files."""
    found: dict[str, Planted] = {}
    for path in sorted(FOLDER.glob("*.py")):
        module = importlib.import_module(f"tests.planted.{path.stem}")
        planted = {name: value for name, value in vars(module).items() if _is_planted(value)}
        found |= {f"{path.stem}:{name}": kernel for name, kernel in planted.items()}
    return found


def _is_planted(value: object) -> bool:
    kind = isinstance(value, Kernel | ArrayKernel) or (isinstance(value, type) and issubclass(value, WrongBackend))
    return kind and hasattr(value, "defect")


def judge(place: str, kernel: Planted, whole: bool = False) -> Outcome:
    """Run the suite on one kernel: the test that must reject it until its first failure, or the `whole`."""
    file, _, name = place.partition(":")
    defect = kernel.defect
    at = f"{FOLDER / file}.py:{name}"
    backend = "numpy" if isinstance(kernel, ArrayKernel) else "torch"
    # Some mistakes are those of the framework: as a failure that is shared they would not fail.
    own = [f"--backend={backend}", f"--implementation={at}", "--fail-shared"]
    options = [f"--backend={at}"] if isinstance(kernel, type) else own
    options.append(f"--dtype={defect.dtype}")
    options += [] if defect.claim == "accurate" else [f"--claim={defect.claim}"]
    options += [] if whole else ["-x", "-k", defect.test]
    began = time.monotonic()
    _, failed = first_failures("--effort=quick", *options)
    return {"failed": failed, "seconds": time.monotonic() - began}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("places", nargs="*", metavar="FILE:NAME", help="all of them by default")
    given = parser.parse_args()
    kernels = planted_kernels()
    outcomes = {place: judge(place, kernels[place]) for place in given.places or kernels}
    given.output.write_text(json.dumps(outcomes, indent=1))


if __name__ == "__main__":
    main()
