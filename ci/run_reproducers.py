"""Runs every reproducer of a folder in one process, where importing the framework costs once, and says which still stand.

    python ci/run_reproducers.py reports/torch/reproducers

The folder is one backend's. Exits with 0 if every script exits with 1, as it does while its defect stands. `--json` prints
{name: [exit status, output]} instead. Needs nothing but the framework.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import traceback
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

STANDS = 1
"""Exit status of a reproducer whose defect stands; 0 is that of one whose defect is gone."""


def run_script(path: Path) -> tuple[int, str]:
    """Exit status and standard output of a script; a script that breaks has the status 2 and its traceback."""
    output = StringIO()
    try:
        with redirect_stdout(output):
            runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0), output.getvalue()
    except Exception:
        return 2, output.getvalue() + traceback.format_exc()
    return 0, output.getvalue()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    option = parser.parse_args()
    results = {path.stem: run_script(path) for path in sorted(option.folder.glob("*.py"))}
    if option.json:
        print(json.dumps(results))
        return 0
    for name, (status, output) in results.items():
        print(f"{'stands' if status == STANDS else f'exit status {status}'}: {name}")
        if status != STANDS:
            print(output)
    standing = sum(status == STANDS for status, _ in results.values())
    print(f"{standing} of {len(results)} reproducers show their defect")
    return 0 if standing == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
