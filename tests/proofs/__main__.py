"""Proves the error bounds of the compiled tier by Gappa and Sollya: python -m tests.proofs [--write].

The exit status is 1 where a bound is not proved, and 2 where one of the two programs is not installed.
"""

from __future__ import annotations

import argparse
import sys

from tests.proofs.all import proofs
from tests.proofs.page import PAGE, page
from tests.proofs.tools import NOT_INSTALLED, UnprovedError, missing


def main() -> int:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(prog="python -m tests.proofs", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.parent.name}/{PAGE.name}")
    options = parser.parse_args()
    if missing():
        print(NOT_INSTALLED.format(", ".join(missing())), file=sys.stderr)
        return 2
    try:
        found = proofs()
    except UnprovedError as error:
        print(error, file=sys.stderr)
        return 1
    text = page(found)
    if options.write:
        PAGE.write_text(text)
    else:
        print(text)
    failed = [proof.claim.function for proof in found if not proof.holds]
    if failed:
        print(f"more is proved than claimed for {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
